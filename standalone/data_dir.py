"""The folder in which a platform keeps everything that must outlive it, and the name it chose there.

The name (cluster id) stands in every container name and label, so two platforms on one Engine never touch
each other's containers.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lattice.errors import Conflict, Invalid
from lattice.files import write_durably

CLUSTER_ID = re.compile(r"[a-z0-9]{8}")
FOLDERS = (
    "keys",
    "pki",
    "nats",
    "postgres",
    "logs",
    "log-store",
    "alerts",
    "metrics",
    "run",
    "agent",
)
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
    def alerts(self) -> Path:
        """The key with which the service `alerts` seals the addresses of its sinks."""
        return self.root / "alerts"

    @property
    def metrics(self) -> Path:
        """The last day of what was measured, kept by the service `metrics`."""
        return self.root / "metrics"

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
        raise damaged(root / CLUSTER_ID_FILE)
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


def damaged(path: Path) -> Invalid:
    """What is said of a file of ours that cannot be read."""
    return Invalid(f"{path} is damaged: restore it from a backup.")
