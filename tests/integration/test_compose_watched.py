"""A server under watch is told of renewed files, is told to end, and its end is ours."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from infra.compose.ready import is_ready
from infra.compose.watched import STOP_SIGNALS, run_watched
from lattice.files import write_durably

# Writes down each SIGHUP; ends with 7 when it is told to end.
_SERVER = """
import pathlib, signal, sys
heard = pathlib.Path(sys.argv[1])
signal.signal(signal.SIGHUP, lambda *_: heard.write_text(heard.read_text() + "hup "))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
heard.write_text("up ")
while True:
    signal.pause()
"""


class Watched:
    def __init__(self, folder: Path) -> None:
        self.heard, self.files = folder / "heard", [folder / "conf", folder / "cert.pem"]
        for file in self.files:
            write_durably(file, b"first")
        argv = [sys.executable, "-c", _SERVER, str(self.heard)]
        self.running = asyncio.create_task(run_watched(argv, self.files, look_s=0.01))

    async def until_heard(self, text: str) -> None:
        async with asyncio.timeout(20):
            while not self.heard.exists() or self.heard.read_text() != text:
                await asyncio.sleep(0.01)


@pytest.fixture
async def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


async def test_the_server_hears_of_each_renewed_file_once(watched: Watched) -> None:
    await watched.until_heard("up ")
    write_durably(watched.files[1], b"second")
    await watched.until_heard("up hup ")
    write_durably(watched.files[0], b"second")
    await watched.until_heard("up hup hup ")
    signal.raise_signal(signal.SIGTERM)
    assert await watched.running == 7


async def test_signals_are_ours_again_when_the_server_has_ended(watched: Watched) -> None:
    await watched.until_heard("up ")
    signal.raise_signal(signal.SIGTERM)
    await watched.running
    assert not any(asyncio.get_running_loop().remove_signal_handler(signum) for signum in STOP_SIGNALS)


async def test_a_server_that_cannot_work_ends_us_too(tmp_path: Path) -> None:
    write_durably(tmp_path / "conf", b"")
    argv = [sys.executable, "-c", "import sys; sys.exit(3)"]
    assert await run_watched(argv, [tmp_path / "conf"]) == 3


@pytest.mark.parametrize(("status", "ready"), [("200 OK", True), ("503 Service Unavailable", False)])
async def test_a_container_is_ready_when_it_says_so(status: str, *, ready: bool) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await asyncio.to_thread(is_ready, f"http://127.0.0.1:{port}/readyz") is ready


def test_a_container_where_nobody_listens_is_not_ready() -> None:
    assert not is_ready("http://127.0.0.1:1/readyz")
