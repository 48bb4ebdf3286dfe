"""The whole agent in one process, on a bus and an engine in memory: what it does with documents, exits, failures and faults."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.naming import CLUSTER
from lattice.contracts.catalogue import HEARTBEAT, RESYNC, STATUS
from lattice.contracts.messages import (
    DesiredDocument,
    FileMount,
    Resync,
    RunPort,
    RunVolume,
    SealedValue,
)
from lattice.contracts.nouns import DesiredState, Health, Phase
from lattice.contracts.spec import BackoffSpec, ExecCheck, HealthSpec, PortProtocol, PullPolicy, RestartMode
from lattice.runtime import (
    ContainerOptions,
    EarlierRunLeft,
    EngineAway,
    EngineHangs,
    ImageNotFound,
    NoSpace,
    PortTaken,
    RunState,
)
from lattice.sealing import seal
from lattice.testing import FakeRuntime
from tests.fixtures.agent import IMAGE, Node, eventually, instance_of, key_of, tombstone_of

FAST = BackoffSpec(initial=0.1, max=0.4)
HTTP = RunPort(name="http", container_port=8080, protocol=PortProtocol.HTTP)


@pytest.fixture
def runtime() -> FakeRuntime:
    return FakeRuntime(images=(IMAGE,))


@pytest.fixture
def node(runtime: FakeRuntime, tmp_path: Path) -> Node:
    return Node(runtime, tmp_path)


def name(epoch: int = 1) -> str:
    return key_of(epoch).container_name("c1")


async def containers(runtime: FakeRuntime) -> dict[str, RunState]:
    return {each.name: each.state for each in await runtime.containers("c1")}


def running(seen: object) -> bool:
    return seen.phase is Phase.RUNNING  # type: ignore[attr-defined]


async def test_the_folder_for_files_is_there_from_the_start(node: Node) -> None:
    """Else another platform of the machine, as it is removed, could take away the one above."""
    async with node.run():
        assert (node.folder / "files").is_dir()


async def test_a_document_becomes_a_running_healthy_container(node: Node, runtime: FakeRuntime) -> None:
    async with node.run():
        await node.want(instance_of(key_of(), ports=(HTTP,), env={"A": "b"}))
        seen = await node.until(key_of(), lambda c: running(c) and c.health is Health.HEALTHY)
    assert seen.instance_id == "in-wl-1-0-1" and seen.restarts == 0 and seen.started_at is not None
    assert [(p.name, p.container_port, p.host_ip) for p in seen.ports] == [("http", 8080, "127.0.0.1")]
    options = runtime.options_of(name())
    assert options.network == "lattice-c1-default" and options.aliases == ("web",)
    assert options.env == {"A": "b"} and options.labels[CLUSTER] == "c1"
    assert await containers(runtime) == {name(): RunState.RUNNING}


@pytest.mark.parametrize(
    ("code", "health", "reason"),
    [(0, Health.HEALTHY, ""), (3, Health.UNHEALTHY, "health check: pg_isready exited with 3: no response")],
)
async def test_a_checks_exit_code_is_waited_for(
    node: Node, runtime: FakeRuntime, code: int, health: Health, reason: str
) -> None:
    """The Engine closes the output before it knows the code: what is not known yet is no failure."""
    runtime.exec_reply = lambda options, stdin: (b"no response", b"", code)
    check = HealthSpec(exec=ExecCheck(command=("pg_isready",)), interval=1, start_period=0, retries=1)
    async with node.run():
        await node.want(instance_of(key_of(), health=check))
        seen = await node.until(key_of(), lambda c: running(c) and c.health is not Health.UNKNOWN)
    assert (seen.health, seen.reason) == (health, reason)


async def test_a_restarted_agent_touches_nothing(node: Node, runtime: FakeRuntime) -> None:
    async with node.run() as first:
        await node.want(instance_of(key_of()))
        before = await node.until(key_of(), running)
        boot_id, session = first.journal.boot_id, first.journal.session
    runtime.calls.clear()
    async with node.run() as second:
        await eventually(lambda: node.report and node.report.boot_id == second.journal.boot_id)
        after = await node.until(key_of(), running)
    assert (after.container_id, after.started_at) == (before.container_id, before.started_at)
    assert not {"create", "start", "stop", "remove", "pull"} & {call for call, _ in runtime.calls}
    assert (
        node.report is not None and node.report.session == session + 1 and second.journal.boot_id != boot_id
    )


async def test_an_agent_without_network_acts_from_its_journal(node: Node, runtime: FakeRuntime) -> None:
    async with node.run():
        await node.want(instance_of(key_of()))
        await node.until(key_of(), running)
    runtime.restart_engine()
    node.bus.disconnect()
    async with node.run() as agent:
        await eventually(lambda: any(c.is_up for c in agent.world.containers))
    assert await containers(runtime) == {name(): RunState.RUNNING}


async def test_five_hundred_missed_documents_are_one_apply(node: Node, runtime: FakeRuntime) -> None:
    async with node.run() as agent:
        await eventually(lambda: node.report)
        node.bus.disconnect()
        away = Node(runtime, node.folder, bus=type(node.bus)(node.bus.broker))
        for number in range(500):
            await away.want(instance_of(key_of(), env={"NUMBER": str(number)}))
        await node.bus.reconnect()
        node.generation = 500
        await node.until(key_of(), running)
        assert agent.journal.document is not None and agent.journal.document.generation == 500
    assert [call for call, _ in runtime.calls].count("create") == 1
    assert runtime.options_of(name()).env == {"NUMBER": "499"}


async def test_an_older_document_and_a_foreign_one_change_nothing(node: Node, runtime: FakeRuntime) -> None:
    async with node.run() as agent:
        await node.want(instance_of(key_of(2)))
        await node.until(key_of(2), running)
        newest = agent.journal.document
        assert newest is not None
        older = newest.model_copy(update={"generation": 0, "instances": (), "era": 1})
        foreign = newest.model_copy(update={"generation": 9, "instances": (), "cluster_id": "other"})
        assert not await agent.executor.offer(older)
        assert not await agent.executor.offer(foreign)
        assert agent.journal.document == newest
    assert await containers(runtime) == {name(2): RunState.RUNNING}


async def test_an_older_epoch_is_refused_and_told(node: Node, runtime: FakeRuntime) -> None:
    async with node.run():
        await node.want(instance_of(key_of(5)))
        await node.until(key_of(5), running)
        await node.want(instance_of(key_of(3)))
        seen = await node.until(key_of(3), lambda c: c.phase is Phase.FAILED)
        assert "refused" in seen.reason and "older than 5" in seen.reason
        await eventually(lambda: node.told("refused"))
        report = node.report
        assert report is not None and [q.name for q in report.quarantined] == [name(5)]
    assert await containers(runtime) == {name(5): RunState.RUNNING}


async def test_a_newer_epoch_replaces_the_older_and_a_tombstone_removes(
    node: Node, runtime: FakeRuntime
) -> None:
    async with node.run():
        await node.want(instance_of(key_of(1), ports=(HTTP,)))
        port = (await node.until(key_of(1), running)).ports[0].host_port
        await node.want(instance_of(key_of(2), ports=(HTTP,)))
        seen = await node.until(key_of(2), running)
        assert seen.ports[0].host_port == port
        assert await containers(runtime) == {name(2): RunState.RUNNING}
        await node.want(tombstones=(tombstone_of(key_of(2)),))
        await node.until_gone(key_of(2))
    assert await containers(runtime) == {}
    order = [(call, about) for call, about in runtime.calls if call in ("create", "start", "stop", "remove")]
    assert order.index(("remove", name(1))) < order.index(("create", name(2)))
    assert ("remove_network", "lattice-c1-default") in runtime.calls


async def test_what_no_document_knows_is_shown_and_left_alone(node: Node, runtime: FakeRuntime) -> None:
    async with node.run():
        await node.want(instance_of(key_of(1)))
        await node.until(key_of(1), running)
        await node.want()
        await eventually(lambda: node.report and node.report.quarantined and node.report.generation == 2)
        runtime.calls.clear()
        runtime.end(name(1))
        await eventually(lambda: node.report and not node.report.quarantined[0].running)
    assert not {"start", "remove", "stop"} & {call for call, _ in runtime.calls}


async def test_stopped_keeps_the_container_and_running_starts_the_same(
    node: Node, runtime: FakeRuntime
) -> None:
    async with node.run():
        await node.want(instance_of(key_of(), restart=RestartMode.NEVER))
        first = await node.until(key_of(), running)
        await node.want(instance_of(key_of(), desired=DesiredState.STOPPED, restart=RestartMode.NEVER))
        stopped = await node.until(key_of(), lambda c: c.phase is Phase.STOPPED)
        assert stopped.container_id == first.container_id
        await node.want(instance_of(key_of(), restart=RestartMode.NEVER))
        again = await node.until(key_of(), running)
    assert again.container_id == first.container_id and again.restarts == 0


async def test_a_crash_is_restarted_counted_and_told(node: Node, runtime: FakeRuntime) -> None:
    async with node.run():
        await node.want(instance_of(key_of(), backoff=FAST))
        first = await node.until(key_of(), running)
        runtime.write(name(), "last words")
        runtime.end(name(), exit_code=3)
        again = await node.until(key_of(), lambda c: running(c) and c.restarts == 1)
        assert again.container_id == first.container_id
        runtime.end(name(), exit_code=137, oom_killed=True)
        await node.until(key_of(), lambda c: running(c) and c.restarts == 2)
        await eventually(lambda: node.told("oom"))
    assert node.told("exit")[0].data == {"exit_code": 3}
    assert "limit of 64 MiB" in node.told("oom")[0].detail
    async with node.run():
        seen = await node.until(key_of(), running)
        assert seen.restarts == 2, "restarts are remembered"


async def test_how_it_ended_is_told_while_it_runs_again_and_after_it_vanished(
    node: Node, runtime: FakeRuntime
) -> None:
    async with node.run() as agent:
        await node.want(instance_of(key_of(), backoff=FAST))
        await node.until(key_of(), running)
        runtime.write(name(), "last words")
        runtime.end(name(), exit_code=139)
        seen = await node.until(key_of(), lambda c: running(c) and c.restarts == 1)
        assert seen.last_exit is not None and seen.last_exit.log == ("last words",)
        assert seen.last_exit.reason == "exited with 139 (SIGSEGV)" and seen.exit_code is None
        runtime.write(name(), "unsaid")
        await eventually(lambda: "unsaid" in agent.logs.tails([seen.container_id])[seen.container_id])
        runtime.vanish(name())
        seen = await node.until(key_of(), lambda c: running(c) and c.restarts == 2)
        assert seen.last_exit is not None and seen.last_exit.log[-1] == "unsaid"
        assert "removed by somebody else" in seen.last_exit.reason and node.told("vanished")
    async with node.run():
        again = await node.until(key_of(), running)
        assert again.last_exit == seen.last_exit, "it is remembered"


LIVENESS = HealthSpec(exec=ExecCheck(command=("alive",)), interval=0.2, start_period=0, retries=2)


async def test_what_becomes_due_while_other_things_are_done_is_not_slept_through(
    node: Node, runtime: FakeRuntime
) -> None:
    """Found on a busy machine: a restart that was due between the decision and the sleep came half a minute late."""
    quick = BackoffSpec(initial=0.2, max=0.2)
    async with node.run() as agent:
        remove = agent.executor._steps.remove_volumes

        async def slowly(*given: Any) -> None:
            await remove(*given)
            await asyncio.sleep(0.3)

        agent.executor._steps.remove_volumes = slowly
        await node.want(instance_of(key_of(), backoff=quick))
        await node.until(key_of(), running)
        for number in (1, 2, 3):
            runtime.end(name(), exit_code=1)
            await node.until(key_of(), lambda c, n=number: running(c) and c.restarts == n)  # type: ignore[misc]


async def test_what_is_not_alive_any_more_is_restarted_and_told(node: Node, runtime: FakeRuntime) -> None:
    async with node.run():
        await node.want(instance_of(key_of(), liveness=LIVENESS, backoff=FAST))
        first = await node.until(key_of(), lambda c: running(c) and c.health is Health.HEALTHY)
        runtime.exec_reply = lambda options, stdin: (b"deadlock", b"", 1)
        await node.until(key_of(), lambda c: running(c) and c.restarts >= 1)
        runtime.exec_reply = lambda options, stdin: (b"", b"", 0)
        again = await node.until(key_of(), lambda c: running(c) and c.health is Health.HEALTHY)
        assert again.container_id == first.container_id and again.started_at != first.started_at
        told = await eventually(lambda: node.told("liveness_failed"))
    assert told[0].detail == "liveness check failed: alive exited with 1: deadlock"
    reasons = {each.reason for report in node.bus.sent(STATUS) for each in report.containers}
    assert any(reason.startswith(f"{told[0].detail}; restarting after a pause") for reason in reasons)


async def test_what_is_not_ready_is_never_restarted(node: Node, runtime: FakeRuntime) -> None:
    runtime.exec_reply = lambda options, stdin: (b"", b"", int(options.argv == ("ready",)))
    ready = HealthSpec(exec=ExecCheck(command=("ready",)), interval=0.2, start_period=0, retries=1)
    async with node.run() as agent:
        await node.want(instance_of(key_of(), health=ready, liveness=LIVENESS))
        seen = await node.until(key_of(), lambda c: running(c) and c.health is Health.UNHEALTHY)
        assert seen.reason == "health check: ready exited with 1"
        asked = runtime.calls.count(("exec", name()))
        await eventually(lambda: runtime.calls.count(("exec", name())) >= asked + 6)
        assert await agent.executor.settled()
    assert ("stop", name()) not in runtime.calls


async def test_an_engine_that_does_not_answer_is_no_reason_to_restart(
    node: Node, runtime: FakeRuntime
) -> None:
    async with node.run() as agent:
        await node.want(instance_of(key_of(), liveness=LIVENESS))
        await node.until(key_of(), lambda c: running(c) and c.health is Health.HEALTHY)
        runtime.exec_reply = lambda options, stdin: (b"", b"", 1)
        runtime.fail_next("exec", EngineHangs("no answer"))
        runtime.hung = True
        asked = runtime.calls.count(("exec", name()))
        await eventually(lambda: runtime.calls.count(("exec", name())) >= asked + 6)
        runtime.exec_reply = lambda options, stdin: (b"", b"", 0)
        runtime.hung = False
        await eventually(lambda: not agent.engine.problem)
        await eventually(lambda: runtime.calls.count(("exec", name())) >= asked + 9)
    assert ("stop", name()) not in runtime.calls and not node.told("liveness_failed")


async def test_a_crash_loop_is_named_with_its_last_lines(node: Node, runtime: FakeRuntime) -> None:
    async with node.run():
        await node.want(instance_of(key_of(), backoff=BackoffSpec(initial=0.1, max=0.1)))
        for number in range(1, 6):
            await node.until(key_of(), running)
            runtime.write(name(), f"failure {number}")
            await asyncio.sleep(0.02)
            runtime.end(name(), exit_code=1)
            if number < 5:
                await node.until(key_of(), lambda c, n=number: running(c) and c.restarts == n)  # type: ignore[misc]
        seen = await eventually(
            lambda: next(
                (
                    each
                    for report in node.bus.sent(STATUS)
                    for each in report.containers
                    if "crash-looping" in each.reason
                ),
                None,
            )
        )
        again = await node.until(key_of(), lambda c: running(c) and c.restarts == 5)
    assert seen.phase is Phase.FAILED and seen.exit_code == 1
    assert again.reason == "crash-looping: exited with 1; it was started again"


async def test_restart_never_ends_as_it_ended(node: Node, runtime: FakeRuntime) -> None:
    async with node.run():
        await node.want(instance_of(key_of(), restart=RestartMode.NEVER))
        await node.until(key_of(), running)
        runtime.end(name(), exit_code=4)
        seen = await node.until(key_of(), lambda c: c.phase is Phase.FAILED)
    assert seen.exit_code == 4 and seen.reason == "exited with 4" and seen.ended
    assert seen.failing_since is None, "what is not started again is not tried elsewhere either"


async def test_on_failure_ends_when_it_ends_well(node: Node, runtime: FakeRuntime) -> None:
    async with node.run():
        await node.want(instance_of(key_of(), restart=RestartMode.ON_FAILURE))
        assert not (await node.until(key_of(), running)).ended
        runtime.end(name(), exit_code=0)
        seen = await node.until(key_of(), lambda c: c.phase is Phase.STOPPED)
    assert seen.exit_code == 0 and seen.ended and seen.failing_since is None


async def test_a_container_removed_by_somebody_comes_back(node: Node, runtime: FakeRuntime) -> None:
    async with node.run():
        await node.want(instance_of(key_of()))
        first = await node.until(key_of(), running)
        runtime.vanish(name())
        again = await node.until(key_of(), lambda c: running(c) and c.restarts == 1)
    assert again.container_id != first.container_id


async def test_a_container_is_in_all_its_networks_or_made_again(node: Node, runtime: FakeRuntime) -> None:
    """A crash may come after a container was made and before it joined the second one."""
    create, first = runtime.create, list[str]()

    async def joins_nothing_at_first(options: ContainerOptions) -> object:
        made = await create(options if first else replace(options, joins=()))
        first.append(made.id)
        return made

    runtime.create = joins_nothing_at_first  # type: ignore[method-assign, assignment]
    async with node.run():
        await node.want(instance_of(key_of(), network="ap-1", joins=("default",)))
        seen = await node.until(key_of(), running)
        made = await runtime.container(name())
        assert made is not None and seen.container_id == made.id != first[0]
        assert made.networks == ("lattice-c1-ap-1", "lattice-c1-default")
        await node.want(tombstones=(tombstone_of(key_of()),))
        await node.until_gone(key_of())
        await eventually(lambda: not runtime._networks)


async def test_an_image_is_pulled_with_progress(node: Node, runtime: FakeRuntime) -> None:
    runtime.registry["acme/api:1"] = None
    gate = runtime.hold("pull")
    async with node.run():
        await node.want(instance_of(key_of(), image="acme/api:1"))
        seen = await node.until(key_of(), lambda c: c.phase is Phase.PULLING and bool(c.progress))
        assert seen.progress == "pulling acme/api:1: 0 %"
        gate.set()
        await node.until(key_of(), running)


async def test_a_container_that_is_being_made_is_not_reported_gone(node: Node, runtime: FakeRuntime) -> None:
    """Else the order that it must be gone is dropped before it is there, and nobody ever removes it."""
    gate = runtime.hold("create")
    async with node.run():
        await node.want(instance_of(key_of()))
        await eventually(lambda: ("create", name()) in runtime.calls)
        await node.want(tombstones=(tombstone_of(key_of()),))
        seen = await node.until(key_of(), lambda c: node.report is not None and node.report.generation == 2)
        assert seen.phase is Phase.STOPPING and seen.instance_id == "in-wl-1-0-1"
        gate.set()
        await node.until_gone(key_of())
    assert await containers(runtime) == {}


async def test_a_missing_image_fails_in_plain_words_and_heals(node: Node, runtime: FakeRuntime) -> None:
    async with node.run():
        await node.want(instance_of(key_of(1)))
        await node.until(key_of(1), running)
        await node.want(instance_of(key_of(2), image="acme/api:1", backoff=FAST))
        seen = await node.until(key_of(2), lambda c: c.phase is Phase.FAILED)
        assert "acme/api:1 does not exist" in seen.reason
        assert (await containers(runtime))[name(1)] is RunState.RUNNING, "the old one keeps serving"
        runtime.registry["acme/api:1"] = None
        await node.until(key_of(2), running)
    assert await containers(runtime) == {name(2): RunState.RUNNING}


async def test_pull_policies(node: Node, runtime: FakeRuntime) -> None:
    async with node.run():
        await node.want(instance_of(key_of(1), image="acme/api:1", pull=PullPolicy.NEVER))
        seen = await node.until(key_of(1), lambda c: c.phase is Phase.FAILED)
        assert "forbids" in seen.reason
        await node.want(instance_of(key_of(2), image="x:1", image_id="sha256:" + "9" * 64))
        seen = await node.until(key_of(2), lambda c: c.phase is Phase.FAILED)
        assert "exists only on nodes" in seen.reason
        assert "pull" not in [call for call, _ in runtime.calls]
        runtime.registry[IMAGE] = None
        await node.want(instance_of(key_of(3), pull=PullPolicy.ALWAYS))
        await node.until(key_of(3), running)
        assert ("pull", IMAGE) in runtime.calls


async def test_a_pull_that_nobody_wants_any_more_is_ended(node: Node, runtime: FakeRuntime) -> None:
    runtime.hold("pull")
    async with node.run():
        await node.want(instance_of(key_of(1), image="acme/huge:1"))
        await node.until(key_of(1), lambda c: c.phase is Phase.PULLING)
        await node.want(instance_of(key_of(2)), tombstones=(tombstone_of(key_of(1)),))
        await node.until(key_of(2), running)


async def test_a_taken_port_is_exchanged(node: Node, runtime: FakeRuntime) -> None:
    async with node.run():
        runtime.fail_next("start", PortTaken("port 20000 is in use on the node"))
        await node.want(instance_of(key_of(), ports=(HTTP,)))
        seen = await node.until(key_of(), running)
        assert seen.restarts == 0
        await eventually(lambda: node.told("port_conflict"))
    assert [call for call, _ in runtime.calls].count("create") == 2


async def test_a_container_whose_earlier_run_the_engine_holds_is_made_again(
    node: Node, runtime: FakeRuntime
) -> None:
    """Seen after an Engine's end in the middle of a container's: every further start of that container failed."""
    async with node.run():
        await node.want(instance_of(key_of()))
        first = await node.until(key_of(), running)
        for _ in range(2):
            runtime.fail_next("start", EarlierRunLeft("the Engine still holds an earlier run"))
        runtime.end(name(), exit_code=143)
        again = await node.until(key_of(), lambda c: running(c) and c.restarts == 1)
    assert again.container_id != first.container_id


async def test_secrets_reach_files_and_only_the_variables_that_ask(node: Node, runtime: FakeRuntime) -> None:
    def sealed(secret_id: str, text: str) -> SealedValue:
        box = base64.b64encode(seal(text.encode(), node.sealing_key.public)).decode()
        return SealedValue(secret_id=secret_id, version=1, sealed=box)

    files = (
        FileMount(path="/run/secrets/password", secret="se-1", mode=0o400),
        FileMount(path="/etc/app.conf", content="plain"),
    )
    async with node.run():
        wanted = instance_of(key_of(), files=files, secret_env={"TOKEN": "se-2"}, env={"A": "b"})
        await node.want(wanted, secrets=(sealed("se-1", "p4ss"), sealed("se-2", "t0ken")))
        await node.until(key_of(), running)
        options = runtime.options_of(name())
        assert options.env == {"A": "b", "TOKEN": "t0ken"}
        secret, plain = (Path(bind.source) for bind in options.files)
        assert secret.read_text() == "p4ss" and plain.read_text() == "plain"
        assert (secret.stat().st_mode & 0o777, plain.stat().st_mode & 0o777) == (0o400, 0o444)
        assert secret.parent.stat().st_mode & 0o777 == 0o700
        await node.want(tombstones=(tombstone_of(key_of()),))
        await node.until_gone(key_of())
        await eventually(lambda: not secret.exists())
    assert "p4ss" not in repr(options) and "t0ken" not in repr(options)


async def test_a_secret_sealed_for_another_node_fails_without_its_value(
    node: Node, runtime: FakeRuntime
) -> None:
    other = Node(runtime, node.folder).sealing_key
    box = base64.b64encode(seal(b"hidden", other.public)).decode()
    async with node.run():
        secret = SealedValue(secret_id="se-1", version=1, sealed=box)
        await node.want(instance_of(key_of(), secret_env={"X": "se-1"}), secrets=(secret,))
        seen = await node.until(key_of(), lambda c: c.phase is Phase.FAILED)
    assert "not sealed for this node" in seen.reason


async def test_a_volume_outlives_its_container_and_is_removed_by_order(
    node: Node, runtime: FakeRuntime
) -> None:
    volume = RunVolume(volume_id="vo-1", name="data", path="/data", size_bytes=2**30)
    async with node.run():
        await node.want(instance_of(key_of(), volumes=(volume,)))
        await node.until(key_of(), running)
        await eventually(lambda: node.report and node.report.volumes == ("vo-1",))
        await node.want(tombstones=(tombstone_of(key_of()),))
        await node.until_gone(key_of())
        assert node.report is not None and node.report.volumes == ("vo-1",)
        await node.want(remove_volumes=("vo-1",))
        await eventually(lambda: node.report and node.report.volumes == ())
    assert await runtime.volumes("c1") == {}


async def test_a_volume_that_vanished_is_never_started_empty(node: Node, runtime: FakeRuntime) -> None:
    volume = RunVolume(volume_id="vo-1", name="data", path="/data", size_bytes=2**30)
    async with node.run():
        await node.want(instance_of(key_of(1), volumes=(volume,)))
        await node.until(key_of(1), running)
        runtime.vanish(name(1))
        await runtime.remove_volume("lattice-c1-vo-1")
        seen = await node.until(key_of(1), lambda c: c.phase is Phase.FAILED)
    assert "not started empty" in seen.reason


async def test_a_hung_engine_does_not_silence_the_agent(node: Node, runtime: FakeRuntime) -> None:
    async with node.run() as agent:
        await node.want(instance_of(key_of()))
        await node.until(key_of(), running)
        runtime.hung = True
        await eventually(lambda: node.bus.sent(HEARTBEAT)[-1].docker_problem)
        count = len(node.bus.sent(HEARTBEAT))
        await eventually(lambda: len(node.bus.sent(HEARTBEAT)) >= count + 3)
        assert "does not answer" in await agent.ready()
        await eventually(lambda: node.report and node.report.docker_problem)
        seen = node.seen(key_of())
        assert seen is not None and running(seen), "nothing is marked dead"
        runtime.hung = False
        await eventually(lambda: not node.bus.sent(HEARTBEAT)[-1].docker_problem)
        assert await agent.ready() == ""


async def test_before_the_engine_was_listed_a_report_is_not_complete(
    node: Node, runtime: FakeRuntime
) -> None:
    runtime.away = True
    async with node.run():
        await node.want(instance_of(key_of()))
        await eventually(lambda: node.report and node.report.docker_problem)
        assert node.report is not None and not node.report.complete
        runtime.away = False
        await node.until(key_of(), running)
        assert node.report.complete


async def test_after_an_engine_restart_everything_runs_again(node: Node, runtime: FakeRuntime) -> None:
    async with node.run():
        instances = [instance_of(key_of(slot=slot), backoff=FAST) for slot in range(3)]
        await node.want(*instances)
        for slot in range(3):
            await node.until(key_of(slot=slot), running)
        runtime.restart_engine()
        for slot in range(3):
            await node.until(key_of(slot=slot), lambda c: running(c) and c.restarts == 1)


async def test_a_failed_removal_is_tried_again(node: Node, runtime: FakeRuntime) -> None:
    async with node.run():
        await node.want(instance_of(key_of()))
        await node.until(key_of(), running)
        runtime.fail_next("remove", EngineAway("away for a moment"))
        await node.want(tombstones=(tombstone_of(key_of()),))
        await node.until_gone(key_of())


async def test_an_image_that_vanished_between_pull_and_create_is_pulled_again(
    node: Node, runtime: FakeRuntime
) -> None:
    async with node.run():
        runtime.fail_next("create", ImageNotFound("gone"))
        await node.want(instance_of(key_of(), backoff=FAST))
        await node.until(key_of(), running)


async def test_a_report_is_sent_when_asked_and_after_reconnect(node: Node) -> None:
    async with node.run():
        await eventually(lambda: node.report)
        count = len(node.bus.sent(STATUS))
        await node.bus.ask(RESYNC, Resync(), node_id="nd-1")
        await eventually(lambda: len(node.bus.sent(STATUS)) > count)
        node.bus.disconnect()
        count = len(node.bus.sent(STATUS))
        await node.bus.reconnect()
        await eventually(lambda: len(node.bus.sent(STATUS)) > count)
    counters = [report.counter for report in node.bus.sent(STATUS)]
    assert counters == sorted(set(counters))


async def test_a_lost_acknowledgement_of_a_report_is_made_good(node: Node) -> None:
    async with node.run():
        await eventually(lambda: node.report)
        await node.want(instance_of(key_of()))
        node.bus.lose_acks = 1  # of the first report, or event, about it
        await node.until(key_of(), running)


async def test_a_slot_never_has_two_containers_while_documents_race(node: Node, runtime: FakeRuntime) -> None:
    most = 0
    plain_create = runtime.create

    async def watched_create(options: ContainerOptions) -> object:
        nonlocal most
        made = await plain_create(options)
        most = max(most, len(await runtime.containers("c1")))
        return made

    runtime.create = watched_create  # type: ignore[assignment,method-assign]
    async with node.run():
        for epoch in range(1, 20):
            await node.want(instance_of(key_of(epoch)))
            await asyncio.sleep(0.003 * (epoch % 4))
        await node.until(key_of(19), running)
        await eventually(lambda: node.report and len(node.report.containers) == 1)
    assert most == 1
    assert await containers(runtime) == {name(19): RunState.RUNNING}


async def test_a_document_is_on_the_disk_before_anything_is_done(node: Node, runtime: FakeRuntime) -> None:
    kept: list[int] = []
    plain = runtime.ensure_network

    async def watched(network: str, labels: object) -> None:
        document = DesiredDocument.model_validate_json((node.folder / "data/document.json").read_bytes())
        kept.append(document.generation)
        await plain(network, labels)  # type: ignore[arg-type]

    runtime.ensure_network = watched  # type: ignore[assignment,method-assign]
    async with node.run():
        await node.want(instance_of(key_of()))
        await node.until(key_of(), running)
    assert kept == [1]


async def test_everything_is_told_again_in_time_however_often_nothing_new_happens(node: Node) -> None:
    """A registry that lost its trust in a node waits for a whole report, and wake-ups without news must not put it off for ever."""
    node.config = {"report_s": 0.3}
    async with node.run() as agent:
        await eventually(lambda: node.report)
        before = len(node.bus.sent(STATUS))
        for _ in range(20):
            agent.reporter.changed()
            await asyncio.sleep(0.1)
        assert len(node.bus.sent(STATUS)) >= before + 4


async def test_a_node_is_heard_as_soon_as_it_is_linked(node: Node) -> None:
    """Else a node that came back would report, be believed, and be thought lost a moment later for want of a heartbeat."""
    node.config = {"heartbeat_s": 60.0}
    node.bus.disconnect()
    async with node.run():
        await asyncio.sleep(0.1)
        await node.bus.reconnect()
        await eventually(lambda: node.bus.sent(HEARTBEAT), timeout_s=5)


async def test_what_is_gone_and_cannot_be_made_again_is_not_shown_as_running(
    node: Node, runtime: FakeRuntime
) -> None:
    async with node.run():
        await node.want(instance_of(key_of(), backoff=FAST))
        await node.until(key_of(), running)
        for _ in range(50):
            runtime.fail_next("create", NoSpace("no space left on device"))
        runtime.vanish(name())
        seen = await node.until(key_of(), lambda c: c.phase is Phase.FAILED)
        assert "is gone" in seen.reason and "no space left" in seen.reason


async def test_a_report_is_complete_only_with_the_images(node: Node, runtime: FakeRuntime) -> None:
    """With it the node is ready for work, and a workload whose image is here only would be refused."""
    gate = runtime.hold("images")
    async with node.run() as agent:
        await agent.reporter.report_now()
        seen = await eventually(lambda: node.report)
        assert not seen.complete
        gate.set()
        seen = await eventually(lambda: node.report if node.report and node.report.complete else None)
        assert seen.inventory.images
