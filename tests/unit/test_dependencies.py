"""When an instance may be made, and what is said until then."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.contracts.nouns import DesiredState, Health, Phase
from lattice.contracts.spec import Condition
from services.registry.dependencies import Other, Part, Wait, first_wait

RUNS = Part(phase=Phase.RUNNING)
HEALTHY = Part(phase=Phase.RUNNING, health=Health.HEALTHY)
COMPLETED = Part(phase=Phase.STOPPED, ended=True)
FAILED = Part(phase=Phase.FAILED, ended=True, reason="exited with 3")
STARTS = Part(phase=Phase.STARTING)


def asked(condition: Condition, *parts: Part, replicas: int = 1, **other: Any) -> str:
    """What is waited for, in words; nothing if nothing is."""
    wait = first_wait({"db": condition}, {"db": Other(replicas=replicas, parts=parts, **other)})
    return "" if wait is None else wait.reason


@pytest.mark.parametrize(
    ("condition", "part", "met"),
    [
        (Condition.STARTED, STARTS, False),
        (Condition.STARTED, RUNS, True),
        (Condition.STARTED, COMPLETED, True),
        (Condition.STARTED, FAILED, False),
        (Condition.HEALTHY, RUNS, False),
        (Condition.HEALTHY, HEALTHY, True),
        (Condition.HEALTHY, COMPLETED, False),
        (Condition.COMPLETED, HEALTHY, False),
        (Condition.COMPLETED, COMPLETED, True),
        (Condition.COMPLETED, FAILED, False),
        (Condition.COMPLETED, Part(phase=Phase.STOPPED), False),
    ],
)
def test_when_a_condition_is_met(condition: Condition, part: Part, met: bool) -> None:
    assert (asked(condition, part) == "") is met


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (asked(Condition.HEALTHY), "waiting for db to be healthy"),
        (asked(Condition.STARTED, STARTS), "waiting for db to be started"),
        (asked(Condition.COMPLETED, RUNS), "waiting for db to complete with exit code 0"),
        (asked(Condition.COMPLETED, FAILED), "waiting for db to complete, which has failed: exited with 3"),
        (asked(Condition.HEALTHY, HEALTHY, RUNS, replicas=2), "waiting for db to be healthy (1 of 2)"),
        (asked(Condition.HEALTHY, desired=DesiredState.STOPPED), "waiting for db to be healthy, which is stopped"),
    ],
)  # fmt: skip
def test_what_is_said(said: str, wanted: str) -> None:
    assert said == wanted


def test_what_is_not_there_is_said_and_the_first_by_name_is_told() -> None:
    wait = first_wait({"db": Condition.STARTED, "cache": Condition.HEALTHY}, {})
    assert wait == Wait("cache", "waiting for cache to be healthy, which is not there")


def test_none_wanted_is_none_missing() -> None:
    assert asked(Condition.HEALTHY, replicas=0) == ""


@given(
    st.dictionaries(st.sampled_from(["a", "b", "c"]), st.sampled_from(Condition)),
    st.dictionaries(st.sampled_from(["a", "b", "c"]), st.lists(st.sampled_from([RUNS, HEALTHY, COMPLETED, FAILED, STARTS]))),
)  # fmt: skip
def test_nothing_is_in_the_way_only_when_every_condition_is_met(
    depends_on: dict[str, Condition], there: dict[str, list[Part]]
) -> None:
    others = {name: Other(replicas=len(parts), parts=parts) for name, parts in there.items()}
    met = all(
        name in there and all(part.has_met(condition) for part in there[name])
        for name, condition in depends_on.items()
    )
    assert (first_wait(depends_on, others) is None) is met
