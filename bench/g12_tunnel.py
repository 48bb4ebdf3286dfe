"""G12 and G13: a service behind the tunnel, against `ssh -R` and HAProxy in two hops with TLS between.  `python -m bench.g12_tunnel`

G12 is one connection that carries as much as it can, up and down; G13 is 64 connections with small requests, and the time of a single one.
The plain port is the limit that no tunnel reaches.
"""

from __future__ import annotations

import asyncio
import re
import socket
import statistics
from collections.abc import Callable
from functools import partial

from bench.harness import Contestant, compare
from bench.tunnelling import HAPROXY, OURS, PLAIN, SSH, Paths, bulk_paths, have_wrk, http_paths
from infra.setup.commands import run

MIB = 512
_UNITS_US = {"us": 1.0, "ms": 1e3, "s": 1e6}


async def measure() -> list[str]:
    """The tables of both."""
    return [*await _bulk(), "", *await _requests()]


async def _bulk() -> list[str]:
    lines = ["## G12: encrypted tunnel, bulk"]
    async with bulk_paths() as paths:
        for name, transfer in (("up", _upload), ("down", _download)):
            done = await compare(_each(paths, transfer), own_pids=paths.pids, rounds=5)
            lines += ["", f"One connection, {MIB} MiB {name} (rates in MiB):", "", *done.lines(SSH), ""]
            to_ssh, to_haproxy = done.ratio(OURS, SSH), done.ratio(OURS, HAPROXY)
            lines.append(
                f"{name}: {to_ssh:.2f} x ssh -R (goal: at least 1.3), {to_haproxy:.2f} x HAProxy (goal: at least 1.0)"
            )
    return lines


async def _requests() -> list[str]:
    async with http_paths() as paths:
        done = await compare(_each(paths, partial(_wrk, connections=64)), own_pids=paths.pids, rounds=5)
        times = {name: [await _one_request_us(port) for _ in range(3)] for name, port in paths.ports.items()}
    single = {name: statistics.median(values) for name, values in times.items()}
    added = {name: value - single[PLAIN] for name, value in single.items()}
    to_ssh, to_haproxy = done.ratio(OURS, SSH), done.ratio(OURS, HAPROXY)
    return [
        "## G13: encrypted tunnel, small requests on 64 connections",
        "",
        *done.lines(SSH),
        "",
        f"{to_ssh:.2f} x ssh -R (goal: at least 0.8), {to_haproxy:.2f} x HAProxy (goal: at least 0.65)",
        "",
        "Median of one request on one connection: "
        + "; ".join(f"{name}: {value:.0f} us" for name, value in single.items()),
        "",
        f"Added to the plain port's: {added[OURS] / added[SSH]:.2f} x what ssh -R adds (goal: at most 1.3)",
    ]


def _each(paths: Paths, work: Callable[[int], int]) -> dict[str, Contestant]:
    def contestant(port: int) -> Contestant:
        return lambda: asyncio.to_thread(work, port)

    return {name: contestant(port) for name, port in paths.ports.items()}


def _upload(port: int) -> int:
    block = bytes(2**20)
    with socket.create_connection(("127.0.0.1", port), 60) as client:
        client.sendall(b"U")
        for _ in range(MIB):
            client.sendall(block)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while part := client.recv(8):
            answer += part
    assert int.from_bytes(answer, "big") == MIB * 2**20, "not all arrived"
    return MIB


def _download(port: int) -> int:
    buffer, left = bytearray(2**20), MIB * 2**20
    with socket.create_connection(("127.0.0.1", port), 60) as client:
        client.sendall(b"D")
        while left > 0:
            left -= client.recv_into(buffer)
    return MIB


def _wrk(port: int, *, connections: int) -> int:
    said = _load(port, connections)
    found = re.search(r"(\d+) requests in", said)
    assert found and "Socket errors" not in said, said
    return int(found[1])


def _load(port: int, connections: int) -> str:
    return run([have_wrk(), "-t1", f"-c{connections}", "-d1s", "--latency", f"http://127.0.0.1:{port}/"])


async def _one_request_us(port: int) -> float:
    said = await asyncio.to_thread(_load, port, 1)
    found = re.search(r"50%\s+([\d.]+)(us|ms|s)", said)
    assert found, said
    return float(found[1]) * _UNITS_US[found[2]]


if __name__ == "__main__":
    print("\n".join(asyncio.run(measure())))
