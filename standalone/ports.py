"""The ports of an embedded platform: chosen free once and kept, because public addresses must survive a restart.

They lie below the range from which the kernel takes the local ports of outgoing connections, and above those that agents publish containers
on (`agent/ports.py`), or one of either could hold them at the next start.
"""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from lattice.errors import Conflict
from lattice.files import write_durably
from standalone.data_dir import DataDir, damaged

FIRST_PORT = 28000
LAST_PORT = 65535
EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def keep_ports(
    data_dir: DataDir,
    names: Sequence[str],
    *,
    fixed: Mapping[str, int] | None = None,
    allowed: Sequence[int] = (),
) -> dict[str, int]:
    """A port for each name: `fixed` if given, else the one kept, else a free one (of `allowed`, if given) that is kept from now on."""
    kept = read_ports(data_dir)
    candidates = allowed or candidate_ports(EPHEMERAL_RANGE.read_text())
    ports = choose_ports(
        names, kept={**kept, **(fixed or {})}, candidates=_shuffled(candidates), is_free=port_is_free
    )
    if {**kept, **ports} != kept:
        write_durably(data_dir.ports_file, json.dumps({**kept, **ports}, indent=1).encode())
    return ports


def read_ports(data_dir: DataDir) -> dict[str, int]:
    """The ports kept so far.  Raises Invalid if the file is damaged."""
    try:
        ports = json.loads(data_dir.ports_file.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise damaged(data_dir.ports_file) from error
    if not isinstance(ports, dict) or not all(type(port) is int for port in ports.values()):
        raise damaged(data_dir.ports_file)
    return ports


def choose_ports(
    names: Sequence[str],
    *,
    kept: Mapping[str, int],
    candidates: Iterable[int],
    is_free: Callable[[int], bool],
) -> dict[str, int]:
    """The kept port of each name, or the next candidate that is free and belongs to no other name."""
    taken = set(kept.values())
    free = (port for port in candidates if port not in taken and is_free(port))
    chosen = {name: kept[name] if name in kept else next(free, None) for name in names}
    missing = [name for name, port in chosen.items() if port is None]
    if missing:
        raise Conflict(
            f"No free port is left for {', '.join(missing)}: stop a program, or allow more (LATTICE_PORT_RANGE)."
        )
    return {name: port for name, port in chosen.items() if port is not None}


def check_ports(ports: Mapping[str, int]) -> None:
    """Raises Conflict with the ports that somebody else uses, before anything is started."""
    busy = [f"{port} ({name})" for name, port in ports.items() if not port_is_free(port)]
    if busy:
        raise Conflict(
            f"In use by another program: port {', '.join(busy)}. Stop that program, or choose another port "
            "(--port for the gateway, ports.json in the data directory for the others)."
        )


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this port, on any address of this machine."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", port))
        except OSError:
            return False
    return True


def candidate_ports(ephemeral: str) -> range:
    """The ports to choose from, given the kernel's range of local ports (`32768 60999`)."""
    first_ephemeral = int(ephemeral.split()[0])
    enough = first_ephemeral - FIRST_PORT >= 1000
    return range(FIRST_PORT, first_ephemeral if enough else LAST_PORT + 1)


def _shuffled(ports: Sequence[int]) -> list[int]:
    return secrets.SystemRandom().sample(ports, len(ports))
