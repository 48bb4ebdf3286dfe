"""A workload from accept to removal, in the registry alone: requests and reports go in, rows, documents and facts come out."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from lattice.contracts.catalogue import DESIRED_DOCUMENT, FACT
from lattice.contracts.messages import (
    CommitPlacements,
    CreateProject,
    CreateWorkload,
    DeleteVolume,
    DeleteWorkload,
    GetByName,
    GetCredentials,
    ListFacts,
    ListInProject,
    NodeEvent,
    ObservedDocument,
    OperationCommand,
    RunSpec,
    SchedulingQuery,
    SetSecret,
    TakeTerm,
    UnplaceableInstance,
    WorkloadCommand,
)
from lattice.contracts.nouns import (
    DesiredState,
    Health,
    LastExit,
    ObservedContainer,
    OperationState,
    Phase,
    WorkloadState,
)
from lattice.contracts.spec import WorkloadSpec
from lattice.contracts.streams import EVENTS
from lattice.contracts.views import InstanceView
from lattice.errors import Conflict, Invalid, NotFound
from lattice.messaging import MSG_ID, Received
from lattice.sealing import unseal
from lattice.testing.store_transaction import MemoryTransaction
from services.registry import (
    belongings,
    credentials,
    node_removal,
    observed,
    operations,
    reading,
    scheduling,
    workload_create,
    workloads,
)
from services.registry.following import follow_up
from services.registry.image_pinning import Answer, RegistryAnswer
from services.registry.relay import Relay
from services.registry.retention import KEPT
from services.registry.sweep import Sweep
from services.registry.tables import FactRow, InstanceRow, NodeRow, OperationRow, VolumeRow
from services.registry.template import load_templates
from tests.fixtures.registry_world import (
    CALLER,
    DIGEST,
    NODE,
    OTHER,
    Registries,
    World,
    deployed,
    node_row,
    placement,
    running,
)


async def test_a_deploy_succeeds_when_its_instance_is_healthy(world: World) -> None:
    accepted, document = await deployed(world, name="db", template="postgres")
    assert await world.operation(accepted) is OperationState.SUCCEEDED
    view = await reading.get_workload(world.deps, GetByName(ref="db"))
    assert (view.state, view.image) == (WorkloadState.RUNNING, f"postgres@{DIGEST}")
    assert document.instances[0].run.image == f"postgres@{DIGEST}"


async def test_credentials_open_what_was_delivered(world: World) -> None:
    _, document = await deployed(world, name="db", template="postgres", values={"database": "orders"})
    answer = await credentials.get_credentials(world.deps, GetCredentials(caller=CALLER, workload="db"))
    file = next(f for f in document.instances[0].run.files if f.path == "/run/lattice/password")
    sealed = next(s for s in document.secrets if s.secret_id == file.secret)
    assert unseal(base64.b64decode(sealed.sealed), world.sealing).decode() == answer.password
    assert answer.uri == f"postgresql://app:{answer.password}@127.0.0.1:40000/orders?sslmode=verify-full"
    assert answer.password not in document.model_dump_json()


async def test_an_unchanged_document_raises_no_generation(world: World) -> None:
    _, document = await deployed(world, name="db", template="postgres")
    async with world.deps.store.transaction() as tx:
        node = await tx.get(NodeRow, NODE, lock=True)
        assert node is not None
        tx.update(node, document_dirty=True)
    assert (await world.document()) == document


async def test_removal_waits_until_the_container_is_seen_gone(world: World) -> None:
    _, document = await deployed(world, name="db", template="postgres")
    accepted = await workloads.delete_workload(world.deps, DeleteWorkload(caller=CALLER, workload="db"))
    newer = await world.document()
    assert [t.key for t in newer.tombstones] == [document.instances[0].key] and newer.instances == ()
    await world.report(generation=document.generation)  # an older generation proves nothing
    assert await world.operation(accepted) is OperationState.RUNNING
    await world.report(generation=newer.generation)
    assert await world.operation(accepted) is OperationState.SUCCEEDED
    with pytest.raises(NotFound):
        await reading.get_workload(world.deps, GetByName(ref="db"))
    assert (await world.document()).tombstones == ()


async def test_an_incomplete_report_removes_nothing(world: World) -> None:
    await deployed(world, name="db", template="postgres")
    accepted = await workloads.delete_workload(world.deps, DeleteWorkload(caller=CALLER, workload="db"))
    newer = await world.document()
    await world.report(generation=newer.generation, complete=False)
    assert await world.operation(accepted) is OperationState.RUNNING


async def test_a_released_volume_is_never_taken_silently(world: World) -> None:
    await deployed(world, name="db", template="postgres")
    first = await credentials.get_credentials(world.deps, GetCredentials(caller=CALLER, workload="db"))
    await workloads.delete_workload(world.deps, DeleteWorkload(caller=CALLER, workload="db"))
    newer = await world.document()
    await world.report(generation=newer.generation)
    with pytest.raises(Conflict, match="--adopt"):
        await world.create(name="db", template="postgres")
    await world.create(name="db", template="postgres", adopt=True)
    wanted = await world.place_all()
    assert wanted[0].only_nodes == (NODE,)
    document = await world.document()
    await world.report(running(document), generation=document.generation)
    again = await credentials.get_credentials(world.deps, GetCredentials(caller=CALLER, workload="db"))
    assert again.password == first.password


async def test_volumes_go_only_when_that_was_said(world: World) -> None:
    await deployed(world, name="db", template="postgres")
    await workloads.delete_workload(world.deps, DeleteWorkload(caller=CALLER, workload="db", volumes=True))
    first = await world.document()
    assert first.remove_volumes == ()  # the container may still write to it
    await world.report(generation=first.generation)
    second = await world.document()
    assert len(second.remove_volumes) == 1
    await world.report(generation=second.generation, volumes=())
    async with world.deps.store.transaction() as tx:
        assert await tx.find(VolumeRow, removed_at=None) == []


async def test_the_same_key_gives_the_same_workload(world: World) -> None:
    caller = CALLER.model_copy(update={"idempotency_key": "k1", "request_hash": "h1"})
    request = CreateWorkload(caller=caller, spec=WorkloadSpec(name="web", template="web"))
    first = await workload_create.create_workload(world.deps, request)
    assert await workload_create.create_workload(world.deps, request) == first
    other = request.model_copy(update={"caller": caller.model_copy(update={"request_hash": "h2"})})
    with pytest.raises(Invalid, match="Idempotency-Key"):
        await workload_create.create_workload(world.deps, other)


async def test_the_same_key_at_the_same_moment_gives_the_same_workload(world: World) -> None:
    caller = CALLER.model_copy(update={"idempotency_key": "k1", "request_hash": "h1"})
    request = CreateWorkload(caller=caller, spec=WorkloadSpec(name="web", template="web"))
    answers = await asyncio.gather(*(workload_create.create_workload(world.deps, request) for _ in range(4)))
    assert all(answer == answers[0] for answer in answers)


async def test_what_no_node_is_large_enough_for_is_refused(world: World) -> None:
    with pytest.raises(Invalid, match="one has 8 GiB of memory, 64 GiB wanted"):
        await world.create(name="big", image="redis:7", resources={"memory": "64Gi"})
    with pytest.raises(NotFound):
        await reading.get_workload(world.deps, GetByName(ref="big"))


async def test_a_name_that_is_taken_is_refused(world: World) -> None:
    await world.create(name="web", template="web")
    with pytest.raises(Conflict, match="exists already"):
        await world.create(name="web", template="web")


async def test_where_no_registry_answers_the_local_image_is_pinned_to_its_nodes(world: World) -> None:
    Registries.reply = RegistryAnswer(Answer.AWAY, detail="no route")
    try:
        await world.create(name="db", template="postgres")
        wanted = await world.place_all()
        run: RunSpec = (await world.document()).instances[0].run
        assert (run.image, run.image_id) == ("lattice.local/postgres:15.18", "sha256:" + "b" * 64)
        assert wanted[0].only_nodes == (NODE,)
        with pytest.raises(Invalid, match="redis:7"):
            await world.create(name="cache", template="redis", values={"version": "7"})
    finally:
        Registries.reply = RegistryAnswer(Answer.FOUND, digest=DIGEST)


async def test_a_commit_of_an_old_term_is_refused(world: World) -> None:
    await world.create(name="web", template="web")
    term = await scheduling.take_term(world.deps, TakeTerm(leader="a"))
    await scheduling.take_term(world.deps, TakeTerm(leader="b"))
    with pytest.raises(Conflict, match="term"):
        await scheduling.commit_placements(world.deps, CommitPlacements(term=term.term))


async def test_a_placement_on_an_older_node_is_refused_alone(world: World) -> None:
    await world.create(name="web", template="web", replicas=2)
    snapshot = await scheduling.scheduling_snapshot(world.deps, SchedulingQuery())
    good, stale = (
        placement(w, snapshot.nodes[0].placement_version - n) for n, w in enumerate(snapshot.wanted)
    )
    reply = await scheduling.commit_placements(
        world.deps, CommitPlacements(term=snapshot.term, placements=(good, stale))
    )
    assert reply.accepted == (good.instance_id,)
    assert reply.refused[0].instance_id == stale.instance_id
    assert reply.nodes[0].placement_version == snapshot.nodes[0].placement_version + 1


async def test_a_commit_reads_as_often_for_many_placements_as_for_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One read each per placement held the scheduler to some hundred placements a second."""
    reads: list[str] = []
    for name in ("get", "find"):
        _count_calls(monkeypatch, name, reads)
    counts = []
    for replicas in (1, 20):
        await world.create(
            name=f"w{replicas}", image="nginx:1", replicas=replicas, resources={"cpu": "10m", "memory": "8Mi"}
        )
        snapshot = await scheduling.scheduling_snapshot(world.deps, SchedulingQuery())
        version = snapshot.nodes[0].placement_version
        wanted = tuple(placement(each, version) for each in snapshot.wanted)
        reads.clear()
        reply = await scheduling.commit_placements(
            world.deps, CommitPlacements(term=snapshot.term, placements=wanted)
        )
        counts.append(len(reads))
        assert len(reply.accepted) == replicas
    assert counts[0] == counts[1]


