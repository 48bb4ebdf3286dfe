"""`python -m infra.setup COMMAND`: what the Makefile calls."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NoReturn

from infra.docker.platform_image import build_platform_image
from infra.images.build import build
from infra.images.ensure import ensure_image
from infra.images.recipes import TALK, TEMPLATES, TEST, Recipe
from infra.images.registry import Registry
from infra.setup.bytecode import compile_sources
from infra.setup.commands import SetupError
from infra.setup.engine import ensure_engine, lend_engine, start_dockerd
from infra.setup.locks import write_locks
from infra.setup.places import BENCH_PROGRAMS, ROOT, RUN_PROGRAMS, TEST_PROGRAMS, environment, workshop
from infra.setup.programs import ensure_programs
from infra.setup.progress import step
from infra.setup.python_env import ensure_environment


def _prepare_to_run() -> None:
    """What Lattice needs on this machine."""
    print("Setting up Lattice")
    _prepare("embedded", [RUN_PROGRAMS])
    _exec([sys.executable, "-m", "infra.setup", "templates"])


def _prepare_to_test() -> None:
    """That and what its tests need."""
    print("Setting up Lattice and its tests")
    _prepare("dev", [RUN_PROGRAMS, TEST_PROGRAMS])
    _exec([sys.executable, "-m", "infra.setup", "test-images"])


def _ensure_peers() -> None:
    """What the benchmarks measure against."""
    step("peers", partial(ensure_programs, [BENCH_PROGRAMS]))


def _prepare(lock_name: str, program_lists: list[Path]) -> None:
    step("programs", partial(ensure_programs, program_lists))
    step("Python packages", partial(ensure_environment, environment(), lock_name))
    step("own sources", partial(compile_sources, environment()))
    step("Docker Engine", ensure_engine)


def _ensure_templates() -> None:
    """Ensure an image for every template."""
    _ensure_images(TEMPLATES)


def _ensure_test_images() -> None:
    """Ensure these and the image that tests run."""
    _ensure_images((*TEMPLATES, TEST, TALK))


def _ensure_images(recipes: tuple[Recipe, ...]) -> None:
    # Called in a process of its own: a user who has just joined the group docker reaches the Engine only there.
    registry = Registry()
    for recipe in recipes:
        step(f"image {recipe.name}", partial(ensure_image, recipe, workshop(), registry))


def _rebuild_images() -> None:
    """Build every template image anew from the distribution's present packages."""
    for recipe in TEMPLATES:
        step(f"image {recipe.name}", partial(build, recipe, workshop()))


def _build_platform_image() -> None:
    """Build the image of Lattice itself."""
    step("image lattice", partial(build_platform_image, ROOT, workshop()))


def _write_locks() -> None:
    """Write requirements/*.lock anew."""
    step("locks", partial(write_locks, ROOT))


_COMMANDS: Mapping[str, Callable[[], None]] = {
    "run": _prepare_to_run,
    "dev": _prepare_to_test,
    "peers": _ensure_peers,
    "templates": _ensure_templates,
    "test-images": _ensure_test_images,
    "images": _rebuild_images,
    "image": _build_platform_image,
    "lock": _write_locks,
    "start-dockerd": start_dockerd,
}


def _exec(argv: list[str]) -> NoReturn:
    """Become `argv`, with access to the Docker Engine."""
    command = lend_engine(argv)
    os.execvp(command[0], command)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.setup", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, action in _COMMANDS.items():
        commands.add_parser(name, help=action.__doc__)
    commands.add_parser("exec", help=_exec.__doc__).add_argument("argv", nargs=argparse.REMAINDER)
    return parser.parse_args()


def main() -> int:
    """Run the command; a SetupError becomes its message and status 1."""
    arguments = _arguments()
    try:
        if arguments.command == "exec":
            _exec(arguments.argv)
        _COMMANDS[arguments.command]()
    except SetupError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
