"""A command that is forked (`tests/fixtures/commands.py`) behaves as one that is started as people start it."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.fixtures.commands import REPOSITORY, Ran, kept_environment, run_command


def run(home: Path, *arguments: str, fresh: bool = False, timeout_s: float = 60.0, stdin: str = "") -> Ran:
    environment = {**kept_environment(), "PYTHONPATH": str(REPOSITORY), "HOME": str(home)}
    return run_command(*arguments, environment=environment, stdin=stdin, timeout_s=timeout_s, fresh=fresh)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--version",), 0),
        (("ctx", "ls", "-o", "json"), 0),
        (("ps",), 1),
        (("apply", "-f", "-"), 1),
        (("run", "--colour", "red"), 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_both_end_alike(tmp_path: Path, arguments: tuple[str, ...], code: int) -> None:
    forked, fresh = (run(tmp_path, *arguments, fresh=fresh, stdin="name: [api\n") for fresh in (False, True))
    assert forked.code == code
    assert (forked.code, forked.out, forked.err) == (
        fresh.code,
        fresh.out,
        fresh.err.replace("python -m cli.main", "lattice"),
    )


def test_one_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    began_s = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        run(tmp_path, "node", "join", "lattice-join.nobody", "--data-dir", str(tmp_path), timeout_s=0.05)
    assert time.monotonic() - began_s < 30
    assert run(tmp_path, "--version").code == 0, "others are served all the same"
