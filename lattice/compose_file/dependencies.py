"""`depends_on` of compose services: what each waits for, and an order in which all can be made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from lattice.compose_file import amounts
from lattice.compose_file.findings import Place
from lattice.compose_file.scalars import mapping, one_of, only, read, sequence

_CONDITIONS = {
    "service_started": "started",
    "service_healthy": "healthy",
    "service_completed_successfully": "completed",
}


def dependencies(value: object, services: frozenset[str], place: Place) -> dict[str, str]:
    """service -> what is waited for."""
    if isinstance(value, (list, tuple)):
        given = [(entry, {"condition": "service_started"}, here) for entry, here in sequence(value, place)]
    else:
        given = [(name, content, place.under(name)) for name, content in mapping(value, place).items()]
    found = {}
    for name, content, here in given:
        if not isinstance(name, str) or name not in services:
            here.refuse(f"there is no service {name!r} in this file")
        elif (condition := _condition(content, here)) is not None:
            found[name] = condition
    return found


def _condition(value: object, place: Place) -> str | None:
    given = only(value, ("condition", "restart", "required"), place)
    _flag(given.get("restart"), place.under("restart"), usual=False)
    _flag(given.get("required"), place.under("required"), usual=True)
    word = read(one_of(*_CONDITIONS), given.get("condition", "service_started"), place.under("condition"))
    return _CONDITIONS[word] if word else None


def _flag(value: object, place: Place, *, usual: bool) -> None:
    if value is not None and read(amounts.is_true, value, place) is not usual:
        place.unsupported("not supported: nothing is stopped or left out because of another service")


def in_order(depends_on: Mapping[str, Iterable[str]], place: Place) -> list[str]:
    """The services, each after those on which it depends; none where they wait for each other."""
    try:
        return list(TopologicalSorter(depends_on).static_order())
    except CycleError as error:
        circle = [str(name) for name in reversed(error.args[1])]
        place.under(circle[0]).under("depends_on").refuse(f"they wait for each other: {' → '.join(circle)}")
        return []
