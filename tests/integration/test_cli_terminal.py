"""`exec`: bytes, sizes, signals and exit codes through a real WebSocket, with pipes and on a real terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from services.gateway import exec_frames as frames
from tests.fixtures.cli_gateway import Receive, Request, Send, StubGateway

if TYPE_CHECKING:
    from tests.fixtures.cli_run import Cli

pytest_plugins = ["tests.fixtures.cli_run"]

TIMEOUT_S = 60


class Session:
    """The gateway's side of one exec session, read with the gateway's own code."""

    def __init__(self) -> None:
        self.start: frames.Start | None = None
        self.request: Request | None = None
        self.inputs: list[frames.Input] = []

    @property
    def stdin(self) -> bytes:
        return b"".join(item.data for item in self.inputs if item.kind == "stdin")

    def sizes(self) -> list[tuple[int, int]]:
        return [(item.size.rows, item.size.columns) for item in self.inputs if item.size is not None]


Act = Callable[[Session, Receive, Send], Awaitable[None]]


def serve(gateway: StubGateway, act: Act) -> Session:
    """From now on an exec session does this."""
    session = Session()

    async def terminal(request: Request, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        session.request = request
        session.start = frames.read_start((await receive())["text"])
        await send({"type": "websocket.send", "text": frames.started("ex-1")})
        await act(session, receive, send)

    gateway.terminal = terminal
    return session


async def hear(session: Session, receive: Receive) -> frames.Input | None:
    """The next thing that the client says; None when it went away."""
    message = await receive()
    if message["type"] == "websocket.disconnect":
        return None
    text, data = message.get("text"), message.get("bytes")
    heard = frames.read_bytes(data) if data is not None else frames.read_control(str(text))
    session.inputs.append(heard)
    return heard


async def write(send: Send, prefix: bytes, data: bytes) -> None:
    await send({"type": "websocket.send", "bytes": prefix + data})


async def leave(send: Send, code: int | None, error: str = "") -> None:
    await send(
        {"type": "websocket.send", "text": json.dumps({"type": "exit", "exit_code": code, "error": error})}
    )
    await send({"type": "websocket.close", "code": 1000})


def ends_with(code: int | None, *, out: bytes = b"", err: bytes = b"", error: str = "") -> Act:
    async def act(session: Session, receive: Receive, send: Send) -> None:
        await write(send, frames.STDOUT, out)
        await write(send, frames.STDERR, err)
        await leave(send, code, error)

    return act


async def echo_upper(session: Session, receive: Receive, send: Send) -> None:
    """`tr a-z A-Z`: ends with its input."""
    while (heard := await hear(session, receive)) is not None:
        if heard.kind == "stdin-closed":
            await leave(send, 0)
            return
        await write(send, frames.STDOUT, heard.data.upper())


def test_output_goes_to_both_streams_and_the_code_is_the_commands(cli: Cli, gateway: StubGateway) -> None:
    session = serve(gateway, ends_with(7, out=b"out\n", err=b"err\n"))
    ran = cli("exec", "orders-db", "--slot", "2", "--project", "shop", "--", "sh", "-c", "ls -o x")
    assert (ran.code, ran.out, ran.err) == (7, "out\n", "err\n")
    assert session.start is not None
    assert session.request is not None
    assert (session.start.argv, session.start.slot) == (("sh", "-c", "ls -o x"), 2)
    assert (session.start.tty, session.start.stdin) == (False, False)
    assert session.request.query == {"project": "shop"}
    assert session.request.headers["authorization"] == "Bearer lat_test"


def test_bytes_come_through_a_pipe_unchanged(cli: Cli, gateway: StubGateway, tmp_path: Any) -> None:
    everything = bytes(range(256)) * 400
    serve(gateway, ends_with(0, out=everything))
    process = cli.start("exec", "orders-db", "--", "cat", "dump")
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, out, err) == (0, everything, b"")


def test_piped_input_is_passed_on_to_its_end_when_asked_for(cli: Cli, gateway: StubGateway) -> None:
    session = serve(gateway, echo_upper)
    text = "line\n" * 50_000
    ran = cli("exec", "-i", "orders-db", "--", "tr", "a-z", "A-Z", stdin=text)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == text.upper()
    assert session.inputs[-1].kind == "stdin-closed"


def test_on_a_terminal_keys_sizes_and_escapes_pass_and_the_terminal_is_restored(
    cli: Cli, gateway: StubGateway
) -> None:
    async def shell(session: Session, receive: Receive, send: Send) -> None:
        await write(send, frames.STDOUT, b"\x1b[1mready\x1b[0m ")
        while b"\x03" not in session.stdin or not session.sizes():
            assert await hear(session, receive) is not None
        await leave(send, 130)

    session = serve(gateway, shell)
    terminal = cli.on_terminal("exec", "orders-db", "--", "sh", rows=40, columns=132)
    assert "\x1b[1mready\x1b[0m" in terminal.read_until("ready\x1b[0m")
    terminal.type("x\x03")
    terminal.resize(rows=50, columns=100)
    assert terminal.end() == 130
    assert session.start is not None
    assert (session.start.tty, session.start.stdin, session.start.rows, session.start.columns) == (
        True,
        True,
        40,
        132,
    )
    assert session.stdin == b"x\x03"
    assert session.sizes()[-1] == (50, 100)
    assert "x" not in terminal.seen.replace("\x1b", "").replace("exec", ""), (
        "a raw terminal echoes nothing itself"
    )


def test_without_a_terminal_of_its_own_a_command_cannot_steer_ours(cli: Cli, gateway: StubGateway) -> None:
    serve(gateway, ends_with(0, out=b"\x1b]0;owned\x07plain\xc3", err=b"\x1b[2Jbad\n"))
    terminal = cli.on_terminal("exec", "-T", "orders-db", "--", "cat", "log")
    assert terminal.end() == 0
    assert "plain" in terminal.seen
    assert "owned" not in terminal.seen
    assert "\x1b" not in terminal.seen


def test_a_command_that_never_ran_says_why(cli: Cli, gateway: StubGateway) -> None:
    async def refuse(session: Session, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.send", "text": frames.failed("conflict", "It does not run.\x1b[2J")})
        await send({"type": "websocket.close", "code": 1008})

    serve(gateway, refuse)
    ran = cli("exec", "orders-db", "--", "ls")
    assert (ran.code, ran.out) == (1, "")
    assert "Why: It does not run.\n" in ran.err


def test_a_refused_session_shows_the_problem(cli: Cli) -> None:
    ran = cli("exec", "nothing", "--", "ls")
    assert ran.code == 1
    assert ran.err.splitlines() == ["Error: Not found: There is no such workload.", "  Request: rq-test"]


def test_a_session_that_breaks_says_that_the_command_may_still_run(cli: Cli, gateway: StubGateway) -> None:
    async def vanish(session: Session, receive: Receive, send: Send) -> None:
        await write(send, frames.STDOUT, b"half")
        await send({"type": "websocket.close", "code": 1011, "reason": "the node fell silent"})

    serve(gateway, vanish)
    ran = cli("exec", "orders-db", "--", "ls")
    assert (ran.code, ran.out) == (1, "half")
    assert "the node fell silent" in ran.err
    assert "may still run" in ran.err


@pytest.mark.parametrize("url", ["https://127.0.0.1:1", "https://no-such-host.invalid"])
def test_a_platform_that_is_not_there(cli: Cli, url: str) -> None:
    ran = cli("exec", "orders-db", "--", "ls", LATTICE_URL=url)
    assert ran.code == 1
    assert "Cannot reach the platform" in ran.err


def test_ctrl_c_without_a_terminal_ends_the_session(cli: Cli, gateway: StubGateway) -> None:
    gone: list[bool] = []

    async def wait(session: Session, receive: Receive, send: Send) -> None:
        await write(send, frames.STDOUT, b"started\n")
        gone.append(await hear(session, receive) is None)

    serve(gateway, wait)
    process = cli.start("exec", "orders-db", "--", "sleep", "100")
    assert process.stdout is not None
    assert process.stdout.readline() == b"started\n"
    process.send_signal(2)
    _, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    assert b"Traceback" not in err
    deadline = time.monotonic() + TIMEOUT_S
    while not gone:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert gone == [True]
