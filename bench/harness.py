"""How a benchmark measures: contestants take turns, round after round, and what counts is the median of the ratios within a round.

Absolute times on a shared machine are noise; two things done in the same second are not.  A round in which others used more than a quarter
of the machine is thrown away and done again, a bounded number of times; what was kept in spite of noise is said in the result.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

Contestant = Callable[[], Awaitable[int]]
"""Does its work once; how many operations that was."""

Tidy = Callable[[str], Awaitable[None]]
"""Clears away what the named contestant left; not part of the time."""

ROUNDS = 7
MOST_FOREIGN = 0.25
# So many times the wanted rounds are tried before noisy ones are taken.
PATIENCE = 2
FULL_SIZE = "--full-size"

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Run:
    """One contestant in one round; CPU of this process and of `own_pids`, of the Engine, and the others' part of the machine."""

    operations: int
    seconds: float
    cpu_s: float
    foreign: float
    engine_s: float = 0.0

    @property
    def rate(self) -> float:
        return self.operations / self.seconds

    @property
    def cpu_us(self) -> float:
        return self.cpu_s / self.operations * 1e6


def is_full_size() -> bool:
    """Whether the sizes of the goals are wanted, and not those that fit into some minutes for all."""
    return FULL_SIZE in sys.argv


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

    def report(self, title: str, *, ours: str, peer: str, goals: str) -> list[str]:
        """The section of a benchmark whose operations are single ones: a table, the times, and ours beside each of the others'."""
        names = list(self.rounds[0])
        times = [f"{name}: {1000 / self.rate(name):.0f} ms" for name in names]
        ratios = [f"{1 / self.ratio(ours, name):.2f} x that of {name}" for name in names if name != ours]
        summary = f"{ours}'s time is {', '.join(ratios)} ({goals})"
        return [f"## {title}", "", *self.lines(peer), "", "; ".join(times), "", summary]

    def cpu_us(self, name: str) -> float:
        """CPU microseconds per operation."""
        return statistics.median(each[name].cpu_us for each in self.rounds)

    def engine_part(self, name: str) -> float:
        """CPU of this process and of `own_pids` as a part of the Engine's, for the same work."""
        return statistics.median(each[name].cpu_s / each[name].engine_s for each in self.rounds)

    def lines(self, peer: str) -> list[str]:
        """A table with everybody's ratio to `peer`."""
        rows = [
            f"| {name} | {self.rate(name):,.0f}/s | {self.cpu_us(name):.1f} us | {self.ratio(name, peer):.2f} |"
            for name in self.rounds[0]
        ]
        noise = f"{len(self.rounds)} rounds, {self.thrown_away} thrown away, {self.noisy_kept} kept in spite of noise"
        return [f"| what | rate | CPU per operation | times {peer} |", "|---|---|---|---|", *rows, "", noise]


async def compare(
    contestants: Mapping[str, Contestant],
    *,
    rounds: int = ROUNDS,
    own_pids: Sequence[int] = (),
    engine_cpu_s: Callable[[], float] = lambda: 0.0,
    tidy: Tidy | None = None,
) -> Comparison:
    """Let all take turns, one warm-up first; `own_pids` are servers that belong to the work, and so does what the Engine takes."""
    work = _Work(contestants, own_pids, engine_cpu_s, tidy)
    await work.round()
    calm: list[Round] = []
    noisy: list[Round] = []
    while len(calm) < rounds and len(calm) + len(noisy) < rounds * PATIENCE:
        done = await work.round()
        loud = max(run.foreign for run in done.values()) > MOST_FOREIGN
        (noisy if loud else calm).append(done)
    kept = noisy[: rounds - len(calm)]
    return Comparison(calm + kept, noisy_kept=len(kept), thrown_away=len(noisy) - len(kept))


@dataclass(frozen=True, slots=True)
class _Work:
    contestants: Mapping[str, Contestant]
    own_pids: Sequence[int]
    engine_cpu_s: Callable[[], float]
    tidy: Tidy | None

    async def round(self) -> Round:
        return {name: await self._turn(name) for name in self.contestants}

    async def _turn(self, name: str) -> Run:
        run = await self._run(self.contestants[name])
        if self.tidy is not None:
            await self.tidy(name)
        return run

    async def _run(self, contestant: Contestant) -> Run:
        busy_s, own_s, engine_s = _machine_busy_s(), cpu_s(self.own_pids), self.engine_cpu_s()
        began_s = time.perf_counter()
        operations = await contestant()
        seconds = time.perf_counter() - began_s
        own_took_s, by_engine_s = cpu_s(self.own_pids) - own_s, self.engine_cpu_s() - engine_s
        foreign_s = max(0.0, _machine_busy_s() - busy_s - own_took_s - by_engine_s)
        foreign = foreign_s / (seconds * (os.cpu_count() or 1))
        return Run(operations, seconds, own_took_s, foreign, by_engine_s)


def cpu_s(own_pids: Sequence[int]) -> float:
    """CPU of this process, and of these servers with their children."""
    return time.process_time() + sum(map(_tree_cpu_s, own_pids))


def _tree_cpu_s(pid: int) -> float:
    """CPU of a server and of its children: a database answers each connection from a process of its own."""
    server = psutil.Process(pid)
    return sum(map(_cpu_s, [server, *server.children(recursive=True)]))


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _machine_busy_s() -> float:
    user, nice, system, _idle, _wait, irq, softirq, *_ = (
        Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return sum(int(ticks) for ticks in (user, nice, system, irq, softirq)) / _TICKS_PER_S
