"""Which ports of the node's loopback address a container is published on.

The Engine could choose, but it chooses anew at each start, and a public address must not move with every restart.  So the agent chooses once
and keeps the port for the slot, also for its next epochs.  The range lies below the one from which Linux takes ports for outgoing connections, and
apart from those of a platform on the same machine (`standalone/ports.py`, `compose.yaml`), which may be down while a port is chosen.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Collection

import psutil

FIRST, LAST = 20_100, 27_999
_ATTEMPTS = 2_000

IsFree = Callable[[int], bool]


class NoPortLeft(OSError):
    """Every port of the range seems to be in use."""


def is_free(port: int) -> bool:
    """Whether nothing listens on this port of the loopback address, or of all addresses, which counts for it too (tcp(7), ip(7)).  Who has the
    port on another address alone, as links have it in a network of containers, is in nobody's way."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose(
    wanted: Collection[int],
    kept: dict[str, int],
    taken: Collection[int],
    *,
    chance: random.Random,
    free: IsFree = is_free,
) -> dict[str, int]:
    """A host port for each wanted container port: the kept one while it is free, else another.  Raises NoPortLeft."""
    chosen: dict[str, int] = {}
    for container_port in sorted(wanted):
        avoid = {*taken, *chosen.values()}
        port = kept.get(str(container_port))
        if port is None or port in avoid or not free(port):
            port = _another(avoid, chance, free)
        chosen[str(container_port)] = port
    return chosen


def holder_of(port: int) -> str:
    """Which process listens on a port, in words for people; an agent that is not root sees its own processes only."""
    for found in psutil.net_connections("tcp"):
        if found.status == psutil.CONN_LISTEN and found.laddr and found.laddr.port == port:
            return _process(found.pid)
    return "another program"


def _process(pid: int | None) -> str:
    try:
        return f"process {pid} ({psutil.Process(pid).name()})" if pid else "another program"
    except psutil.Error:
        return f"process {pid}"


def free_port(chance: random.Random | None = None) -> int:
    """Any free port of the range."""
    return _another((), chance or random.Random(), is_free)


def _another(avoid: Collection[int], chance: random.Random, free: IsFree) -> int:
    for _ in range(_ATTEMPTS):
        port = chance.randint(FIRST, LAST)
        if port not in avoid and free(port):
            return port
    raise NoPortLeft(f"no free port between {FIRST} and {LAST} on this node")
