"""G11: the last 1,000 lines, and a search through a million, over REST; beside the same on a plain file of zstd chunks.  `python -m bench.g11_search`

The lines lie in the log store of a running platform; they are asked for over TLS, as the CLI and the console ask.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.deploying import Platform, stored_platform
from bench.harness import compare
from bench.sample_log import NEEDLE, START_NS, Sample, sample
from lattice import log_records
from services.logs.store import Incoming, Limits, LogStore

LINES = 1_000_000
GOALS = "goals: at most 5 ms for the last 1,000 lines, at most 190 ms for a search through a million"
_LAST = 1000
_TIMES = 5


def fill(data_dir: Path, found: Sample) -> None:
    """Put the sample where the log store will find it."""
    store = LogStore(data_dir / "log-store", Limits(segment_bytes=64 * 2**20, segment_age_s=10**9))
    for block, body in found.blocks:
        store.learn(store.write([Incoming(block, "bench", body)], START_NS))
    store.close()


async def measure() -> list[str]:
    """The table of this benchmark."""
    found = sample(LINES)
    async with stored_platform(lambda folder: fill(folder, found)) as platform:
        with chunk_file(found) as chunks:
            done = await compare(
                {
                    "last 1,000: file": lambda: chunks.last(),
                    "last 1,000: Lattice": lambda: ask(platform, _LAST, ""),
                    "search: file": lambda: chunks.search(),
                    "search: Lattice": lambda: ask(platform, 10, NEEDLE),
                },
                own_pids=platform.pids,
            )
    times = [f"{name}: {1000 / done.rate(name):.1f} ms" for name in done.rounds[0]]
    return [
        "## G11: last lines and searches over REST",
        "",
        *done.lines("search: file"),
        "",
        "; ".join(times),
        "",
        GOALS,
    ]


async def ask(platform: Platform, limit: int, grep: str) -> int:
    """So many answers, each whole."""
    wanted = LINES // 100_000 if grep else limit
    parameters: dict[str, str | int] = {"workload": "bench", "limit": limit}
    if grep:
        parameters["grep"] = grep
    for _ in range(_TIMES):
        answer = await platform.client.get("/v1/logs", params=parameters)
        answer.raise_for_status()
        found = answer.content.count(b"\n")
        if found != wanted:
            raise RuntimeError(f"{found} lines were answered, {wanted} were wanted")
    return _TIMES


class ChunkFile:
    """The floor: the same blocks in one file, and nothing else; what is found stays bytes."""

    def __init__(self, path: Path, found: Sample) -> None:
        self._path, self._sizes = path, [len(body) for _, body in found.blocks]
        with path.open("wb") as file:
            file.writelines(body for _, body in found.blocks)

    async def last(self) -> int:
        """The last lines."""
        for _ in range(_TIMES):
            (newest,) = self._bodies(self._sizes[-1:], sum(self._sizes[:-1]))
            records = log_records.unpack(newest)
            if len(log_records.split(records)[-_LAST:]) != _LAST:
                raise RuntimeError("too few lines")
        return _TIMES

    async def search(self) -> int:
        """How often the needle is there."""
        for _ in range(_TIMES):
            bodies = self._bodies(self._sizes, 0)
            if sum(log_records.unpack(body).count(NEEDLE.encode()) for body in bodies) != LINES // 100_000:
                raise RuntimeError("the needle was not found as often as it is there")
        return _TIMES

    def _bodies(self, sizes: list[int], start: int) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            file.seek(start)
            for size in sizes:
                yield file.read(size)


@contextmanager
def chunk_file(found: Sample) -> Iterator[ChunkFile]:
    """One in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="lattice-bench-") as folder:
        yield ChunkFile(Path(folder) / "chunks", found)


if __name__ == "__main__":
    print("\n".join(asyncio.run(measure())))
