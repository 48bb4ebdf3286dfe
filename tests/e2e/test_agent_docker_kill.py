"""The agent is killed with SIGKILL at each step of a deploy on the real Engine: afterwards there is exactly one container, of the right epoch."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiodocker
import pytest

from lattice.contracts.messages import DesiredDocument, DesiredInstance, ObservedDocument, RunVolume
from lattice.contracts.nouns import Health, Phase
from lattice.files import write_durably
from tests.fixtures.agent import instance_of, key_of
from tests.fixtures.commands import REPOSITORY, Started, start_module
from tests.fixtures.registry import ImageRegistry

AGENT_PROCESS = "tests.fixtures.agent_process"
WAIT_S = 40.0
VOLUME = RunVolume(volume_id="vo-1", name="data", path="/data", size_bytes=2**20)

FIRST_DEPLOY = [
    "before:journal", "after:journal", "before:ensure_network", "after:ensure_network", "after:ensure_volume",
    "before:create", "after:create", "before:start", "after:start", "after:healthy", "after:report",
]  # fmt: skip
REPLACEMENT = ["after:journal", "before:stop", "after:stop", "before:remove", "after:remove", "after:create"]


class AgentProcess:
    """Agents in processes of their own, one after the other, on one folder; `source` is where their code lies."""

    def __init__(self, folder: Path, cluster: str) -> None:
        self.folder, self.cluster, self.source = folder, cluster, REPOSITORY
        self.process: subprocess.Popen[bytes] | Started | None = None
        self.generation = 0

    def want(self, *instances: DesiredInstance) -> None:
        self.generation += 1
        document = DesiredDocument(
            cluster_id=self.cluster, node_id="nd-1", era=1, generation=self.generation, instances=instances
        )
        write_durably(self.folder / "document.json", document.model_dump_json().encode())

    def start(self, step: str = "") -> None:
        (self.folder / "report.json").unlink(missing_ok=True)
        self.process = start_module(
            AGENT_PROCESS, str(self.folder), self.cluster, step, log=self.folder / "agent.log"
        )

    def start_fresh(self) -> None:
        """With no memory but its own, and of its own source."""
        with (self.folder / "agent.log").open("ab") as log:
            argv = [sys.executable, "-m", AGENT_PROCESS, str(self.folder), self.cluster]
            self.process = subprocess.Popen(argv, cwd=self.source, stdout=log, stderr=log)

    def until_dead(self) -> None:
        assert self.process is not None
        assert self.process.wait(WAIT_S) == -9, (self.folder / "agent.log").read_text()[-3000:]

    def stop(self) -> None:
        """As an upgrade does."""
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(WAIT_S) == 0, (self.folder / "agent.log").read_text()[-3000:]

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)

    def until(self, wanted: Callable[[ObservedDocument], bool]) -> ObservedDocument:
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            path = self.folder / "report.json"
            report = ObservedDocument.model_validate_json(path.read_bytes()) if path.exists() else None
            if report is not None and wanted(report):
                return report
            time.sleep(0.02)
        raise AssertionError((self.folder / "agent.log").read_text()[-3000:])


@pytest.fixture
def agent(tmp_path: Path, cluster_id: str, image_test: str) -> Iterator[AgentProcess]:
    agent = AgentProcess(tmp_path, cluster_id)
    yield agent
    agent.kill()


def serving(epoch: int) -> Callable[[ObservedDocument], bool]:
    def look(report: ObservedDocument) -> bool:
        states = [(c.key.epoch, c.phase, c.health) for c in report.containers]
        return states == [(epoch, Phase.RUNNING, Health.HEALTHY)]

    return look


async def containers(docker: aiodocker.Docker, cluster: str) -> list[dict[str, Any]]:
    found = await docker.containers.list(all=True, filters=f'{{"label": ["lattice.cluster={cluster}"]}}')
    return [await each.show() for each in found]


@pytest.mark.parametrize("step", FIRST_DEPLOY)
async def test_killed_while_deploying(
    agent: AgentProcess, step: str, image_test: str, docker: aiodocker.Docker
) -> None:
    agent.want(instance_of(key_of(1), image=image_test, volumes=(VOLUME,)))
    agent.start(step)
    agent.until_dead()
    before = await containers(docker, agent.cluster)
    agent.start()
    agent.until(serving(1))
    after = await containers(docker, agent.cluster)
    assert [(c["Name"], c["State"]["Status"]) for c in after] == [
        (f"/{key_of(1).container_name(agent.cluster)}", "running")
    ]
    if before:
        assert after[0]["Id"] == before[0]["Id"], "what was made is adopted, not made again"
    if before and before[0]["State"]["Running"]:
        assert after[0]["State"]["StartedAt"] == before[0]["State"]["StartedAt"], "and not started again"


@pytest.mark.parametrize("step", REPLACEMENT)
async def test_killed_while_replacing(
    agent: AgentProcess, step: str, image_test: str, docker: aiodocker.Docker
) -> None:
    agent.want(instance_of(key_of(1), image=image_test, volumes=(VOLUME,)))
    agent.start()
    agent.until(serving(1))
    agent.kill()
    agent.want(instance_of(key_of(2), image=image_test, volumes=(VOLUME,)))
    agent.start(step)
    agent.until_dead()
    assert len(await containers(docker, agent.cluster)) <= 1, "never two containers of a slot"
    agent.start()
    agent.until(serving(2))
    after = await containers(docker, agent.cluster)
    assert [(c["Name"], c["State"]["Status"]) for c in after] == [
        (f"/{key_of(2).container_name(agent.cluster)}", "running")
    ]


@pytest.mark.parametrize("step", ["before:pull", "after:pull"])
async def test_killed_while_pulling(
    agent: AgentProcess, step: str, image_test: str, registry: ImageRegistry, docker: aiodocker.Docker
) -> None:
    image = registry.push(image_test, f"acme/{agent.cluster}:1")
    agent.want(instance_of(key_of(1), image=image))
    try:
        agent.start(step)
        agent.until_dead()
        agent.start()
        agent.until(serving(1))
        assert len(await containers(docker, agent.cluster)) == 1
    finally:
        agent.kill()
        await docker.images.delete(image, force=True)


async def test_killing_the_agent_touches_no_container(
    agent: AgentProcess, image_test: str, docker: aiodocker.Docker
) -> None:
    agent.want(instance_of(key_of(1), image=image_test))
    agent.start()
    agent.until(serving(1))
    before = await containers(docker, agent.cluster)
    for _ in range(3):
        agent.kill()
        agent.start()
        agent.until(serving(1))
    after = await containers(docker, agent.cluster)
    facts = [(c["Id"], c["State"]["StartedAt"], c["State"]["Pid"]) for c in before]
    assert [(c["Id"], c["State"]["StartedAt"], c["State"]["Pid"]) for c in after] == facts
