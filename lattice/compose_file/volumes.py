"""`volumes` of a compose file: named ones become volumes of the one service that uses them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lattice.compose_file.findings import Place
from lattice.compose_file.names import plain_name
from lattice.compose_file.scalars import mapping, only, sequence

_LONG = ("type", "source", "target", "read_only")
_BIND = "paths of the machine are not mounted: put files into the image, and data into a named volume"


def declared(value: object, place: Place) -> frozenset[str]:
    """The names of the top-level volumes; their options are told as not supported."""
    top = mapping(value, place)
    for name, options in top.items():
        only(options, (), place.under(name), why="a volume has no options here")
    return frozenset(top)


def mounts(
    value: object, known: frozenset[str], owners: dict[str, str], service: str, place: Place
) -> list[dict[str, Any]]:
    """The volumes as a workload's spec has them; `owners` says which service has a volume, and learns of these."""
    found = []
    for entry, here in sequence(value, place):
        mount = _long(entry, here) if isinstance(entry, Mapping) else _short(entry, here)
        if mount is not None and _is_free(mount[0], known, owners, service, here):
            found.append({"name": plain_name(mount[0]), "path": mount[1]})
    return found


def _short(entry: object, place: Place) -> tuple[str, str] | None:
    parts = entry.split(":") if isinstance(entry, str) else []
    if not 1 <= len(parts) <= 3:
        place.refuse("write a volume as NAME:/PATH")
        return None
    if len(parts) == 1:
        place.refuse("an anonymous volume would be lost with its container: give it a name, NAME:/PATH")
        return None
    if len(parts) == 3:
        _option(parts[2], place)
    return _named(parts[0], parts[1], place)


def _option(option: str, place: Place) -> None:
    if option != "rw":
        place.unsupported(f"the option {option!r} is not supported: volumes are mounted to be written")


def _long(entry: Mapping[str, Any], place: Place) -> tuple[str, str] | None:
    given = only(entry, _LONG, place)
    kind = given.get("type", "volume")
    if kind != "volume":
        reason = _BIND if kind == "bind" else "use a named volume"
        place.refuse(f"volumes of type {kind} are not supported: {reason}")
        return None
    if given.get("read_only"):
        _option("ro", place)
    return _named(given.get("source"), given.get("target"), place)


def _named(source: object, target: object, place: Place) -> tuple[str, str] | None:
    if not isinstance(source, str) or not source or not isinstance(target, str):
        place.refuse("a volume needs a name and a path, NAME:/PATH")
        return None
    if source[0] in "./~\\" or "/" in source:
        place.refuse(_BIND)
        return None
    return source, target


def _is_free(name: str, known: frozenset[str], owners: dict[str, str], service: str, place: Place) -> bool:
    if name not in known:
        place.refuse(f"volume {name!r} is not declared below the top-level `volumes`")
    elif plain_name(name) is None:
        place.refuse(f"volume {name!r} cannot be named so: use 2 to 28 letters, digits and hyphens")
    elif owners.setdefault(name, service) != service:
        place.refuse(
            f"volume {name!r} is used by {owners[name]} already, and a volume belongs to one service"
        )
    else:
        return True
    return False
