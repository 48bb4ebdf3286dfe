"""Runs the benchmarks one after the other and writes `bench/results.md`: `python -m bench`, or `python -m bench g1 g3` to look only.

With `--full-size` the benchmarks that have a size take that of their goal, which may take a quarter of an hour.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from bench.harness import FULL_SIZE

BENCHMARKS = {
    "g1": "bench.g1_deploy",
    "g3": "bench.g3_accept",
    "g4": "bench.g4_replicas",
    "g5": "bench.g5_restart",
    "g6": "bench.g6_placement",
    "g7": "bench.g7_publish",
    "g8": "bench.g8_whole",
    "g9": "bench.g8_store",
    "g10": "bench.g10_collect",
    "g11": "bench.g11_search",
    "g12": "bench.g12_tunnel",
    "g15": "bench.g15_crowd",
    "flood": "bench.flood",
}
RESULTS = Path(__file__).with_name("results.md")


def main(arguments: list[str]) -> int:
    """Run what is named, or all; each in a process of its own, so none warms another's caches."""
    options = [argument for argument in arguments if argument == FULL_SIZE]
    names = [argument for argument in arguments if argument != FULL_SIZE]
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        print(f"There is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}.")
        return 2
    found = [_run(BENCHMARKS[name], options) for name in names or BENCHMARKS]
    if not names:
        RESULTS.write_text("\n".join([_head(), *found]))
    return 0


def _head() -> str:
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    return (
        f"# Benchmarks\n\n{when}, commit {_commit()}, {machine}, load {os.getloadavg()[2]:.1f} over the last 15 minutes.\n"
        "Compare ratios within one run; absolute times are this machine's.\n"
    )


def _commit() -> str:
    """The commit that was measured; `+` where files differ from it."""
    argv = ["git", "describe", "--always", "--dirty=+", "--abbrev=10"]
    return subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def _run(module: str, options: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *options], stdout=subprocess.PIPE, text=True, check=True
    )
    print(done.stdout, flush=True)
    return done.stdout


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
