"""`ports` of a compose service: which ports of the container answer.  The ports of the machine are chosen by Lattice."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lattice.compose_file import amounts
from lattice.compose_file.findings import Place
from lattice.compose_file.scalars import one_of, only, read, sequence

_SHORT = re.compile(
    r"^(?:(?:(?P<host>\[[0-9a-fA-F:]*\]|[0-9.]+):)?(?P<published>[0-9-]*):)?(?P<target>[0-9-]+)(?:/(?P<protocol>[a-z]+))?$"
)
_LONG = ("target", "published", "protocol", "host_ip", "mode", "app_protocol", "name")
_CHOSEN = "the port of the machine is chosen by Lattice; `lattice app show` shows the address"


def ports(value: object, place: Place) -> list[dict[str, Any]]:
    """The ports as a workload's spec has them, each container port once."""
    found: dict[int, dict[str, Any]] = {}
    for entry, here in sequence(value, place):
        port = _long(entry, here) if isinstance(entry, Mapping) else _short(entry, here)
        if port is not None:
            found.setdefault(port["port"], port)
    return list(found.values())


def _short(entry: object, place: Place) -> dict[str, Any] | None:
    match = _SHORT.match(str(entry)) if isinstance(entry, (str, int)) else None
    if match is None:
        place.refuse("write a port as 80, 8080:80 or 8080:80/tcp")
        return None
    if "-" in match["target"] or "-" in (match["published"] or ""):
        place.refuse("ranges of ports are not supported: write each port")
        return None
    if match["published"] or match["host"]:
        place.note(_CHOSEN)
    return _port(match["target"], match["protocol"], "http", place)


def _long(entry: Mapping[str, Any], place: Place) -> dict[str, Any] | None:
    given = only(entry, _LONG, place)
    if given.get("published") or given.get("host_ip"):
        place.note(_CHOSEN)
    if given.get("mode") not in (None, "ingress", "host"):
        place.under("mode").refuse("write ingress or host")
    elif given.get("mode") == "host":
        place.under("mode").note(_CHOSEN)
    if "target" not in given:
        place.refuse("`target` is missing: the port on which the container listens")
        return None
    speaks = given.get("app_protocol") or "http"
    port = _port(given["target"], given.get("protocol"), speaks, place.under("target"))
    if port is not None and given.get("name"):
        port["name"] = given["name"]
    return port


def _port(number: object, protocol: object, speaks: object, place: Place) -> dict[str, Any] | None:
    wanted = read(amounts.whole, number, place)
    if protocol is not None and read(one_of("tcp"), protocol, place) is None:
        return None
    if wanted is None:
        return None
    kind = "http" if speaks in ("http", "https") else "tcp"
    return {"name": f"port-{wanted}", "port": wanted, "protocol": kind}
