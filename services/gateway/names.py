"""Names in URLs and bodies, as patterns that every regular expression engine reads alike.

`nouns.NAME_PATTERN` looks ahead, which the engine of path and query parameters cannot; these say the same without it.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import Field

_NAME = r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*"
PROJECT_PATTERN = rf"^{_NAME}$"
PROJECT_OR_ALL_PATTERN = rf"^(?:{_NAME}|\*)$"
MIN_NAME, MAX_NAME = 2, 28
_REF = r"^[a-z0-9][a-z0-9-]{0,62}$"
_USERNAME = r"^[a-z][a-z0-9._-]{0,62}$"

PlainName = Annotated[str, Field(pattern=PROJECT_PATTERN, min_length=MIN_NAME, max_length=MAX_NAME)]
ProjectOrAll = Annotated[str, Field(pattern=PROJECT_OR_ALL_PATTERN, max_length=MAX_NAME)]
PathName = Annotated[str, Path(pattern=PROJECT_PATTERN, min_length=MIN_NAME, max_length=MAX_NAME)]
Username = Annotated[str, Field(pattern=_USERNAME)]
Ref = Annotated[str, Path(alias="id", pattern=_REF, description="id or name")]
UserRef = Annotated[str, Path(alias="id", pattern=_USERNAME, description="id or name")]
