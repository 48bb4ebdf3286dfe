"""Names of a compose file as names of Lattice: lower case, hyphens for dots and underscores."""

from __future__ import annotations

import re

from lattice.contracts.nouns import NAME_PATTERN

_NAME = re.compile(NAME_PATTERN)
_SERVICE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$(?!\n)")


def plain_name(written: str) -> str | None:
    """`db_data` as `db-data`; None where that is no name."""
    name = re.sub(r"[._]", "-", written.lower())
    return name if _NAME.match(name) else None


def is_service_name(written: str) -> bool:
    """Whether the compose-spec allows this name of a service; it is the host name too."""
    return _SERVICE.match(written) is not None
