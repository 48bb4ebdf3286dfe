"""Addresses: subjects with named places, built and parsed in one way.

An address is written once, in `catalogue`.  A token that could change the meaning of a subject (a dot, a wildcard, white space) is
refused here, so no name from outside can widen a subscription.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PLACE = re.compile(r"\{([a-z_]+)\}")
_TOKEN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")


class BadToken(ValueError):
    """A value cannot stand as one token of a subject."""


def check_token(place: str, value: str) -> str:
    """`value` itself, or BadToken naming the place."""
    if not _TOKEN.fullmatch(value):  # `$` would let a line end through
        raise BadToken(f"{value!r} cannot stand for {place} in a subject")
    return value


@dataclass(frozen=True, slots=True)
class Address:
    """A subject with places: `Address("lattice.node.{node_id}.deploy")`."""

    template: str

    @property
    def places(self) -> tuple[str, ...]:
        """The names of the places, in order."""
        return tuple(_PLACE.findall(self.template))

    def subject(self, **tokens: str) -> str:
        """The subject with every place filled in; BadToken or KeyError if one cannot be."""
        return _PLACE.sub(lambda place: check_token(place[1], tokens[place[1]]), self.template)

    def pattern(self, **tokens: str) -> str:
        """The subject to subscribe to: places that are not given become `*`."""
        return _PLACE.sub(
            lambda place: check_token(place[1], tokens[place[1]]) if place[1] in tokens else "*",
            self.template,
        )

    def parse(self, subject: str) -> dict[str, str] | None:
        """The tokens of a subject of this address, or None if it is not one."""
        wanted, given = self.template.split("."), subject.split(".")
        if len(wanted) != len(given):
            return None
        tokens = {}
        for want, got in zip(wanted, given, strict=True):
            place = _PLACE.fullmatch(want)
            if place is not None:
                tokens[place[1]] = got
            elif want != got:
                return None
        return tokens
