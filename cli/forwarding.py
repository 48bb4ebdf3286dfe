"""Local ports whose connections go to a port of a workload, each over a socket of its own.

Binary messages are bytes, in both directions; the text message `{"type": "end"}` says that no more will come in that direction.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from cli import sockets
from cli.client import Client
from cli.client_paths import path_of
from cli.errors import CliError

END = json.dumps({"type": "end"})
_PIECE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Way:
    """From a local port to a port of the workload, by number or name; local port 0 takes any that is free."""

    local: int
    remote: str


@dataclass(frozen=True, slots=True)
class Target:
    """Whose ports: a workload of a project, one of its replicas or whichever is well."""

    client: Client
    project: str
    name: str
    slot: int | None

    def query(self, port: str) -> dict[str, str]:
        asked = {"project": self.project, "port": port}
        return asked if self.slot is None else {**asked, "slot": str(self.slot)}


Tell = Callable[[str], None]


async def serve(
    target: Target, ways: Sequence[Way], address: str, *, listening: Callable[[Way, int], None], tell: Tell
) -> None:
    """Forward until cancelled.  `listening` is told the local port of each way, `tell` why a connection failed."""
    servers = [await _listen(target, way, address, tell) for way in ways]
    try:
        for way, server in zip(ways, servers, strict=True):
            listening(way, server.sockets[0].getsockname()[1])
        await asyncio.Event().wait()
    finally:
        for server in servers:
            server.close()


async def _listen(target: Target, way: Way, address: str, tell: Tell) -> asyncio.Server:
    try:
        return await asyncio.start_server(partial(_forward, target, way, tell), address, way.local)
    except OSError as error:
        raise CliError(
            f"Port {way.local} of {address} cannot be used on this machine.",
            why=error.strerror or str(error),
            todo=f"choose another: lattice forward {target.name} {_free(way.local)}:{way.remote}",
        ) from error


def _free(port: int) -> int:
    """Another port to propose: most people take 15432 for 5432."""
    return port + 10_000 if port < 50_000 else 0


async def _forward(
    target: Target, way: Way, tell: Tell, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        path = path_of("workloads", target.name, "forward")
        async with sockets.opened(target.client, path, target.query(way.remote)) as socket:
            await _carry(socket, reader, writer)
    except CliError as error:
        tell(f"A connection to {target.name} failed: {error}")
        writer.transport.abort()
    except ConnectionClosed:
        tell(f"A connection to {target.name} broke: the platform was lost.")
        writer.transport.abort()
    except (ConnectionError, asyncio.CancelledError):
        writer.transport.abort()
    finally:
        writer.close()


async def _carry(
    socket: ClientConnection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    both = [asyncio.create_task(_send(socket, reader)), asyncio.create_task(_receive(socket, writer))]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_EXCEPTION)
        for task in both:
            if task.done():
                task.result()
    finally:
        for task in both:
            task.cancel()
        await asyncio.gather(*both, return_exceptions=True)


async def _send(socket: ClientConnection, reader: asyncio.StreamReader) -> None:
    while piece := await reader.read(_PIECE_BYTES):
        await socket.send(piece)
    await socket.send(END)


async def _receive(socket: ClientConnection, writer: asyncio.StreamWriter) -> None:
    """Up to the end of what the workload says.  Raises CliError with what the platform says is wrong."""
    while isinstance(said := await socket.recv(), bytes):
        writer.write(said)
        await writer.drain()
    if said != END:
        raise CliError(str(json.loads(said).get("detail") or said))
    writer.write_eof()