def _count_calls(patch: pytest.MonkeyPatch, name: str, calls: list[str]) -> None:
    plain = getattr(MemoryTransaction, name)

    async def counted(self: MemoryTransaction, *arguments: Any, **options: Any) -> Any:
        calls.append(name)
        return await plain(self, *arguments, **options)

    patch.setattr(MemoryTransaction, name, counted)


async def test_why_there_is_no_place_is_shown(world: World) -> None:
    await world.create(name="web", template="web")
    snapshot = await scheduling.scheduling_snapshot(world.deps, SchedulingQuery())
    nowhere = UnplaceableInstance(
        instance_id=snapshot.wanted[0].instance_id,
        workload_id=snapshot.wanted[0].workload_id,
        summary="no node fits",
    )
    await scheduling.commit_placements(
        world.deps, CommitPlacements(term=snapshot.term, unplaceable=(nowhere,))
    )
    view = await reading.get_workload(world.deps, GetByName(ref="web"))
    assert view.placement[0].reason == "no node fits" and view.reason == "no node fits"


async def test_an_operation_never_outlives_its_deadline(world: World) -> None:
    accepted = await world.create(name="web", template="web")
    world.clock.advance(timedelta(minutes=11).total_seconds())
    await Sweep(world.deps).round(everything=False)
    view = await reading.get_operation(world.deps, GetByName(ref=accepted.operation.id))
    assert view.state is OperationState.FAILED and view.problem is not None
    assert view.problem.code == "deadline_exceeded"


