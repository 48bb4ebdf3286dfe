"""How a benchmark measures: contestants take turns, round after round, and what counts is the median of the ratios within a round.

Absolute times on a shared machine are noise; two things done in the same second are not.  A round in which others used more than a quarter
of the machine is thrown away and done again, a bounded number of times; what was kept in spite of noise is said in the result.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Contestant = Callable[[], Awaitable[int]]
"""Does its work once; how many operations that was."""

ROUNDS = 7
MOST_FOREIGN = 0.25
# So many times the wanted rounds are tried before noisy ones are taken.
PATIENCE = 2

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Run:
    """One contestant in one round; CPU of this process and of `own_pids`."""

    operations: int
    seconds: float
    cpu_s: float
    foreign: float

    @property
    def rate(self) -> float:
        return self.operations / self.seconds

    @property
    def cpu_us(self) -> float:
        return self.cpu_s / self.operations * 1e6


Round = Mapping[str, Run]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The rounds that count, and how many were too noisy."""

    rounds: Sequence[Round]
    noisy_kept: int
    thrown_away: int

    def ratio(self, ours: str, peer: str) -> float:
        """How many times faster `ours` was: the median of the rounds' own ratios."""
        return statistics.median(each[ours].rate / each[peer].rate for each in self.rounds)

    def rate(self, name: str) -> float:
        return statistics.median(each[name].rate for each in self.rounds)

    def cpu_us(self, name: str) -> float:
        """CPU microseconds per operation."""
        return statistics.median(each[name].cpu_us for each in self.rounds)

    def lines(self, peer: str) -> list[str]:
        """A table with everybody's ratio to `peer`."""
        rows = [
            f"| {name} | {self.rate(name):,.0f}/s | {self.cpu_us(name):.1f} us | {self.ratio(name, peer):.2f} |"
            for name in self.rounds[0]
        ]
        noise = f"{len(self.rounds)} rounds, {self.thrown_away} thrown away, {self.noisy_kept} kept in spite of noise"
        return [f"| what | rate | CPU per operation | times {peer} |", "|---|---|---|---|", *rows, "", noise]


async def compare(
    contestants: Mapping[str, Contestant], *, rounds: int = ROUNDS, own_pids: Sequence[int] = ()
) -> Comparison:
    """Let all take turns, one warm-up first; `own_pids` are servers that belong to the work."""
    await _round(contestants, own_pids)
    calm: list[Round] = []
    noisy: list[Round] = []
    while len(calm) < rounds and len(calm) + len(noisy) < rounds * PATIENCE:
        done = await _round(contestants, own_pids)
        loud = max(run.foreign for run in done.values()) > MOST_FOREIGN
        (noisy if loud else calm).append(done)
    kept = noisy[: rounds - len(calm)]
    return Comparison(calm + kept, noisy_kept=len(kept), thrown_away=len(noisy) - len(kept))


async def _round(contestants: Mapping[str, Contestant], own_pids: Sequence[int]) -> Round:
    return {name: await _run(contestant, own_pids) for name, contestant in contestants.items()}


async def _run(contestant: Contestant, own_pids: Sequence[int]) -> Run:
    busy_s, own_s, began_s = _machine_busy_s(), _own_cpu_s(own_pids), time.perf_counter()
    operations = await contestant()
    seconds = time.perf_counter() - began_s
    cpu_s = _own_cpu_s(own_pids) - own_s
    foreign_s = max(0.0, _machine_busy_s() - busy_s - cpu_s)
    return Run(operations, seconds, cpu_s, foreign_s / (seconds * (os.cpu_count() or 1)))


def _own_cpu_s(own_pids: Sequence[int]) -> float:
    return time.process_time() + sum(_cpu_s(pid) for pid in own_pids)


def _cpu_s(pid: int) -> float:
    values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(values[11]) + int(values[12])) / _TICKS_PER_S


def _machine_busy_s() -> float:
    user, nice, system, _idle, _wait, irq, softirq, *_ = (
        Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return sum(int(ticks) for ticks in (user, nice, system, irq, softirq)) / _TICKS_PER_S
