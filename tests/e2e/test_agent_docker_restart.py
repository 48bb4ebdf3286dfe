"""An Engine of the test's own, in network and mount namespaces of its own, is killed, ended, frozen and cut off under the running agent."""

from __future__ import annotations

import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from signal import Signals

import pytest

from agent.docker_runtime import Deadlines, open_docker
from lattice.contracts.catalogue import HEARTBEAT
from lattice.contracts.nouns import ObservedContainer, Phase
from lattice.contracts.spec import BackoffSpec
from lattice.runtime import RunState
from tests.fixtures.agent import Node, eventually, instance_of, key_of
from tests.fixtures.engine import Engine, running_engine

SOON = BackoffSpec(initial=0.1, max=0.4)


@pytest.fixture
def engine(tmp_path_factory: pytest.TempPathFactory, image_test: str) -> Iterator[Engine]:
    with running_engine(tmp_path_factory.mktemp("engine"), image_test) as engine:
        yield engine


@pytest.fixture
async def node(engine: Engine, tmp_path: Path) -> AsyncIterator[Node]:
    runtime = open_docker(engine.url, files_root=tmp_path / "files", deadlines=Deadlines(look_s=2.0))
    yield Node(runtime, tmp_path, config={"ping_s": 0.5})
    await runtime.close()


def running(seen: ObservedContainer) -> bool:
    return seen.phase is Phase.RUNNING


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
async def test_after_a_docker_restart_everything_runs_again(
    node: Node, engine: Engine, image_test: str, signum: Signals
) -> None:
    async with node.run() as agent:
        await node.want(
            instance_of(key_of(slot=0), image=image_test, backoff=SOON),
            instance_of(key_of(slot=1), image=image_test, backoff=SOON),
        )
        for slot in range(2):
            await node.until(key_of(slot=slot), running)
        engine.end(signum)
        await eventually(lambda: node.bus.sent(HEARTBEAT)[-1].docker_problem)
        assert node.report is not None
        engine.start()
        await eventually(lambda: agent.world.complete and not agent.engine.problem)
        for slot in range(2):
            await node.until(key_of(slot=slot), lambda c: running(c) and c.restarts >= 1)
        states = [each.state for each in await node.runtime.containers(node.cluster)]
        assert states == [RunState.RUNNING, RunState.RUNNING]
        await node.want()
        await eventually(lambda: node.report and node.report.generation == 2), "events are heard again"
        name = key_of(slot=0).container_name(node.cluster)
        engine.docker("kill", name)
        await eventually(lambda: not (agent.world.get(name) or agent).is_up)


async def test_a_frozen_docker_is_named_and_nothing_is_marked_dead(
    node: Node, engine: Engine, image_test: str
) -> None:
    async with node.run():
        await node.want(instance_of(key_of(), image=image_test))
        before = await node.until(key_of(), running)
        engine.send(signal.SIGSTOP)
        await eventually(lambda: "does not answer" in node.bus.sent(HEARTBEAT)[-1].docker_problem)
        count = len(node.bus.sent(HEARTBEAT))
        await eventually(lambda: len(node.bus.sent(HEARTBEAT)) > count + 5)
        seen = node.seen(key_of())
        assert seen is not None and running(seen)
        await node.want(
            instance_of(key_of(), image=image_test), instance_of(key_of(slot=1), image=image_test)
        )
        engine.send(signal.SIGCONT)
        await eventually(lambda: not node.bus.sent(HEARTBEAT)[-1].docker_problem)
        await node.until(key_of(slot=1), running)
        after = await node.until(key_of(), running)
    assert (after.container_id, after.started_at, after.restarts) == (
        before.container_id, before.started_at, 0,
    )  # fmt: skip


async def test_a_reboot_without_network_brings_everything_back(
    node: Node, engine: Engine, image_test: str
) -> None:
    async with node.run():
        await node.want(instance_of(key_of(), image=image_test, backoff=SOON))
        before = await node.until(key_of(), running)
    engine.docker("kill", before.container_id)
    engine.end(signal.SIGTERM)
    shutil.rmtree(node.folder / "files", ignore_errors=True)  # what a reboot does to a folder in memory
    node.bus.disconnect()
    engine.start()
    async with node.run() as agent:
        await eventually(lambda: any(each.is_up for each in agent.world.containers))
        assert [each.id for each in agent.world.containers] == [before.container_id]
