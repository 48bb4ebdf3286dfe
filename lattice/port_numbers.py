"""Port numbers as people write them in settings: `20000-20015,20100`."""

from __future__ import annotations

from lattice.errors import Invalid

HIGHEST = 65_535


def read_port_numbers(text: str) -> tuple[int, ...]:
    """The ports of `20000-20015,20100`, each once and in order.  Raises Invalid."""
    found: set[int] = set()
    for part in filter(None, (each.strip() for each in text.split(","))):
        found |= set(_read_range(part))
    return tuple(sorted(found))


def _read_range(part: str) -> range:
    first, _, last = part.partition("-")
    if not first.isdigit() or not (last or first).isdigit():
        raise Invalid(f"{part!r} is no port and no range of ports")
    ports = range(int(first), int(last or first) + 1)
    if not ports or ports.start < 1 or ports[-1] > HIGHEST:
        raise Invalid(f"{part!r} is no range of ports from 1 to {HIGHEST}")
    return ports
