"""Runs the benchmarks one after the other and writes `bench/results.md`: `python -m bench`, or `python -m bench g1 g3` to look only."""

from __future__ import annotations

import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

BENCHMARKS = {"g1": "bench.g1_deploy", "g3": "bench.g3_accept", "g7": "bench.g7_publish"}
RESULTS = Path(__file__).with_name("results.md")


def main(names: list[str]) -> int:
    """Run what is named, or all; each in a process of its own, so none warms another's caches."""
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        print(f"There is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}.")
        return 2
    found = [_run(BENCHMARKS[name]) for name in names or BENCHMARKS]
    if not names:
        RESULTS.write_text("\n".join([_head(), *found]))
    return 0


def _head() -> str:
    machine = f"{platform.machine()}, Python {platform.python_version()}"
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    return f"# Benchmarks\n\n{when}, {machine}. Compare ratios within one run; absolute times are this machine's.\n"


def _run(module: str) -> str:
    done = subprocess.run([sys.executable, "-m", module], stdout=subprocess.PIPE, text=True, check=True)
    print(done.stdout, flush=True)
    return done.stdout


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
