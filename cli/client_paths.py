"""Paths of the REST interface.  Apart from the client, so that a command can name one before httpx is imported."""

from __future__ import annotations

from urllib.parse import quote


def path_of(*parts: str) -> str:
    """`/v1/workloads/orders-db/logs` from its parts, each safe whatever it contains."""
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)
