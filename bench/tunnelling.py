"""Four ways to a service that listens on a loopback port: plainly, through our tunnel, `ssh -R`, and HAProxy twice with TLS between.

Everything listens on 127.0.0.1 on free ports, its files lie in a folder of its own, and all of it ends with the benchmark.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.ports import free_port
from infra.setup.commands import find_program, run

PLAIN, OURS, SSH, HAPROXY = "plain port", "Lattice", "ssh -R", "HAProxy twice, TLS between"
_READY_S = 15.0
_HAPROXY = """global
  nbthread 1
  maxconn 4000
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen front
  bind 127.0.0.1:{front}
  server back 127.0.0.1:{middle} ssl verify none
listen back
  bind 127.0.0.1:{middle} ssl crt {folder}/both.pem
  server service 127.0.0.1:{service}
"""
_SSHD = """Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile {folder}/sshd.pid
PasswordAuthentication no
UsePAM no
PermitRootLogin yes
StrictModes no
"""
_NGINX = """daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 10000000;
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{ default_type text/plain; return 200 "hello from behind the tunnel"; }}
  }}
}}
"""


@dataclass(frozen=True)
class Paths:
    """Name of a way -> the port at its public end."""

    ports: Mapping[str, int]
    pids: tuple[int, ...]


class Programs:
    """Processes of one benchmark, in one folder."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self._stack = folder, stack
        self.pids: list[int] = []

    def start(self, *argv: str) -> None:
        log = self._stack.enter_context((self.folder / "programs.log").open("ab"))
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._stack.callback(_end, process)
        self.pids.append(process.pid)

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    async def listening(self, *ports: int) -> None:
        deadline_s = time.monotonic() + _READY_S
        for port in ports:
            while not await _accepts(port):
                if time.monotonic() > deadline_s:
                    raise RuntimeError(
                        f"nobody listens on {port}: {(self.folder / 'programs.log').read_text()[-800:]}"
                    )
                await asyncio.sleep(0.05)


def program(name: str) -> str:
    """Where a program is; a benchmark without its peer is none."""
    found = find_program(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed: `make bench` installs it")
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@asynccontextmanager
async def bulk_paths() -> AsyncIterator[Paths]:
    """Ways to a service that sends or takes as fast as it can."""
    async with _paths() as (programs, service):
        programs.start(sys.executable, "-m", "bench.tunnel_ends", "bulk", str(service))
        yield await _all_ways(programs, service)


@asynccontextmanager
async def http_paths() -> AsyncIterator[Paths]:
    """Ways to a web server with a short page."""
    async with _paths() as (programs, service):
        config = programs.write("nginx.conf", _NGINX.format(folder=programs.folder, port=service))
        programs.start(program("nginx"), "-c", config, "-p", str(programs.folder))
        yield await _all_ways(programs, service)


@asynccontextmanager
async def _paths() -> AsyncIterator[tuple[Programs, int]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lattice-bench-")))
        _make_keys(folder)
        yield Programs(folder, stack), free_port()


def _make_keys(folder: Path) -> None:
    names = ["-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem", "-subj", "/CN=localhost"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    run(["openssl", "req", "-x509", *curve, "-nodes", "-days", "2", *names])
    (folder / "both.pem").write_text((folder / "cert.pem").read_text() + (folder / "key.pem").read_text())
    for name in ("host", "user"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{folder}/{name}"])


async def _all_ways(programs: Programs, service: int) -> Paths:
    await programs.listening(service)
    ports = {
        PLAIN: service,
        OURS: await _our_way(programs, service),
        SSH: await _ssh_way(programs, service),
        HAPROXY: await _haproxy_way(programs, service),
    }
    return Paths(ports, tuple(programs.pids))


async def _our_way(programs: Programs, service: int) -> int:
    public, tunnel = free_port(), free_port()
    ends = (sys.executable, "-m", "bench.tunnel_ends")
    programs.start(*ends, "edge", str(programs.folder), str(public), str(tunnel))
    await programs.listening(tunnel)
    programs.start(*ends, "agent", str(programs.folder), str(tunnel), str(service))
    await asyncio.sleep(1)  # the agent's connections: before them the edge has nothing to answer with
    await programs.listening(public)
    return public


async def _ssh_way(programs: Programs, service: int) -> int:
    public, port = free_port(), free_port()
    config = programs.write("sshd.conf", _SSHD.format(folder=programs.folder, port=port))
    os.makedirs("/run/sshd", exist_ok=True)  # sshd insists on it
    programs.start(program("sshd"), "-D", "-f", config)
    await programs.listening(port)
    quiet = [
        f"-o{key}" for key in ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
    ]
    forward = ["-R", f"127.0.0.1:{public}:127.0.0.1:{service}"]
    key = str(programs.folder / "user")
    programs.start("ssh", "-N", "-T", "-i", key, "-p", str(port), *quiet, *forward, "127.0.0.1")
    await programs.listening(public)
    return public


async def _haproxy_way(programs: Programs, service: int) -> int:
    front, middle = free_port(), free_port()
    text = _HAPROXY.format(folder=programs.folder, front=front, middle=middle, service=service)
    programs.start(program("haproxy"), "-f", programs.write("haproxy.cfg", text), "-db")
    await programs.listening(front)
    return front


def have_wrk() -> str:
    """The load generator."""
    return shutil.which("wrk") or program("wrk")
