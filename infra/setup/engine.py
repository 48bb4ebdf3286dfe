"""The Docker Engine: reached if it runs, started if not.

Under systemd the Engine is systemd's; where there is no service manager (a container, a chroot, a plain VM in
CI) we start dockerd ourselves, in a session of its own so that it outlives the terminal. It is never stopped
from here.
"""

from __future__ import annotations

import enum
import getpass
import os
import subprocess
import sys
import time
from pathlib import Path

from infra.setup.commands import CommandFailed, SetupError, as_root, find_program, run

LOG = Path("/var/log/lattice-dockerd.log")
_READY_S = 60


class Reach(enum.Enum):
    """How far a `docker` command of this user gets."""

    READY = "ready"
    NOT_ALLOWED = "not allowed"
    AWAY = "away"


def probe() -> Reach:
    """Ask the Engine for its version."""
    try:
        run(["docker", "version", "--format", "{{.Server.Version}}"], timeout_s=10)
    except CommandFailed as failure:
        return Reach.NOT_ALLOWED if "permission denied" in failure.output else Reach.AWAY
    except SetupError:
        return Reach.AWAY
    return Reach.READY


def ensure_engine() -> str:
    """Make the Engine answer this user; raises SetupError with the end of its log when it does not."""
    outcome = "running"
    if probe() is Reach.AWAY:
        outcome = _start()
    if _wait() is Reach.NOT_ALLOWED:
        outcome += _join_docker_group()
    return outcome


def _start() -> str:
    if Path("/run/systemd/system").is_dir():
        run(as_root(["systemctl", "start", "docker"]))
        return "started by systemd"
    if os.geteuid() == 0:
        start_dockerd()
    else:
        run(as_root([sys.executable, "-m", "infra.setup", "start-dockerd"]))
    return f"started dockerd, log in {LOG}"


def start_dockerd() -> None:
    """Start dockerd in a session of its own; it writes /var/run/docker.pid itself. Needs root."""
    dockerd = find_program("dockerd")
    if dockerd is None:
        raise SetupError("dockerd is not installed, so the Docker Engine cannot be started.")
    with LOG.open("ab") as log:
        subprocess.Popen(
            [dockerd], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
        )


def _wait() -> Reach:
    deadline_s = time.monotonic() + _READY_S
    while (reach := probe()) is Reach.AWAY:
        if time.monotonic() > deadline_s:
            raise SetupError(f"The Docker Engine does not answer after {_READY_S} s.{_end_of_log()}")
        time.sleep(0.2)
    return reach


def _end_of_log() -> str:
    if not LOG.exists():
        return " Look at `docker version` and the log of its service."
    lines = LOG.read_text(errors="replace").splitlines()[-10:]
    return f" The end of {LOG}:\n    " + "\n    ".join(lines)


def _join_docker_group() -> str:
    user = getpass.getuser()
    run(as_root(["usermod", "-aG", "docker", user]))
    return f"; {user} is now in the group docker (that equals root on this machine), from the next login on"


def lend_engine(argv: list[str]) -> list[str]:
    """The command that runs `argv` with access to the Engine.

    Membership in the group docker counts from the next login on only; sudo reads the groups anew.
    """
    if os.geteuid() == 0 or probe() is not Reach.NOT_ALLOWED:
        return argv
    return ["sudo", "--preserve-env", "--user", getpass.getuser(), "--", *argv]
