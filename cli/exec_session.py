"""Runs one exec session over a WebSocket: our input and window size go there, output and the exit code come back."""

from __future__ import annotations

import asyncio
import sys
from typing import BinaryIO

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, WebSocketException

from cli import exec_frames, sockets, terminal
from cli.client import Client, unreachable
from cli.context import Endpoint
from cli.errors import CliError
from cli.exec_frames import Ended, Kind, Output, Request
from cli.sanitize import ByteCleaner


async def run(client: Client, path: str, query: dict[str, str], request: Request, *, raw: bool) -> int:
    """The exit code of the command.  `raw` hands our terminal over to it."""
    async with sockets.opened(client, path, query) as socket:
        try:
            await socket.send(request.to_json())
            with terminal.raw_mode(wanted=raw):
                return _exit_code(await _converse(socket, request, raw=raw))
        except BrokenPipeError:  # whoever read our output went away
            raise
        except (OSError, WebSocketException, TimeoutError) as error:
            raise _broken(client.endpoint, error) from error


def _broken(endpoint: Endpoint, error: Exception) -> CliError:
    if not isinstance(error, ConnectionClosed):
        return unreachable(endpoint.url, error)
    reason = error.rcvd.reason if error.rcvd else ""
    return CliError(
        "The session broke before the command ended.",
        why=reason or "the connection to the platform was lost",
        todo="the command may still run; look before you run it again",
    )


async def _converse(socket: ClientConnection, request: Request, *, raw: bool) -> Ended:
    sending = [asyncio.create_task(_send_stdin(socket))] if request.stdin else []
    resized = asyncio.Event()
    if request.tty:
        sending.append(asyncio.create_task(_send_sizes(socket, resized)))
    try:
        with terminal.on_resize(resized.set):
            return await _receive(socket, raw=raw)
    finally:
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)


async def _send_stdin(socket: ClientConnection) -> None:
    pieces = terminal.read_stdin()
    while piece := await pieces.get():
        await socket.send(exec_frames.stdin_frame(piece))
    await socket.send(exec_frames.stdin_closed())


async def _send_sizes(socket: ClientConnection, resized: asyncio.Event) -> None:
    while await resized.wait():
        resized.clear()
        rows, columns = terminal.size()
        await socket.send(exec_frames.resize(rows=rows, columns=columns))


async def _receive(socket: ClientConnection, *, raw: bool) -> Ended:
    sinks = {Kind.STDOUT: _Sink(sys.stdout.buffer, raw=raw), Kind.STDERR: _Sink(sys.stderr.buffer, raw=raw)}
    while True:
        said = exec_frames.read(await socket.recv())
        if isinstance(said, Output):
            sinks[said.kind].write(said.data)
        elif isinstance(said, Ended):
            return said


class _Sink:
    """Where output goes: byte for byte, except onto a terminal that was not handed over, where it must not steer."""

    def __init__(self, stream: BinaryIO, *, raw: bool) -> None:
        self._stream = stream
        self._cleaner = ByteCleaner() if stream.isatty() and not raw else None

    def write(self, data: bytes) -> None:
        self._stream.write(self._cleaner.clean(data) if self._cleaner else data)
        self._stream.flush()


def _exit_code(ended: Ended) -> int:
    if ended.exit_code is None:
        raise CliError(
            "The command was not run to its end.", why=ended.error or "the platform gave no reason"
        )
    if ended.error:
        sys.stderr.write(ByteCleaner().clean(ended.error.encode()).decode() + "\n")
    return ended.exit_code
