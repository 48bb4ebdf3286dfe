"""Pages: a size that is too large is lowered, not refused."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from lattice.contracts.messages import Page
from services.gateway.schemas import MAX_PAGE_SIZE, PageSize, PageToken


async def _page(page_size: PageSize = 50, page_token: PageToken = None) -> Page:
    return Page(page_size=min(page_size, MAX_PAGE_SIZE), page_token=page_token)


PageOf = Annotated[Page, Depends(_page)]
