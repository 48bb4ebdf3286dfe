"""`python -m infra.setup COMMAND`: what the Makefile calls."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from infra.setup.commands import SetupError
from infra.setup.engine import ensure_engine, lend_engine, start_dockerd
from infra.setup.programs import ensure_programs
from infra.setup.progress import step
from infra.setup.python_env import Environment, ensure_environment

_ROOT = Path(__file__).resolve().parents[2]
_RUN_PROGRAMS = _ROOT / "infra" / "setup" / "programs-run.txt"
_TEST_PROGRAMS = _ROOT / "infra" / "setup" / "programs-test.txt"


def _prepare(lock_name: str, program_lists: list[Path]) -> None:
    step("programs", lambda: ensure_programs(program_lists))
    step("Python packages", lambda: ensure_environment(Environment(_ROOT), lock_name))
    step("Docker Engine", ensure_engine)


def _run() -> None:
    print("Setting up Lattice")
    _prepare("embedded", [_RUN_PROGRAMS])


def _dev() -> None:
    print("Setting up Lattice and its tests")
    _prepare("dev", [_RUN_PROGRAMS, _TEST_PROGRAMS])


def _exec(argv: list[str]) -> None:
    command = lend_engine(argv)
    os.execvp(command[0], command)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.setup", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="what Lattice needs on this machine")
    commands.add_parser("dev", help="that and what its tests need")
    commands.add_parser("start-dockerd", help="start the Docker Engine where no service manager does")
    commands.add_parser("exec", help="run a command with access to the Engine").add_argument(
        "argv", nargs=argparse.REMAINDER
    )
    return parser.parse_args()


def main() -> int:
    """Run the command; a SetupError becomes its message and status 1."""
    arguments = _arguments()
    commands = {"run": _run, "dev": _dev, "start-dockerd": start_dockerd}
    try:
        if arguments.command == "exec":
            _exec(arguments.argv)
        commands[arguments.command]()
    except SetupError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
