"""A command inside a container, through the Engine's exec.

The Engine cannot end an exec: when its stream is closed, a command without a terminal runs on for ever.  So on closing, the process is ended by
its pid on this machine, after a look at its cgroup says that the pid is still one of that container.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from aiodocker import Docker
from aiodocker.execs import Exec
from aiodocker.stream import Stream

from agent.docker_runtime_errors import ENGINE_ERRORS, translated
from lattice.runtime import ExecOptions, ExecOutput

_CALL_TIMEOUT_S = 10.0
_END_TIMEOUT_S = 1.0
_STREAMS = {1: "stdout", 2: "stderr"}


class DockerExec:
    """An `ExecProcess` of the Docker Engine."""

    def __init__(self, exec_: Exec, stream: Stream, container_id: str) -> None:
        self._exec, self._stream, self._container_id = exec_, stream, container_id
        self._closed = False

    async def read(self) -> ExecOutput | None:
        try:
            message = await self._stream.read_out()
        except ENGINE_ERRORS as error:
            raise translated(error, "reading from a command") from error
        return None if message is None else ExecOutput(_STREAMS.get(message.stream, "stdout"), message.data)

    async def write(self, data: bytes) -> None:
        try:
            await self._stream.write_in(data)
        except (*ENGINE_ERRORS, AssertionError, RuntimeError) as error:  # aiodocker asserts an open link
            raise translated(ConnectionResetError(), "writing to a command") from error

    async def close_stdin(self) -> None:
        response = self._stream._resp  # aiodocker has no public way to end only the input
        transport = response.connection.transport if response and response.connection else None
        if transport is not None and transport.can_write_eof():
            transport.write_eof()

    async def resize(self, *, rows: int, columns: int) -> None:
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                await self._exec.resize(h=rows, w=columns)
        except ENGINE_ERRORS as error:
            raise translated(error, "resizing a terminal") from error

    async def exit_code(self) -> int | None:
        shown = await self._inspect()
        code = shown["ExitCode"]
        return None if shown["Running"] or not isinstance(code, int) else code

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            await self._end_process()
        finally:
            response = self._stream._resp
            if response is not None and response.connection is not None:
                await self._stream.close()
            self._stream._closed = True

    async def _inspect(self) -> dict[str, object]:
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                return dict(await self._exec.inspect())
        except ENGINE_ERRORS as error:
            raise translated(error, "looking at a command") from error

    async def _end_process(self) -> None:
        for signum in (signal.SIGHUP, signal.SIGKILL):
            shown = await self._inspect()
            pid = shown.get("Pid")
            if not shown["Running"] or not isinstance(pid, int) or not _belongs_to(pid, self._container_id):
                return
            os.kill(pid, signum)
            await self._wait_ended()

    async def _wait_ended(self) -> None:
        deadline = asyncio.get_running_loop().time() + _END_TIMEOUT_S
        while asyncio.get_running_loop().time() < deadline:
            if not (await self._inspect())["Running"]:
                return
            await asyncio.sleep(0.02)


async def start_exec(docker: Docker, container_id: str, options: ExecOptions) -> DockerExec:
    """Run argv inside a container and attach to it."""
    try:
        async with asyncio.timeout(_CALL_TIMEOUT_S):
            container = docker.containers.container(container_id)
            exec_ = await container.exec(
                list(options.argv), stdin=options.stdin, stdout=True, stderr=True, tty=options.tty
            )
            stream = exec_.start(detach=False)
            await stream._init()
            return DockerExec(exec_, stream, container_id)
    except ENGINE_ERRORS as error:
        raise translated(error, f"running {options.argv[0]}") from error


def _belongs_to(pid: int, container_id: str) -> bool:
    """Whether a pid of this machine is a process of the container: pids are used again."""
    try:
        return container_id in Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False
