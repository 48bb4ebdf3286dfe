"""Whether nobody wants to hear of an alert now.  Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from lattice.contracts.messages import Matchers


class Matchable(Protocol):
    """What of an alert silences look at."""

    @property
    def fingerprint(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def project(self) -> str: ...
    @property
    def severity(self) -> str: ...
    @property
    def entity_id(self) -> str: ...
    @property
    def entity_name(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """A time in which nobody is told of what matches."""

    matchers: Matchers
    starts_at: datetime
    ends_at: datetime

    def is_active(self, now: datetime) -> bool:
        return self.starts_at <= now < self.ends_at


def silenced_until(alert: Matchable, silences: Iterable[Silence], now: datetime) -> datetime | None:
    """Until when nobody is told of it, as far as silences reach that are active now; None where none is."""
    ends = [each.ends_at for each in silences if each.is_active(now) and matches(each.matchers, alert)]
    return max(ends, default=None)


def matches(matchers: Matchers, alert: Matchable) -> bool:
    """Everything that is set is equal, and something is set."""
    wanted = {
        "fingerprint": alert.fingerprint,
        "name": alert.name,
        "project": alert.project,
        "severity": alert.severity,
    }
    asked = matchers.model_dump(exclude_none=True)
    if not asked:
        return False
    entity = asked.pop("entity", None)
    if entity is not None and entity not in (alert.entity_id, alert.entity_name):
        return False
    return all(wanted[key] == value for key, value in asked.items())