async def test_a_cancelled_deploy_is_stopped_on_its_node(world: World) -> None:
    accepted = await world.create(name="web", template="web")
    await world.place_all()
    await world.document()
    view = await belongings.cancel_operation(
        world.deps, OperationCommand(caller=CALLER, operation=accepted.operation.id)
    )
    assert view.state is OperationState.CANCELLED
    assert (await world.document()).instances[0].desired is DesiredState.STOPPED


async def test_stop_and_start_keep_instance_and_epoch(world: World) -> None:
    _, document = await deployed(world, name="web", template="web")
    await workloads.stop_workload(world.deps, WorkloadCommand(caller=CALLER, workload="web"))
    stopping = await world.document()
    assert (stopping.instances[0].desired, stopping.instances[0].key) == (
        "stopped",
        document.instances[0].key,
    )
    await world.report(
        running(stopping, phase=Phase.STOPPED, health=Health.UNKNOWN), generation=stopping.generation
    )
    assert (await reading.get_workload(world.deps, GetByName(ref="web"))).state is WorkloadState.STOPPED
    accepted = await workloads.start_workload(world.deps, WorkloadCommand(caller=CALLER, workload="web"))
    starting = await world.document()
    await world.report(running(starting), generation=starting.generation)
    assert await world.operation(accepted) is OperationState.SUCCEEDED


