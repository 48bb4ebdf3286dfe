"""Names of DNS as people write them in a spec."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated

from pydantic import AfterValidator

# RFC 1035 2.3.4: 253 characters in all, 63 between two dots; a name below nothing (`localhost`) is nobody's own.
_LONGEST = 253
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def _domain_name(text: str) -> str:
    name = text.rstrip(".").lower()
    labels = name.split(".")
    if len(name) > _LONGEST or len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(
            "write a domain such as shop.example.com, in ASCII (xn--… for others), without a port or a wildcard"
        )
    if _is_address(name):
        raise ValueError("write a domain, not an address")
    return name


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


DomainName = Annotated[str, AfterValidator(_domain_name)]
