"""Pages of a listing: ids are ordered by time, so the last id of a page is where the next one begins."""

from __future__ import annotations

import base64
import binascii
from typing import Any, TypeVar

from sqlmodel import SQLModel

from lattice.contracts.messages import Page
from lattice.errors import FieldError, Invalid
from lattice.storage import Lt, Transaction

R = TypeVar("R", bound=SQLModel)


def _decode(token: str) -> str:
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError, ValueError) as error:
        detail = "this page_token was not given by this listing; begin without one"
        raise Invalid(detail, errors=[FieldError(pointer="/page_token", detail=detail)]) from error


async def page_of(tx: Transaction, table: type[R], page: Page, **where: Any) -> tuple[list[R], str | None]:
    """The rows of a page, newest first, and the token of the next page."""
    if page.page_token:
        where["id"] = Lt(_decode(page.page_token))
    rows = await tx.find(table, order_by=("-id",), limit=page.page_size + 1, **where)
    if len(rows) <= page.page_size:
        return rows, None
    last: Any = rows[page.page_size - 1]
    return rows[: page.page_size], base64.urlsafe_b64encode(last.id.encode()).decode()