async def test_a_start_before_the_stop_has_ended_is_followed(world: World) -> None:
    """The container may still have been stopping when it was wanted again: then nobody ever reports it stopped."""
    _, document = await deployed(world, name="web", template="web")
    await workloads.stop_workload(world.deps, WorkloadCommand(caller=CALLER, workload="web"))
    stopping = await world.document()
    await world.report(
        running(stopping, phase=Phase.STOPPING, health=Health.UNKNOWN), generation=stopping.generation
    )
    accepted = await workloads.start_workload(world.deps, WorkloadCommand(caller=CALLER, workload="web"))
    starting = await world.document()
    await world.report(running(starting), generation=starting.generation)
    assert await world.operation(accepted) is OperationState.SUCCEEDED
    view = await reading.get_workload(world.deps, GetByName(ref="web"))
    assert (view.state, view.instances[0].epoch) == (WorkloadState.RUNNING, document.instances[0].key.epoch)


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (workloads.stop_workload, "stop"),
        (workloads.restart_workload, "restart"),
        (workloads.start_workload, "start"),
    ],
)
async def test_a_newer_command_ends_what_was_under_way(world: World, command: Any, named: str) -> None:
    accepted = await world.create(name="web", template="web")
    await world.place_all()
    newer = await command(world.deps, WorkloadCommand(caller=CALLER, workload="web"))
    view = await reading.get_operation(world.deps, GetByName(ref=accepted.operation.id))
    assert (view.state, view.problem and view.problem.code) == (OperationState.CANCELLED, "superseded")
    assert view.problem is not None and view.problem.detail.endswith(named)
    assert await world.operation(newer) is OperationState.RUNNING


async def test_a_liveness_check_reaches_the_node_and_names_a_port_that_is_there(world: World) -> None:
    check = {"tcp": {"port": "postgres"}, "interval": "1s"}
    _, document = await deployed(world, name="db", template="postgres", liveness=check)
    run = document.instances[0].run
    assert run.liveness is not None and run.liveness.tcp is not None and run.liveness.interval == 1.0
    assert run.health is not None and run.health != run.liveness, "the template's readiness stays as it is"
    with pytest.raises(Invalid, match="liveness names port 'http', which is not in ports"):
        await world.create(name="db2", template="postgres", liveness={"tcp": {"port": "http"}})


async def test_a_node_reports_for_itself_only(world: World) -> None:
    """The bus guards the subject; what stands in the payload is the node's own word."""
    _, document = await deployed(world, name="web", template="web")
    forged = ObservedDocument(
        node_id=NODE, boot_id="b9", session=99, counter=1, era=1, generation=document.generation,
        complete=True,
    )  # fmt: skip
    with pytest.raises(Invalid, match="itself"):
        await observed.take_observed(world.deps, Received(forged, "", {"node_id": OTHER}))
    event = NodeEvent(node_id=NODE, type="oom", at=world.clock.now())
    for tokens in ({"node_id": OTHER, "type": "oom"}, {"node_id": NODE, "type": "exit"}):
        with pytest.raises(Invalid, match="speaks of"):
            await observed.take_event(world.deps, Received(event, "", tokens))
    view = await reading.get_workload(world.deps, GetByName(ref="web"))
    assert view.state is WorkloadState.RUNNING


async def test_an_event_that_is_delivered_again_is_one_fact(world: World) -> None:
    await deployed(world, name="web", template="web")
    event = NodeEvent(node_id=NODE, type="oom", at=world.clock.now(), detail="over its limit")
    for msg_id in ("fa-1", "fa-1", "fa-2"):
        received = Received(event, "", {"node_id": NODE, "type": "oom"}, headers={MSG_ID: msg_id})
        await observed.take_event(world.deps, received)
    await world.relay.round()
    facts = await reading.list_facts(world.deps, ListFacts(limit=1000))
    assert [fact.cause for fact in facts.facts if fact.verb == "oom"] == ["over its limit"] * 2


