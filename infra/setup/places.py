"""Where things are: the project, its environment, and what set-up keeps for all clones of this user."""

from __future__ import annotations

import os
from pathlib import Path

from infra.images.workshop import Workshop, open_workshop
from infra.setup.python_env import Environment

ROOT = Path(__file__).resolve().parents[2]
RUN_PROGRAMS = ROOT / "infra" / "setup" / "programs-run.txt"
TEST_PROGRAMS = ROOT / "infra" / "setup" / "programs-test.txt"
BENCH_PROGRAMS = ROOT / "infra" / "setup" / "programs-bench.txt"


def environment() -> Environment:
    """The project's Python environment."""
    return Environment(ROOT)


def workshop() -> Workshop:
    """Where images are built."""
    return open_workshop(ROOT, Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"))
