"""What the start of a whole platform costs: services forked from the nursery, and each one started for itself.  `python -m bench.start`

Each round starts both, one after the other, from nothing and once more with what the first start left.  CPU is that of the command, the supervisor
and everything below it up to the moment when the command returns; memory is each process' share of what it uses (PSS), some seconds later.
"""

from __future__ import annotations

import os
import resource
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.setup.commands import run
from standalone.supervisor import read_status

ROUNDS = 7
REST_S = 5.0
WAYS = {"forked": "true", "each for itself": "false"}
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Start:
    """One start: until the platform was ready, and the memory of all its processes at rest after it."""

    wall_s: float
    cpu_s: float
    pss_mib: float


def main() -> None:
    """Print the table."""
    found: dict[tuple[str, str], list[Start]] = defaultdict(list)
    for _ in range(ROUNDS):
        for way, nursery in WAYS.items():
            for which, start in zip(("first", "second"), _starts(nursery), strict=True):
                found[which, way].append(start)
    print("| start | services | until ready | CPU | memory at rest |\n|---|---|---|---|---|")
    for (which, way), starts in sorted(found.items()):
        wall, cpu, pss = (statistics.median(each) for each in zip(*map(_numbers, starts), strict=True))
        print(f"| {which} | {way} | {wall:.2f} s | {cpu:.2f} s | {pss:.0f} MiB |")


def _numbers(start: Start) -> tuple[float, float, float]:
    return start.wall_s, start.cpu_s, start.pss_mib


def _starts(nursery: str) -> Iterator[Start]:
    with tempfile.TemporaryDirectory(prefix="lattice-bench-") as folder:
        root = Path(folder) / "data"
        try:
            yield _start(root, nursery)
            _lattice("down", root)
            yield _start(root, nursery)
        finally:
            _lattice("reset", root, "--yes")


def _start(root: Path, nursery: str) -> Start:
    began_s, command_s = time.monotonic(), _of_commands_s()
    _lattice("up", root, "--detach", "--wait", LATTICE_NURSERY=nursery)
    wall_s, cpu_s = time.monotonic() - began_s, _of_commands_s() - command_s
    processes = _processes(root)
    cpu_s += sum(sum(each.cpu_times()[:4]) for each in processes)
    time.sleep(REST_S)
    return Start(wall_s, cpu_s, sum(each.memory_full_info().pss for each in processes) / MIB)


def _of_commands_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _processes(root: Path) -> list[psutil.Process]:
    status = read_status(root / "run" / "status.json")
    assert status is not None, "it was started"
    supervisor = psutil.Process(status.pid)
    return [supervisor, *supervisor.children(recursive=True)]


def _lattice(command: str, root: Path, *options: str, **variables: str) -> None:
    argv = [sys.executable, "-m", "cli.main", command, "--data-dir", str(root), *options]
    run(argv, env={"PYTHONPATH": os.getcwd(), **variables})


if __name__ == "__main__":
    main()
