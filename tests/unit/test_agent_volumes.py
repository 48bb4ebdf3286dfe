"""The size of volumes: asked of the Engine as a limit, until it says that its disk has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiodocker import DockerError

from agent.docker_runtime import DockerRuntime
from lattice.errors import Temporary

NO_QUOTAS = DockerError(500, "create x: quota size requested but no quota support")


class Engine:
    """Makes volumes; `refuses` those with a size, for that reason."""

    def __init__(self, refuses: DockerError | None = None) -> None:
        self.asked: list[dict[str, Any]] = []
        self.volumes, self._refuses = self, refuses

    async def create(self, request: dict[str, Any]) -> None:
        self.asked.append(request)
        if self._refuses is not None and "DriverOpts" in request:
            raise self._refuses


def runtime(engine: Engine) -> DockerRuntime:
    return DockerRuntime(engine, files_root=Path("/"))  # type: ignore[arg-type]


async def test_a_volume_is_limited_to_its_size() -> None:
    engine = Engine()
    await runtime(engine).ensure_volume("v", {"lattice.volume": "vo-1"}, size_bytes=2**30)
    assert [each["DriverOpts"] for each in engine.asked] == [{"size": str(2**30)}]


async def test_an_engine_without_quotas_is_asked_once() -> None:
    engine = Engine(NO_QUOTAS)
    docker = runtime(engine)
    for name in ("a", "b"):
        await docker.ensure_volume(name, {}, size_bytes=2**30)
    assert [(each["Name"], "DriverOpts" in each) for each in engine.asked] == [
        ("a", True),
        ("a", False),
        ("b", False),
    ]


async def test_another_error_does_not_end_the_limits() -> None:
    docker = runtime(Engine(DockerError(500, "anything")))
    for _ in range(2):
        with pytest.raises(Temporary):
            await docker.ensure_volume("a", {}, size_bytes=2**30)
