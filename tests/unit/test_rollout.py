"""When an update goes on, ends, or goes back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lattice.contracts.messages import RunPort, RunSpec, RunVolume
from lattice.contracts.nouns import RolloutState
from lattice.contracts.spec import HealthSpec, PortProtocol, TcpCheck, UpdateOrder, UpdateSpec
from services.registry.rollout import Newcomer, Verdict, goal_of, healthy_for, judge, order_of

NOW = datetime(2030, 1, 1, tzinfo=UTC)
PLAIN = RunSpec(image="app", cpu_millis=100, memory_bytes=1, pids=1)
STATEFUL = PLAIN.model_copy(
    update={"volumes": (RunVolume(volume_id="vo-1", name="data", path="/data", size_bytes=1),)}
)
UPDATE = UpdateSpec(healthy_deadline=60)


def verdict(*newcomers: Newcomer, update: UpdateSpec = UPDATE, **seen: object) -> Verdict:
    given = {"has_way_back": True, "settled": False, "now": NOW, "state": RolloutState.RUNNING} | seen
    return judge(update=update, newcomers=newcomers, **given)  # type: ignore[arg-type]


def unready(seconds: float, **more: object) -> Newcomer:
    return Newcomer(slot=0, waited_for_since=NOW - timedelta(seconds=seconds), **more)  # type: ignore[arg-type]


READY = Newcomer(slot=0, waited_for_since=None)


def test_it_goes_on_while_there_is_time() -> None:
    assert verdict(READY, unready(59)) == Verdict(state=RolloutState.RUNNING)


def test_what_does_not_become_healthy_in_time_goes_back() -> None:
    found = verdict(READY, unready(60, reason="connection refused"))
    assert found.state is RolloutState.ROLLING_BACK
    assert found.reason == "not healthy within 60 s: connection refused"


def test_what_cannot_become_healthy_goes_back_at_once() -> None:
    found = verdict(unready(1, hopeless=True, reason="exited with 1"))
    assert found == Verdict(state=RolloutState.ROLLING_BACK, reason="exited with 1")


@pytest.mark.parametrize(
    ("update", "has_way_back", "why"),
    [
        (UPDATE.model_copy(update={"auto_rollback": False}), True, "auto_rollback is off"),
        (UPDATE, False, "no earlier revision has worked"),
    ],
)
def test_without_a_way_back_it_fails(update: UpdateSpec, has_way_back: bool, why: str) -> None:
    found = verdict(unready(61), update=update, has_way_back=has_way_back)
    assert found.state is RolloutState.FAILED and why in found.reason


@pytest.mark.parametrize(
    ("state", "end"),
    [
        (RolloutState.RUNNING, RolloutState.SUCCEEDED),
        (RolloutState.ROLLING_BACK, RolloutState.ROLLED_BACK),
    ],
)
def test_it_ends_when_all_is_as_wanted(state: RolloutState, end: RolloutState) -> None:
    assert verdict(READY, state=state, settled=True) == Verdict(state=end)


def test_without_a_check_it_has_to_stay_up_for_a_while() -> None:
    checked = PLAIN.model_copy(update={"health": HealthSpec(tcp=TcpCheck(port="http"))})
    assert healthy_for(UPDATE, PLAIN) == timedelta(seconds=5)
    assert healthy_for(UPDATE, checked) == timedelta(0)
    assert healthy_for(UPDATE.model_copy(update={"healthy_for": 9.0}), checked) == timedelta(seconds=9)


def test_the_way_back_has_no_way_back() -> None:
    assert verdict(unready(600), state=RolloutState.ROLLING_BACK).state is RolloutState.ROLLING_BACK


def test_a_volume_forbids_two_at_once() -> None:
    order, why = order_of(UPDATE, STATEFUL)
    assert order is UpdateOrder.STOP_FIRST and "volume" in why
    goal = goal_of(replicas=1, revision=2, update=UPDATE, run=STATEFUL)
    assert (goal.surge, goal.max_unavailable, goal.exclusive) == (0, 1, True)
    assert order_of(UPDATE, PLAIN) == (UpdateOrder.START_FIRST, "")


def test_a_fixed_host_port_is_stop_first() -> None:
    port = RunPort(name="db", container_port=5432, protocol=PortProtocol.TCP, host_port=15432)
    order, why = order_of(UPDATE, PLAIN.model_copy(update={"ports": (port,)}))
    assert order is UpdateOrder.STOP_FIRST
    assert why == "stop-first, because its fixed host port 15432 is free only when the old instance is gone"
