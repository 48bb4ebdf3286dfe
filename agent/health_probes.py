"""One health check: HTTP, TCP or a command inside the container.

The container's own address is asked first, because the Engine's proxy on the published port accepts connections before the service does.  Where
that address leads nowhere (an Engine without root, or on another machine) the published port is asked instead.
"""

from __future__ import annotations

import asyncio
import errno
from types import TracebackType
from typing import Self

import httpx

from agent.exec_exit import exit_code_of
from lattice.contracts.messages import RunSpec
from lattice.contracts.spec import HealthSpec
from lattice.runtime import Container, ExecOptions, Runtime

Target = tuple[str, int]
_NO_ROUTE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EINVAL)


class Probe:
    """Asks one container whether it works; an async context manager."""

    def __init__(self, runtime: Runtime, run: RunSpec, container: Container, spec: HealthSpec) -> None:
        self._runtime, self._run, self._container, self._spec = runtime, run, container, spec
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        if self._spec.http is not None:
            # No keep-alive: a service that stopped accepting connections is not healthy.
            limits = httpx.Limits(max_keepalive_connections=0)
            self._client = httpx.AsyncClient(trust_env=False, limits=limits, timeout=self._spec.timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def problem(self) -> str:
        """What is wrong, in a few words; empty when it works."""
        if self._spec.exec is not None:
            return await self._command_problem(self._spec.exec.command)
        problem = "it has no port of that name"
        for target in self._targets():
            try:
                return await self._target_problem(target)
            except OSError as error:
                problem = f"{target[0]}:{target[1]} cannot be reached"
                if self._spec.tcp is not None and error.errno not in _NO_ROUTE:
                    break
        return problem

    def _targets(self) -> list[Target]:
        check = self._spec.http or self._spec.tcp
        ports = [port.container_port for port in self._run.ports if check and port.name == check.port]
        own = [(self._container.ip, port) for port in ports if self._container.ip]
        published = [(p.host_ip, p.host_port) for p in self._container.ports if p.container_port in ports]
        return [*own, *published]

    async def _target_problem(self, target: Target) -> str:
        if self._spec.http is not None:
            return await self._http_problem(target, self._spec.http.path)
        _, writer = await asyncio.open_connection(*target)
        writer.close()
        return ""

    async def _http_problem(self, target: Target, path: str) -> str:
        assert self._client is not None
        try:
            async with self._client.stream("GET", f"http://{target[0]}:{target[1]}{path}") as reply:
                return "" if 200 <= reply.status_code < 400 else f"GET {path} answered {reply.status_code}"
        except httpx.TimeoutException:
            return f"GET {path}: no answer in {self._spec.timeout:g} s"
        except httpx.TransportError as error:
            raise OSError(str(error)) from error

    async def _command_problem(self, command: tuple[str, ...]) -> str:
        process = await self._runtime.exec(self._container.name, ExecOptions(argv=command))
        last = b""
        try:
            while (output := await process.read()) is not None:
                last = output.data[-200:]
            code = await exit_code_of(process)
        finally:
            await process.close()
        said = last.decode(errors="replace").strip()
        return "" if code == 0 else f"{command[0]} exited with {code}{f': {said}' if said else ''}"
