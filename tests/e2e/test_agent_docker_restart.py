"""An Engine of the test's own, in network and mount namespaces of its own, is killed, ended, frozen and cut off under the running agent."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from signal import Signals

import psutil
import pytest

from agent.docker_runtime import Deadlines, open_docker
from lattice.contracts.catalogue import HEARTBEAT
from lattice.contracts.nouns import ObservedContainer, Phase
from lattice.contracts.spec import BackoffSpec
from lattice.runtime import RunState
from tests.fixtures.agent import Node, eventually, instance_of, key_of

START_S = 30.0
SOON = BackoffSpec(initial=0.1, max=0.4)


class Engine:
    """A dockerd that tests may do anything to.  Two Engines in one network namespace erase each other's rules, hence one of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "docker.sock"
        self.process: subprocess.Popen[bytes] | None = None
        self.holder: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Start dockerd, for the first time or after its end; the namespaces and, after a kill, its containers are still there."""
        # containerd dies with dockerd, but where nobody reaps it its pid seems alive, and dockerd would wait for it.
        for stale in ("dockerd.pid", "exec/containerd/containerd.pid"):
            (self.folder / stale).unlink(missing_ok=True)
        argv = [
            "nsenter", "--target", str(self._namespaces().pid), "--net", "--mount", "--", "dockerd",
            "--host", self.url, "--data-root", str(self.folder / "data"), "--exec-root", str(self.folder / "exec"),
            "--pidfile", str(self.folder / "dockerd.pid"),
        ]  # fmt: skip
        with (self.folder / "dockerd.log").open("ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
        self._wait_ready()

    def send(self, signum: Signals) -> None:
        assert self.process is not None
        self.process.send_signal(signum)

    def end(self, signum: Signals) -> None:
        """End dockerd; after SIGKILL its containers live on until it is started again."""
        assert self.process is not None
        self.send(signal.SIGCONT)
        self.send(signum)
        self.process.wait(30)

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process is not None and self.process.poll() is None:
            self.send(signal.SIGCONT)
            running = self.docker("ps", "--quiet").split()
            if running:
                self.docker("kill", *running)
            self.end(signal.SIGTERM)
        for left in psutil.process_iter(["cmdline"]):
            if any(str(self.folder) in word for word in left.info["cmdline"] or ()):
                for each in [*left.children(recursive=True), left]:
                    each.kill()
        if self.holder is not None:
            self.holder.kill()
            self.holder.wait(10)

    def _namespaces(self) -> subprocess.Popen[bytes]:
        if self.holder is None:
            self.holder = subprocess.Popen(["unshare", "--net", "--mount", "--", "sleep", "infinity"])
            own = os.stat(f"/proc/{os.getpid()}/ns/net").st_ino
            while os.stat(f"/proc/{self.holder.pid}/ns/net").st_ino == own:
                time.sleep(0.005)
        return self.holder

    def docker(self, *argv: str, **options: object) -> str:
        command = ["docker", "--host", self.url, *argv]
        return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout  # type: ignore[call-overload,no-any-return]

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            probe = subprocess.run(
                ["docker", "--host", self.url, "version"], check=False, capture_output=True
            )  # fmt: skip
            if probe.returncode == 0:
                return
            time.sleep(0.05)
        raise AssertionError((self.folder / "dockerd.log").read_text()[-2000:])


@pytest.fixture
def engine(tmp_path_factory: pytest.TempPathFactory, image_test: str) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("engine")
    engine = Engine(folder)
    engine.start()
    image = folder / "image.tar"
    subprocess.run(["docker", "save", "--output", str(image), image_test], check=True, capture_output=True)
    engine.docker("load", "--input", str(image))
    yield engine
    engine.close()


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