async def test_what_happened_on_a_node_stands_in_the_timelines_of_both(world: World) -> None:
    _, document = await deployed(world, name="web", template="web")
    key = document.instances[0].key
    event = NodeEvent(
        node_id=NODE, type="exit", at=world.clock.now(), key=key, detail="exited with 139 (SIGSEGV)"
    )
    tokens = {"node_id": NODE, "type": "exit"}
    await observed.take_event(world.deps, Received(event, "", tokens, headers={MSG_ID: "fa-1"}))
    await world.relay.round()
    of_workload = await reading.list_facts(world.deps, ListFacts(workload_id=key.workload_id, limit=1000))
    of_node = await reading.list_facts(world.deps, ListFacts(entity="node", entity_id=NODE, limit=1000))
    for page in (of_workload, of_node):
        (told,) = [fact for fact in page.facts if fact.verb == "exit"]
        assert (told.cause, told.entity_name, told.data["node"]) == (
            "exited with 139 (SIGSEGV)",
            "web",
            "one",
        )


async def test_facts_are_kept_for_thirty_days_in_the_registry_and_on_the_bus(world: World) -> None:
    assert EVENTS.max_age_s == KEPT.total_seconds() == timedelta(days=30).total_seconds()
    await deployed(world, name="web", template="web")
    await world.relay.round()
    world.clock.jump(30 * 86_400 - 1)
    await Sweep(world.deps).round(everything=True)
    assert (await reading.list_facts(world.deps, ListFacts(limit=1000))).facts
    world.clock.jump(2)
    await Sweep(world.deps).round(everything=True)
    assert not (await reading.list_facts(world.deps, ListFacts(limit=1000))).facts


@pytest.mark.parametrize("verb", ["", "a.b", "*", "x" * 65])
def test_an_event_is_named_by_one_token(verb: str) -> None:
    """It becomes part of a fact's subject: one that cannot be sent would be in the way of all others."""
    with pytest.raises(ValidationError):
        NodeEvent(node_id=NODE, type=verb, at=datetime(2030, 1, 1, tzinfo=UTC))


async def test_what_a_container_printed_is_shown_whatever_it_is(world: World) -> None:
    _, document = await deployed(world, name="web", template="web")
    failed = running(document, phase=Phase.FAILED, reason="\x00", last_log=("a\x00b", "\ud800"))
    await world.report(
        ObservedContainer.model_validate_json(failed.model_dump_json()), generation=document.generation
    )
    view = await reading.get_workload(world.deps, GetByName(ref="web"))
    assert (view.state, view.instances[0].last_log) == (WorkloadState.FAILED, ("a\ufffdb", "\ufffd"))


