"""The programs that must be on the machine, and getting them from the distribution's packages.

A program counts, not a package: whoever has Docker from somewhere else keeps it. Packages are installed with
apt on Debian and its relatives; elsewhere set-up says in one line what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from infra.setup.commands import CommandFailed, SetupError, as_root, find_program, run
from infra.setup.policy_rc import services_kept_still

_UNITS = Path("/etc/systemd/system")
_SCRIPTS = Path("/etc/init.d")
_QUIET = {"DEBIAN_FRONTEND": "noninteractive"}


@dataclass(frozen=True)
class Program:
    """A program, the package that has it, and the package's service that we do not want started."""

    name: str
    package: str
    unwanted_service: str | None = None


def read_programs(text: str) -> tuple[Program, ...]:
    """The programs of a list file: columns by blanks, `#` begins a comment."""
    rows = (line.split("#")[0].split() for line in text.splitlines())
    return tuple(Program(*row) for row in rows if row)


def ensure_programs(list_files: Iterable[Path]) -> str:
    """Install whatever is missing of these lists; raises SetupError when that is not possible here."""
    wanted = [program for path in list_files for program in read_programs(path.read_text())]
    missing = [program for program in wanted if find_program(program.name) is None]
    if not missing:
        return "all there"
    packages = [program.package for program in missing]
    install_packages(packages)
    for program in missing:
        _keep_from_booting(program)
    return f"installed {', '.join(packages)}"


def install_packages(packages: list[str]) -> None:
    """Install distribution packages, with a fresh package index when the present one no longer fits."""
    if find_program("apt-get") is None:
        raise SetupError(
            f"Missing on this machine: {', '.join(packages)} (Debian's names). Set-up installs packages on"
            " Debian and Ubuntu only: install these with your system's package manager and run it again."
        )
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    with services_kept_still():
        try:
            run(as_root(["env", *_assignments(), *install]))
        except CommandFailed:
            run(as_root(["apt-get", "update", "-q"]))
            run(as_root(["env", *_assignments(), *install]))


def _assignments() -> list[str]:
    # sudo drops the caller's environment, so the variable travels as an argument of env.
    return [f"{name}={value}" for name, value in _QUIET.items()]


def _keep_from_booting(program: Program) -> None:
    # Installing enables the service even where it was kept from starting, so it would come up at the next boot.
    # The link is what `systemctl mask` makes, and can be made where systemd is not installed (yet).
    if program.unwanted_service:
        run(as_root(["mkdir", "-p", str(_UNITS)]))
        run(as_root(["ln", "-sf", "/dev/null", str(_UNITS / program.unwanted_service)]))
        script = program.unwanted_service.removesuffix(".service")
        if (_SCRIPTS / script).exists():
            run(as_root(["update-rc.d", script, "disable"]))
