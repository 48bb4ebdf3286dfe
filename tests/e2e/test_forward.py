"""`lattice forward`: private ports of a workload as ports of this machine."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg

from tests.fixtures.platform import NewName, Platform, until
from tests.fixtures.ports import free_port

ECHO = ("sh", "-c", "while :; do nc -l -p 7000 -e cat; done")
SLEEP = ("sleep", "86400")


@contextmanager
def forwarded(
    platform: Platform, name: str, *ways: str, options: tuple[str, ...] = ()
) -> Iterator[list[int]]:
    """The local ports of a `lattice forward` that runs."""
    process = platform.start("-o", "json", "forward", name, *ways, *options)
    try:
        assert process.stdout is not None
        yield [int(_next_object(process)["port"]) for _ in ways]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) in (0, 130)
    finally:
        process.kill()
        process.wait(20)
        process.communicate()


def _next_object(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    text = ""
    while True:
        line = process.stdout.readline()
        assert line, process.stderr.read() if process.stderr else text
        text += line
        try:
            return dict(json.loads(text))
        except ValueError:
            continue


def test_a_private_database_answers_a_real_client(platform: Platform, new_name: NewName) -> None:
    name = new_name("db")
    platform.ok("deploy", "postgres", "--name", name)
    credentials = platform.json("credentials", name)
    with forwarded(platform, name, "0:5432") as (port,):

        async def ask() -> list[int]:
            trusted = ssl.create_default_context(cadata=credentials["ca"])
            trusted.check_hostname = False  # its certificate is for where it really is
            connections = [
                await asyncpg.connect(
                    host="127.0.0.1", port=port, user=credentials["username"],
                    password=credentials["password"], database=credentials["database"], ssl=trusted,
                )
                for _ in range(3)
            ]  # fmt: skip
            try:
                rows = await asyncio.gather(
                    *(
                        each.fetch("select repeat('x', 1000) from generate_series(1, 20000)")
                        for each in connections
                    )
                )
                return [len(each) for each in rows]
            finally:
                for each in connections:
                    await each.close()

        assert asyncio.run(ask()) == [20_000] * 3
    trail = platform.json("audit", "ls")["items"]
    assert [entry["after"]["port"] for entry in trail if entry["action"] == "workload.forward"] == [5432] * 3


def test_the_end_of_one_direction_is_passed_on_and_the_next_connection_works(
    platform: Platform, new_name: NewName, image_test: str
) -> None:
    name = new_name("echo")
    platform.ok("run", image_test, "--name", name, "-p", "7000/tcp", "--", *ECHO)
    port = free_port()
    with forwarded(platform, name, f"{port}:7000") as (told,):
        assert told == port
        for text in (b"first", b"second" * 100_000):
            until(lambda text=text: said_back(port, text) == text, what="the echo")  # type: ignore[misc]


def said_back(port: int, text: bytes) -> bytes:
    """What is answered to a text and its end."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            connection.sendall(text)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := connection.recv(65_536):
                answer += piece
            return answer
        except ConnectionError:
            return b""


def test_what_cannot_be_forwarded_is_said_before_anything_listens(
    platform: Platform, new_name: NewName, image_test: str
) -> None:
    name = new_name("web")
    platform.ok("run", image_test, "--name", name, "-p", "8080", "--", *SLEEP)
    said = platform.refused("forward", name, "9")
    assert f"{name} has no port 9" in said and "it has 8080 (" in said
    assert "is not [LOCAL:]PORT" in platform.refused("forward", name, "x:8080", code=2)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert "cannot be used on this machine" in platform.refused("forward", name, f"{port}:8080")
    platform.ok("stop", name)
    assert "does not run: it is stopped" in platform.refused("forward", name, "8080")
    assert "no workload" in platform.refused("forward", "nobody", "80").lower()
