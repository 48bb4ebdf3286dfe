"""What every request to the registry carries: on whose behalf, and which page."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lattice.contracts.nouns import Noun


class Caller(Noun):
    """On whose behalf a request is made."""

    actor: str
    request_id: str = ""
    idempotency_key: str | None = None
    request_hash: str = Field(
        "", description="of method, path and body: the same key with another hash is refused"
    )
    if_match: str | None = None


class Page(Noun):
    page_size: Annotated[int, Field(ge=1, le=500)] = 50
    page_token: str | None = None


class GetByName(Noun):
    """Reads one thing by id or name; `project` where names live in projects."""

    ref: str
    project: str = "default"


class ListRuns(Page):
    """The runs of a workload, by its id or name."""

    ref: str
    project: str = "default"


class ListInProject(Page):
    project: str | None = None