async def test_a_removal_ends_with_its_last_container_whenever_that_is_reported(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reports are folded without the workload's lock: one of them may come between two looks at the instances."""
    await deployed(world, name="web", template="web")
    accepted = await workloads.delete_workload(world.deps, DeleteWorkload(caller=CALLER, workload="web"))
    document, advance, reports = await world.document(), operations.advance, list[asyncio.Task[None]]()

    async def advance_while_the_node_reports(*arguments: Any, **named: Any) -> None:
        await advance(*arguments, **named)
        if not reports:
            reports.append(asyncio.create_task(world.report(generation=document.generation)))
            await asyncio.wait(reports, timeout=0.05)

    monkeypatch.setattr(operations, "advance", advance_while_the_node_reports)
    await follow_up(world.deps, [accepted.operation.subject_id])
    await asyncio.gather(*reports)
    assert await world.operation(accepted) is OperationState.SUCCEEDED
    with pytest.raises(NotFound):
        await reading.get_workload(world.deps, GetByName(ref="web"))


async def test_an_operation_of_what_is_gone_ends_at_the_latest_at_its_deadline(world: World) -> None:
    await deployed(world, name="web", template="web")
    accepted = await workloads.delete_workload(world.deps, DeleteWorkload(caller=CALLER, workload="web"))
    await world.report(generation=(await world.document()).generation)
    async with world.deps.change(CALLER, action="test") as change:
        row = await change.tx.get(OperationRow, accepted.operation.id, lock=True)
        assert row is not None
        change.tx.update(row, state=OperationState.RUNNING, ended_at=None)
    world.clock.advance(operations.DEADLINES[operations.Kind.REMOVE].total_seconds() + 1)
    await Sweep(world.deps).round(everything=False)
    assert await world.operation(accepted) is OperationState.SUCCEEDED


async def remove_its_node(world: World) -> None:
    async with world.deps.change(CALLER, action="node.remove") as change:
        node = await change.tx.get(NodeRow, NODE, lock=True)
        assert node is not None
        touched = await node_removal.forget(change, node)
    await follow_up(world.deps, touched)


async def test_a_removal_ends_with_its_node(world: World) -> None:
    await deployed(world, name="db", template="postgres")
    accepted = await workloads.delete_workload(
        world.deps, DeleteWorkload(caller=CALLER, workload="db", volumes=True)
    )
    await remove_its_node(world)
    assert await world.operation(accepted) is OperationState.SUCCEEDED
    with pytest.raises(NotFound):
        await reading.get_workload(world.deps, GetByName(ref="db"))
    async with world.deps.store.transaction() as tx:
        assert await tx.find(VolumeRow, removed_at=None) == []


async def test_a_workload_whose_node_was_removed_goes_with_its_volumes(world: World) -> None:
    await deployed(world, name="db", template="postgres")
    await remove_its_node(world)
    accepted = await workloads.delete_workload(
        world.deps, DeleteWorkload(caller=CALLER, workload="db", volumes=True)
    )
    assert await world.operation(accepted) is OperationState.SUCCEEDED
    async with world.deps.store.transaction() as tx:
        assert await tx.find(VolumeRow, removed_at=None) == []


async def test_a_volume_of_a_removed_node_is_given_up_by_its_removal_only(world: World) -> None:
    await deployed(world, name="db", template="postgres")
    await workloads.delete_workload(world.deps, DeleteWorkload(caller=CALLER, workload="db"))
    await remove_its_node(world)
    async with world.deps.store.transaction() as tx:
        tx.add(node_row(OTHER, "two", world.sealing, world.clock.now()))
    with pytest.raises(Conflict, match="was on a node that was removed"):
        await world.create(name="db", template="postgres", adopt=True)
    await belongings.delete_volume(world.deps, DeleteVolume(caller=CALLER, volume="db-data"))
    await world.create(name="db", template="postgres")


LARGE = {"pages": {f"{n}.html": "x" * 130_000 for n in range(5)}}


async def test_a_workload_that_no_document_can_hold_is_refused(world: World) -> None:
    pages = {f"{n}.html": "x" * 130_000 for n in range(7)}
    with pytest.raises(Invalid, match="holds 704 KiB"):
        await world.create(name="web", template="web", values={"pages": pages})


async def test_a_node_whose_orders_are_full_takes_no_more(world: World) -> None:
    await deployed(world, name="one", template="web", values=LARGE)
    await world.create(name="two", template="web", values=LARGE)
    snapshot = await scheduling.scheduling_snapshot(world.deps, SchedulingQuery())
    (wanted,), (seen,) = snapshot.wanted, snapshot.nodes
    assert wanted.document_bytes > seen.document_free_bytes, "so the scheduler refuses it with this reason"
    reply = await scheduling.commit_placements(
        world.deps,
        CommitPlacements(term=snapshot.term, placements=(placement(wanted, seen.placement_version),)),
    )
    assert "orders" in reply.refused[0].reason
    await workloads.delete_workload(world.deps, DeleteWorkload(caller=CALLER, workload="one"))
    await world.place_all()
    assert [each.workload_name for each in (await world.document()).instances] == ["two"]


async def test_a_document_that_is_too_large_is_in_nobodys_way(world: World) -> None:
    """It is told once, the node keeps what it has, facts go on, and removing what is too much mends it."""
    await deployed(world, name="one", template="web", values=LARGE)
    await world.create(name="two", template="web", values=LARGE)
    async with world.deps.store.transaction() as tx:
        for row in await tx.find(InstanceRow, gone_at=None):
            tx.update(row, document_bytes=0)  # as of a release that did not count them
    await world.place_all()
    for _ in range(3):
        document = await world.document()
    assert [each.workload_name for each in document.instances] == ["one"]
    facts = (await reading.list_facts(world.deps, ListFacts(limit=1000))).facts
    told = [fact for fact in facts if fact.verb == "document_refused"]
    assert len(told) == 1 and "768 KiB" in told[0].data["reason"]
    await workloads.delete_workload(world.deps, DeleteWorkload(caller=CALLER, workload="two"))
    newer = await world.document()
    assert (newer.generation > document.generation, len(newer.tombstones)) == (True, 1)


async def test_a_fact_that_cannot_be_sent_is_in_nobodys_way(world: World) -> None:
    async with world.deps.change(CALLER, action="test") as change:
        change.fact("node", "well", entity_id=NODE)
        change.fact("node", "not.a.token", entity_id=NODE)
        change.fact("node", "after", entity_id=NODE)
    await world.relay.round()
    async with world.deps.store.transaction() as tx:
        assert await tx.find(FactRow, published_at=None) == []
    assert {fact.verb for fact in world.bus.sent(FACT)} >= {"well", "after"}


async def test_a_restart_has_a_new_epoch_and_buries_the_old(world: World) -> None:
    _, document = await deployed(world, name="web", template="web")
    accepted = await workloads.restart_workload(world.deps, WorkloadCommand(caller=CALLER, workload="web"))
    await world.place_all()
    newer = await world.document()
    assert newer.instances[0].key.epoch == document.instances[0].key.epoch + 1
    assert newer.tombstones[0].key == document.instances[0].key
    await world.report(running(newer), generation=newer.generation)
    assert await world.operation(accepted) is OperationState.SUCCEEDED


async def test_an_old_report_changes_nothing(world: World) -> None:
    accepted, document = await deployed(world, name="web", template="web")
    world.counter -= 1
    await world.report(running(document, phase=Phase.FAILED, reason="late"), generation=document.generation)
    view = await reading.get_workload(world.deps, GetByName(ref="web"))
    assert view.state is WorkloadState.RUNNING
    assert await world.operation(accepted) is OperationState.SUCCEEDED


async def test_facts_are_numbered_without_gaps(world: World) -> None:
    await deployed(world, name="web", template="web")
    await world.relay.round()
    page = await reading.list_facts(world.deps, ListFacts())
    assert [fact.seq for fact in page.facts] == list(range(1, page.head + 1))
    assert {"created", "placed", "ready", "succeeded"} <= {fact.verb for fact in page.facts}


async def test_a_crash_between_commit_and_publish_loses_no_document(world: World) -> None:
    await world.create(name="web", template="web")
    await world.place_all()
    await world.relay.documents.render_dirty()
    other = replace_relay(world)  # a new process: nothing in memory
    await other.round()
    received = await world.bus.last(DESIRED_DOCUMENT, node_id=NODE)
    assert received is not None and len(received.message.instances) == 1


def replace_relay(world: World) -> Relay:
    known = world.relay
    return Relay(world.deps, world.bus, replace(known.documents), known.routes, known.links)


CRASH = LastExit(
    at=datetime(2026, 1, 1, tzinfo=UTC),
    reason="out of memory: it used more than its limit of 64 MiB; raise resources.memory",
    exit_code=137,
    signal="SIGKILL",
    oom_killed=True,
)


async def test_how_it_ended_is_shown_while_it_runs_again_and_after_it_was_replaced(world: World) -> None:
    await world.create(name="web", template="web")
    await world.place_all()
    document = await world.document()
    ended = running(
        document, phase=Phase.FAILED, oom_killed=True, exit_code=137, last_exit=CRASH, last_log=("one", "two")
    )
    await world.report(ended, generation=document.generation)
    told = CRASH.model_copy(update={"log": ("one", "two"), "node": "one"})
    assert (await shown_instance(world)).last_exit == told
    again = running(document, restarts=1, last_exit=CRASH.model_copy(update={"log": ("one", "two")}))
    await world.report(again, generation=document.generation)
    assert (await shown_instance(world)).last_exit == told
    await world.relay.round()
    facts = await reading.list_facts(world.deps, ListFacts(after=0, limit=100))
    causes = {fact.verb: fact for fact in facts.facts if fact.entity == "instance"}
    assert causes["restarted"].cause == causes["oom_killed"].cause == CRASH.reason
    assert causes["restarted"].data["signal"] == "SIGKILL"
    command = WorkloadCommand(caller=CALLER, workload="web")
    await workloads.restart_workload(world.deps, command)
    replaced = (await reading.get_workload(world.deps, GetByName(ref="web"))).instances[-1]
    assert replaced.epoch == 2 and replaced.last_exit == told


async def shown_instance(world: World) -> InstanceView:
    return (await reading.get_workload(world.deps, GetByName(ref="web"))).instances[0]


async def test_operations_of_a_crash_loop_fail_with_the_reason(world: World) -> None:
    accepted = await world.create(name="web", template="web")
    await world.place_all()
    document = await world.document()
    failed = running(
        document,
        phase=Phase.FAILED,
        health=Health.UNKNOWN,
        restarts=3,
        exit_code=1,
        reason="exited with 1",
        last_log=("no config",),
    )
    await world.report(failed, generation=document.generation)
    async with world.deps.store.transaction() as tx:
        row = await tx.get(OperationRow, accepted.operation.id)
    assert row is not None and row.state == "failed" and row.problem is not None
    assert row.problem == {"code": "instance_failed", "detail": "exited with 1", "log": ["no config"]}


@pytest.mark.parametrize(
    ("exit_code", "phase", "operation", "workload"),
    [
        (0, Phase.STOPPED, OperationState.SUCCEEDED, WorkloadState.STOPPED),
        (1, Phase.FAILED, OperationState.FAILED, WorkloadState.FAILED),
    ],
    ids=["well", "badly"],
)
async def test_what_is_to_run_once_is_done_when_it_has_ended(
    world: World, exit_code: int, phase: Phase, operation: OperationState, workload: WorkloadState
) -> None:
    accepted = await world.create(name="once", image="app:1", restart={"policy": "never"})
    await world.place_all()
    document = await world.document()
    seen = running(document, phase=phase, health=Health.UNKNOWN, exit_code=exit_code, ended=True)
    await world.report(seen, generation=document.generation)
    assert await world.operation(accepted) is operation
    assert (await reading.get_workload(world.deps, GetByName(ref="once"))).state is workload


async def test_the_same_key_makes_a_project_and_a_secret_version_once(world: World) -> None:
    caller = CALLER.model_copy(update={"idempotency_key": "k1", "request_hash": "h1"})
    project = CreateProject(caller=caller, name="shop")
    first = await belongings.create_project(world.deps, project)
    assert await belongings.create_project(world.deps, project) == first
    other = CreateProject(caller=caller.model_copy(update={"request_hash": "h2"}), name="shop-two")
    with pytest.raises(Invalid, match="Idempotency-Key"):
        await belongings.create_project(world.deps, other)
    keyed = caller.model_copy(update={"idempotency_key": "k2"})
    secret = SetSecret(caller=keyed, project="shop", name="api-key", value="v")
    assert (await belongings.set_secret(world.deps, secret)).version == 1
    assert (await belongings.set_secret(world.deps, secret)).version == 1


@pytest.mark.parametrize(
    "listing", [reading.list_workloads, reading.list_operations, reading.list_volumes, reading.list_secrets]
)
async def test_a_project_that_is_not_there_is_not_an_empty_one(world: World, listing: Any) -> None:
    assert (await listing(world.deps, ListInProject(project="default"))).items == ()
    with pytest.raises(NotFound, match="no project 'shop'; `lattice project ls` shows all"):
        await listing(world.deps, ListInProject(project="shop"))


def test_no_template_needs_a_shell() -> None:
    """Health checks and commands are programs with arguments: what a value holds is never read by a shell."""
    for name, template in load_templates().items():
        words = str(template.model_dump(include={"command", "health"}))
        assert not any(f"'{shell}'" in words for shell in ("sh", "/bin/sh", "bash", "/bin/bash")), name
