"""Ids sort by time, repeat when time and randomness repeat, and can stand wherever a name can."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.ids import RANDOM_BYTES, id_at, new_id
from lattice.testing import ManualClock

# Hypothesis wants its bounds naive and adds the zone itself.
TIMES = st.datetimes(datetime(2020, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
RANDOMNESS = st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)
DIGITS = "0123456789abcdefghijklmnopqrstuv"


def as_uuid(made: str) -> uuid.UUID:
    number = 0
    for character in made.partition("-")[2]:
        number = number << 5 | DIGITS.index(character)
    return uuid.UUID(int=number)


@given(TIMES, RANDOMNESS)
def test_an_id_is_a_uuid_of_version_7(at: datetime, randomness: bytes) -> None:
    made = as_uuid(id_at("wl", at=at, randomness=randomness))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == int(at.timestamp()) * 1000 + at.microsecond // 1000


@given(TIMES, RANDOMNESS, RANDOMNESS)
def test_a_later_id_sorts_behind(at: datetime, one: bytes, other: bytes) -> None:
    later = at + timedelta(microseconds=1)
    assert id_at("in", at=at, randomness=one) < id_at("in", at=later, randomness=other)


@given(TIMES, RANDOMNESS)
def test_an_id_can_stand_in_a_subject_and_a_host_name(at: datetime, randomness: bytes) -> None:
    assert re.fullmatch(r"wl-[0-9a-v]{26}", id_at("wl", at=at, randomness=randomness))


def test_the_same_time_and_randomness_make_the_same_id() -> None:
    clock = ManualClock()
    assert new_id("op", clock=clock, random_bytes=bytes) == new_id("op", clock=clock, random_bytes=bytes)


def test_ids_differ_by_their_randomness() -> None:
    clock = ManualClock()
    assert len({new_id("fa", clock=clock) for _ in range(1000)}) == 1000


@pytest.mark.parametrize("prefix", ["", "w", "WL", "wl-", "wl.x", "workload"])
def test_a_prefix_is_two_letters(prefix: str) -> None:
    with pytest.raises(ValueError, match="two lower-case letters"):
        new_id(prefix)
