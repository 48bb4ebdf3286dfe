"""The folder in which a platform keeps everything that must outlive it, and the ports and the name it chose
there.

The name (cluster id) stands in every container name and label, so two platforms on one Engine never touch
each other's containers.  Ports are chosen free once and kept, because public addresses must survive a
restart; they lie below the range from which the kernel takes the local ports of outgoing connections, or one
of those could hold them at the next start.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import socket
import string
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lattice.errors import Conflict, Invalid
from lattice.files import write_durably

CLUSTER_ID = re.compile(r"[a-z0-9]{8}")
FOLDERS = ("keys", "pki", "nats", "postgres", "logs", "log-store", "run", "agent")
FIRST_PORT = 20000
LAST_PORT = 65535
EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
PORTS_FILE = "ports.json"
CLUSTER_ID_FILE = "cluster-id"
# All that Lattice puts there, but for its mark.
OWN_ENTRIES = (*FOLDERS, PORTS_FILE)


@dataclass(frozen=True, slots=True)
class DataDir:
    """Where everything lies; each folder is private (0700)."""

    root: Path
    cluster_id: str

    @property
    def keys(self) -> Path:
        """The bus authority and the master key of secrets."""
        return self.root / "keys"

    @property
    def pki(self) -> Path:
        """The certificate authority and the leafs of our own processes."""
        return self.root / "pki"

    @property
    def nats(self) -> Path:
        return self.root / "nats"

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def logs(self) -> Path:
        """The output of each process."""
        return self.root / "logs"

    @property
    def log_store(self) -> Path:
        """What workloads wrote, kept by the service `logs`."""
        return self.root / "log-store"

    @property
    def run(self) -> Path:
        """What holds only while the platform runs: lock and status."""
        return self.root / "run"

    @property
    def agent(self) -> Path:
        """The journal and identity of the agent on this machine."""
        return self.root / "agent"

    @property
    def ports_file(self) -> Path:
        return self.root / PORTS_FILE

    @property
    def status_file(self) -> Path:
        return self.run / "status.json"


def new_cluster_id() -> str:
    """Eight random letters and digits."""
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))


def open_data_dir(root: Path, *, choose_id: Callable[[], str] = new_cluster_id) -> DataDir:
    """The data directory at `root`, made if missing.

    Raises Invalid if something else lies there, or its owner is another user.  No parent folder is changed.
    """
    root = root.absolute()
    _make(root)
    if not (root / CLUSTER_ID_FILE).exists():
        _refuse_foreign(root)
        write_durably(root / CLUSTER_ID_FILE, choose_id().encode())
    data_dir = DataDir(root, _read_cluster_id(root))
    root.chmod(0o700)
    for name in FOLDERS:
        (root / name).mkdir(mode=0o700, exist_ok=True)
    return data_dir


def find_data_dir(root: Path) -> DataDir | None:
    """The data directory at `root` if there is one; changes nothing."""
    return DataDir(root.absolute(), _read_cluster_id(root)) if (root / CLUSTER_ID_FILE).exists() else None


@contextlib.contextmanager
def exclusive(data_dir: DataDir) -> Iterator[None]:
    """Hold the directory for this process alone; the kernel lets go when the process ends, however it ends.

    Raises Conflict if another one holds it.
    """
    descriptor = os.open(data_dir.run / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(descriptor, data_dir.root)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def keep_ports(
    data_dir: DataDir, names: Sequence[str], *, fixed: Mapping[str, int] | None = None
) -> dict[str, int]:
    """A port for each name: `fixed` if given, else the one kept, else a free one that is kept from now on."""
    kept = read_ports(data_dir)
    ports = choose_ports(
        names, kept={**kept, **(fixed or {})}, candidates=_candidates(), is_free=port_is_free
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
        raise _damaged(data_dir.ports_file) from error
    if not isinstance(ports, dict) or not all(type(port) is int for port in ports.values()):
        raise _damaged(data_dir.ports_file)
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
        raise Conflict(f"This machine has no free port left for {', '.join(missing)}.")
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


def _candidates() -> list[int]:
    ports = candidate_ports(EPHEMERAL_RANGE.read_text())
    return secrets.SystemRandom().sample(ports, len(ports))


def _make(root: Path) -> None:
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise Invalid(f"{root} is not a folder: choose another data directory.") from error
    except OSError as error:  # no right to, a read-only or special file system, too long a name
        raise Invalid(
            f"{root} cannot be made: {error.strerror}. Choose a data directory of your own."
        ) from error
    if root.stat().st_uid != os.geteuid():
        raise Invalid(f"{root} belongs to another user: choose a data directory of your own.")


def _refuse_foreign(root: Path) -> None:
    """A first start that was cut off may have left the unfinished mark; anything else is somebody's."""
    if any(not path.name.startswith(f".{CLUSTER_ID_FILE}.") for path in root.iterdir()):
        raise Invalid(f"{root} is not empty and is no data directory of Lattice: choose another one.")


def _read_cluster_id(root: Path) -> str:
    cluster_id = (root / CLUSTER_ID_FILE).read_text().strip()
    if not CLUSTER_ID.fullmatch(cluster_id):
        raise _damaged(root / CLUSTER_ID_FILE)
    return cluster_id


def _lock(descriptor: int, root: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        holder = os.pread(descriptor, 20, 0).decode() or "unknown"
        raise Conflict(
            f"A platform already runs on {root} (process {holder}): use it, or stop it with `lattice down`."
        ) from error


def _damaged(path: Path) -> Invalid:
    return Invalid(f"{path} is damaged: restore it from a backup.")
