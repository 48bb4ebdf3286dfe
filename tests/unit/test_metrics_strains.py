"""What is too much, from what nodes and services say."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest

from lattice.contracts.messages import TroubleKind
from lattice.contracts.messages.metric_queries import SourceKind
from lattice.metrics.declared import node, process
from lattice.metrics.readings import Reading, reading, tables_of
from services.metrics.errors import LoggedErrors
from services.metrics.newest import Pair, Said
from services.metrics.strains import strains

NOW = datetime(2030, 1, 1, tzinfo=UTC)
WELL = (
    reading(node.CPUS, 2),
    reading(node.MEMORY_USED, 50),
    reading(node.MEMORY_SIZE, 100),
    reading(node.DISK_USED, 50),
    reading(node.DISK_FREE, 50),
    reading(node.CLOCK_OFFSET, 0.1),
    reading(node.TUNNEL_LINKS, 2),
)


def said(
    readings: Iterable[Reading], *, at_s: float = 0.0, kind: SourceKind = "node", name: str = "hydra"
) -> Said:
    at = NOW + timedelta(seconds=at_s)
    return Said(kind=kind, id=name, name=name, taken_at=at, heard_at=at, tables=tables_of(readings))


def of_node(*changes: Reading, busy_s: float = 1.0, age_s: float = 0.0) -> list[tuple[TroubleKind, str]]:
    """What is wrong with a node that is well but for this; in 15 s its processors worked for so long."""
    specs = {each.spec: each for each in (*WELL, *changes)}
    before = said([*specs.values(), reading(node.CPU_SECONDS, 100)], at_s=-15)
    newest = said([*specs.values(), reading(node.CPU_SECONDS, 100 + busy_s)])
    found = strains([Pair(newest, before)], LoggedErrors(), NOW + timedelta(seconds=age_s))
    return [(each.kind, each.detail) for each in found]


def test_a_node_that_is_well_has_none() -> None:
    assert of_node() == []


@pytest.mark.parametrize(
    ("changes", "kind", "detail"),
    [
        ([reading(node.MEMORY_USED, 96)], TroubleKind.NODE_MEMORY_LOW, "96% of its memory is in use"),
        (
            [reading(node.DISK_USED, 970), reading(node.DISK_FREE, 30)],
            TroubleKind.NODE_DISK_FULL,
            "97% of its disk is in use",
        ),
        (
            [reading(node.CLOCK_OFFSET, -5)],
            TroubleKind.NODE_CLOCK_OFF,
            "its clock is 5 s behind the platform's",
        ),
        ([reading(node.TUNNEL_LINKS, 0)], TroubleKind.TUNNEL_DOWN, "it has no connection to an ingress"),
    ],
)
def test_what_is_beyond_its_mark_is_told(changes: list[Reading], kind: TroubleKind, detail: str) -> None:
    assert of_node(*changes) == [(kind, detail)]


def test_processors_count_by_what_they_did_between_two_messages() -> None:
    assert of_node(busy_s=29.5) == [(TroubleKind.NODE_CPU_HIGH, "98% of its processors are busy")]
    assert of_node(busy_s=28) == []


def test_who_has_fallen_silent_says_nothing_about_now() -> None:
    full = reading(node.MEMORY_USED, 100)
    assert of_node(full, age_s=59) and not of_node(full, age_s=61)


def test_what_is_not_said_is_not_too_much() -> None:
    alone = Pair(said([reading(node.CPUS, 2)]))
    assert list(strains([alone], LoggedErrors(), NOW)) == []


# --- errors --------------------------------------------------------------------------------------------------


class Service:
    """A service that logs."""

    def __init__(self) -> None:
        self.errors, self.count, self.at_s = LoggedErrors(), 0, 0.0

    def logs(self, count: int, *, after_s: float = 15.0) -> list[str]:
        """After so long it has logged so many more errors; what is told of it."""
        self.count, self.at_s = self.count + count, self.at_s + after_s
        return self._say()

    def starts_again(self) -> list[str]:
        self.count = 0
        return self.logs(0)

    def _say(self) -> list[str]:
        records = [
            reading(process.LOG_RECORDS, 1000, "info"),
            reading(process.LOG_RECORDS, self.count, "error"),
            reading(process.LOG_RECORDS, 0, "critical"),
        ]
        newest = said(records, at_s=self.at_s, kind="service", name="registry")
        self.errors.take(newest)
        return [each.detail for each in strains([Pair(newest)], self.errors, newest.heard_at)]


def test_many_errors_in_five_minutes_are_told_and_then_forgotten() -> None:
    service = Service()
    assert service.logs(500) == [], "what it logged before we listened is over"
    assert service.logs(6) == []
    assert service.logs(6) == ["registry logged 12 errors in the last five minutes"]
    assert service.logs(0, after_s=290) == []


def test_a_restart_begins_anew_and_loses_nothing() -> None:
    service = Service()
    service.logs(0)
    service.logs(8)
    assert service.starts_again() == []
    assert service.logs(4) == ["registry logged 12 errors in the last five minutes"]
