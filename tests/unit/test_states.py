"""The one word that people see: every combination has one, and it follows from the facts behind it."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.contracts.nouns import (
    DesiredState,
    Health,
    InstanceState,
    Liveness,
    Membership,
    NodeState,
    Phase,
    Reachability,
    Role,
    WorkloadState,
)
from lattice.contracts.states import (
    app_state,
    furthest,
    instance_state,
    is_ready,
    node_state,
    reachability,
    workload_state,
)

phases, healths, reaches = st.sampled_from(Phase), st.sampled_from(Health), st.sampled_from(Reachability)


@given(phases, healths, reaches)
def test_an_ended_instance_stays_ended_wherever_its_node_is(
    phase: Phase, health: Health, reach: Reachability
) -> None:
    state = instance_state(phase, health, reach)
    if phase in (Phase.STOPPED, Phase.FAILED):
        assert state == phase.value
    elif phase is Phase.STOPPING:
        assert state is InstanceState.STOPPING
    else:
        assert (state in (InstanceState.LOST, InstanceState.HELD)) == (reach is not Reachability.OK)


@given(phases, healths)
def test_unhealthy_is_said_of_what_runs_only(phase: Phase, health: Health) -> None:
    state = instance_state(phase, health, Reachability.OK)
    assert (state is InstanceState.UNHEALTHY) == (phase is Phase.RUNNING and health is Health.UNHEALTHY)


@given(st.lists(phases, min_size=1), st.sampled_from(DesiredState))
def test_a_phase_never_goes_back_to_before_the_start(reports: list[Phase], desired: DesiredState) -> None:
    known, began = Phase.PENDING, False
    for report in reports:
        known = furthest(known, report, desired=desired)
        began = began or known in (Phase.RUNNING, Phase.FAILED, Phase.STOPPED)
        assert not (began and known in (Phase.PENDING, Phase.PULLING))


def test_only_a_volume_is_held() -> None:
    for liveness, has_volume in product(Liveness, (True, False)):
        found = reachability(liveness, has_volume=has_volume)
        away = liveness is Liveness.UNREACHABLE
        assert found is (
            Reachability.OK if not away else Reachability.HELD if has_volume else Reachability.LOST
        )


@given(
    membership=st.sampled_from([m for m in Membership if m is not Membership.APPROVED]),
    liveness=st.sampled_from(Liveness),
    cordoned=st.booleans(),
    draining=st.booleans(),
)
def test_who_is_no_member_is_shown_as_that(
    membership: Membership, liveness: Liveness, **operators: bool
) -> None:
    assert node_state(membership, liveness, **operators) == membership.value


def test_silence_hides_a_cordon_but_not_the_other_way_round() -> None:
    member, away = Membership.APPROVED, Liveness.UNREACHABLE
    assert node_state(member, away, cordoned=True, draining=False) is NodeState.UNREACHABLE
    assert node_state(member, Liveness.READY, cordoned=True, draining=True) is NodeState.DRAINING
    assert node_state(member, Liveness.READY, cordoned=True, draining=False) is NodeState.CORDONED


@given(st.lists(st.sampled_from(InstanceState), max_size=5), st.integers(0, 5))
def test_a_workload_runs_when_enough_of_it_runs(instances: list[InstanceState], replicas: int) -> None:
    state = workload_state(DesiredState.RUNNING, replicas, instances)
    running, ended = instances.count(InstanceState.RUNNING), instances.count(InstanceState.STOPPED)
    enough = running >= replicas or (running > 0 and running + ended >= replicas)
    assert (state is WorkloadState.RUNNING) == enough


def test_what_has_ended_well_is_not_missed() -> None:
    assert workload_state(DesiredState.RUNNING, 1, [InstanceState.STOPPED]) is WorkloadState.STOPPED
    assert workload_state(DesiredState.RUNNING, 2, [InstanceState.STOPPED]) is not WorkloadState.STOPPED


def test_ready_needs_a_healthy_check() -> None:
    ready = [(p, h) for p, h in product(Phase, Health) if is_ready(p, h)]
    assert ready == [(Phase.RUNNING, Health.HEALTHY)]


def test_roles_contain_the_ones_before() -> None:
    assert [[have.allows(need) for need in Role] for have in Role] == [
        [True, False, False, False],
        [True, True, False, False],
        [True, True, True, False],
        [True, True, True, True],
    ]


@pytest.mark.parametrize(
    ("states", "wanted"),
    [
        (["running", "stopped"], "running"),
        (["stopped", "stopped"], "stopped"),
        (["running", "failed", "degraded"], "failed"),
        (["running", "pending", "deploying"], "deploying"),
        (["running", "removing"], "running"),
        ([], "running"),
    ],
)
def test_an_app_is_as_what_needs_attention_most(states: list[str], wanted: str) -> None:
    workloads = [WorkloadState(state) for state in states]
    assert app_state(DesiredState.RUNNING, workloads) == wanted
    assert app_state(DesiredState.REMOVED, workloads) == "removing"
