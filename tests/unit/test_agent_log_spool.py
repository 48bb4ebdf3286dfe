"""The spool on a node's disk: a kill at any byte, damage, and a disk that is full lose nothing that no gap tells."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from collections.abc import AsyncIterator, Coroutine
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.log_chunks import Chunk, LogSource, chunk_of, gap_chunk
from agent.log_gaps import Gaps, merged
from agent.log_place import LogPosition
from agent.log_spool import LogSpool
from agent.log_spool_reading import START
from lattice import log_records
from lattice.contracts.messages import GapCause, LogBlock, LogGap
from lattice.number_ranges import Ranges, added, common, without
from tests.fixtures.agent import key_of

PLACE = {"inode": 1, "fingerprint": "f"}


def source(name: str = "one") -> LogSource:
    return LogSource(node_id="nd-1", container_id=name, key=key_of(), instance_id="in-1", project="default")


class Writer:
    """Makes chunks of one container, one after the other."""

    def __init__(self, name: str = "one") -> None:
        self.source = source(name)
        self.position = LogPosition()
        self.raw = 0

    def chunk(self, count: int = 10, *, parts: int = 0) -> Chunk:
        first = self.position.number + 1
        texts = [
            *(f"line {first + n} {os.urandom(8).hex()}\n" for n in range(count - parts)),
            *(["part"] * parts),
        ]
        records = b"".join(log_records.record(first + n, "stdout", text) for n, text in enumerate(texts))
        chunk = chunk_of(records, self.position, {**PLACE, "offset": self.position.offset + len(records)})
        self.position = chunk.position
        return chunk


async def everything(spool: LogSpool) -> list[tuple[LogBlock, bytes]]:
    """All that is to be sent, in small bites."""
    found, cursor = [], START
    while (taken := await spool.take(cursor, budget_bytes=700)).frames or taken.broken:
        found += taken.frames
        cursor = taken.cursor
    return found


def numbers(frames: list[tuple[LogBlock, bytes]]) -> list[int]:
    return [n for block, _ in frames for n in range(block.first, block.last + 1)]


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[LogSpool]:
    spool = LogSpool(tmp_path)
    await spool.open({})
    yield spool
    spool.close()


async def opened(folder: Path, **options: Any) -> tuple[LogSpool, dict[str, LogPosition]]:
    spool = LogSpool(folder, **options)
    return spool, await spool.open({})


# ------------------------------------------------------------------------------------------------ kept and let go


async def test_what_was_added_is_there_again_with_its_positions(tmp_path: Path, spool: LogSpool) -> None:
    one, two = Writer("one"), Writer("two")
    for writer in (one, two, one):
        await spool.append(writer.source, [writer.chunk()])
    again, positions = await opened(tmp_path)
    assert positions == {"one": one.position, "two": two.position}
    assert again.held() == {"one": ((1, 20),), "two": ((1, 10),)}
    frames = await everything(again)
    assert [(block.source, block.first) for block, _ in frames] == [("one", 1), ("two", 1), ("one", 11)]
    assert log_records.count(log_records.unpack(frames[0][1])) == 10
    again.close()


async def test_only_what_is_stored_is_let_go_and_files_go_with_their_last_record(tmp_path: Path) -> None:
    spool, _ = await opened(tmp_path, most_bytes=64 * 1024)
    writer = Writer()
    for _ in range(30):
        await spool.append(writer.source, [writer.chunk()])
    files = len(list(tmp_path.glob("*.frames")))
    assert files > 2
    spool.let_go("one", (1, 5))
    await spool.tidy()
    assert spool.held() == {"one": ((6, 300),)} and numbers(await everything(spool))[0] == 1
    spool.let_go("one", (6, 295))
    await spool.tidy()
    assert len(list(tmp_path.glob("*.frames"))) == 1 < files
    assert not spool.is_empty
    spool.let_go("one", (1, 400))
    assert spool.is_empty and not await everything(spool)
    spool.close()


@settings(max_examples=60)
@given(st.integers(0, 100), st.integers(1, 8))
def test_a_kill_at_any_byte_costs_only_the_torn_frame(percent: int, count: int) -> None:
    async def scenario(folder: Path) -> None:
        spool, _ = await opened(folder)
        writer, ends = Writer(), [(0, LogPosition())]
        for _ in range(count):
            await spool.append(writer.source, [writer.chunk(3)])
            ends.append((next(folder.glob("*.frames")).stat().st_size, writer.position))
        spool.close()
        cut = ends[-1][0] * percent // 100
        os.truncate(next(folder.glob("*.frames")), cut)
        again, positions = await opened(folder)
        expected = max(position.number for end, position in ends if end <= cut)
        assert positions.get("one", LogPosition()).number == expected and not again.gaps
        writer.position = positions.get("one", LogPosition())
        await again.append(writer.source, [writer.chunk(3)])
        assert numbers(await everything(again)) == list(range(1, expected + 4))
        again.close()

    with tempfile.TemporaryDirectory() as folder:
        run(scenario(Path(folder)))


@settings(max_examples=60)
@given(st.floats(0, 1, exclude_max=True), st.integers(2, 6))
def test_a_damaged_byte_is_told_as_gaps_or_read_again(place: float, count: int) -> None:
    """What is not intact is either before the position, and told, or behind it, and read again."""

    async def scenario(folder: Path) -> None:
        spool, _ = await opened(folder)
        writer = Writer()
        for _ in range(count):
            await spool.append(writer.source, [writer.chunk(3)])
        spool.close()
        path = next(folder.glob("*.frames"))
        data = bytearray(path.read_bytes())
        data[int(place * len(data))] ^= 0xFF
        path.write_bytes(data)
        again, positions = await opened(folder)
        known = numbers(await everything(again))
        told = [n for gap in again.gaps for n in range(gap.first, gap.last + 1)]
        reached = positions.get("one", LogPosition()).number
        first_left = 4 if 1 not in known else 1  # nothing tells what came before a container's first frame
        assert sorted(known + told) == list(range(min(first_left, reached + 1), reached + 1))
        assert all(gap.gap is not None and gap.gap.cause is GapCause.DAMAGED for gap in again.gaps)
        again.close()

    with tempfile.TemporaryDirectory() as folder:
        run(scenario(Path(folder)))


async def test_damage_that_comes_later_is_a_gap_with_its_lines(tmp_path: Path, spool: LogSpool) -> None:
    writer = Writer()
    sizes = [0]
    for parts in (0, 2, 0, 0):
        await spool.append(writer.source, [writer.chunk(10, parts=parts)])
        sizes.append(next(tmp_path.glob("*.frames")).stat().st_size)
    data = bytearray(next(tmp_path.glob("*.frames")).read_bytes())
    data[sizes[2] - 1] ^= 1  # a body
    data[sizes[2] + 4] ^= 1  # a header
    next(tmp_path.glob("*.frames")).write_bytes(data)
    frames = await everything(spool)
    assert numbers(frames) == [*range(1, 11), *range(31, 41)]
    found = [(gap.first, gap.last, gap.gap.lines) for gap in spool.gaps if gap.gap]
    assert found == [(11, 30, 18)] or found == [(11, 20, 8), (21, 30, 10)]
    for first, last in ((1, 10), (31, 40)):
        spool.let_go("one", (first, last))
    assert spool.held() == {"one": ((11, 30),)}


async def test_on_a_full_disk_nothing_is_half_written(tmp_path: Path, spool: LogSpool) -> None:
    writer = Writer()
    await spool.append(writer.source, [writer.chunk()])
    before, written, chunk = next(tmp_path.glob("*.frames")).stat().st_size, os.pwrite, writer.chunk()

    def full(descriptor: int, data: bytes, offset: int) -> int:
        if len(data) < 100:
            raise OSError(errno.ENOSPC, "no space left")
        return written(descriptor, data[: len(data) - 50], offset)

    with patch("os.pwrite", full), pytest.raises(OSError, match="no space"):
        await spool.append(writer.source, [chunk])
    assert next(tmp_path.glob("*.frames")).stat().st_size == before
    await spool.append(writer.source, [chunk])
    assert numbers(await everything(spool)) == list(range(1, 21))


# ------------------------------------------------------------------------------------------------ the bound


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(1, 40), st.integers(0, 3)), min_size=1, max_size=60
    ),
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 200), st.integers(0, 60)), max_size=6),
)
def test_what_the_bound_takes_is_told_exactly(
    chunks: list[tuple[str, int, int]], stored: list[tuple[str, int, int]]
) -> None:
    """Each record is in a frame, stored, or in exactly one gap; and the gaps' lines and bytes are those of the records in them."""

    async def scenario(folder: Path) -> None:
        spool, _ = await opened(folder, most_bytes=16 * 1024)
        writers = {name: Writer(name) for name in "ab"}
        written: dict[str, list[bytes]] = {"a": [], "b": []}
        done: dict[str, Ranges] = {"a": (), "b": ()}
        for at, (name, count, parts) in enumerate(chunks):
            chunk = writers[name].chunk(count, parts=min(parts, count))
            written[name] += log_records.split(log_records.unpack(chunk.body))
            await spool.append(writers[name].source, [chunk])
            if at % 10 == 5 and stored:
                let_go, first, length = stored[at % len(stored)]
                last = min(first + length, len(written[let_go]))
                if first <= last and not any(_meets(gap, let_go, first, last) for gap in spool.gaps):
                    spool.let_go(let_go, (first, last))
                    done[let_go] = added(done[let_go], (first, last))
        assert sum(path.stat().st_size for path in folder.glob("*.frames")) <= 20 * 1024
        _check(spool, written, done)
        spool.close()
        again, _ = await opened(folder, most_bytes=16 * 1024)
        assert again.gaps == spool.gaps, "gaps outlive the agent"
        again.close()

    with tempfile.TemporaryDirectory() as folder:
        run(scenario(Path(folder)))


def _meets(gap: LogBlock, name: str, first: int, last: int) -> bool:
    return gap.source == name and gap.first <= last and gap.last >= first


def _check(spool: LogSpool, written: dict[str, list[bytes]], done: dict[str, Ranges]) -> None:
    in_gaps: dict[str, Ranges] = {"a": (), "b": ()}
    for gap in spool.gaps:
        assert gap.gap is not None and gap.gap.cause is GapCause.SPOOL_FULL
        assert not common(in_gaps[gap.source], ((gap.first, gap.last),)), "no record is in two gaps"
        in_gaps[gap.source] = added(in_gaps[gap.source], (gap.first, gap.last))
        part = b"".join(each + b"\n" for each in written[gap.source][gap.first - 1 : gap.last])
        assert gap.gap.lines == log_records.count_lines(part)
        assert gap.gap.size_bytes == len(part)
        assert (gap.first_at_ns, gap.last_at_ns)[0] <= gap.first and gap.last <= gap.last_at_ns
    for name, records in written.items():
        if not records:
            continue
        left: Ranges = ((1, len(records)),)
        for each in done[name]:
            left = without(left, each)
        assert spool.held().get(name, ()) == left, "neither stored nor told is held"


async def test_a_gap_that_lies_in_the_spool_outlives_its_file(tmp_path: Path) -> None:
    spool, _ = await opened(tmp_path, most_bytes=16 * 1024)
    writer = Writer()
    gap = gap_chunk(GapCause.ROTATED, writer.position, 5, size_bytes=7)
    await spool.append(writer.source, [gap])
    writer.position = gap.position
    while not spool.gaps:
        await spool.append(writer.source, [writer.chunk()])
    assert [(g.first, g.gap.cause if g.gap else None) for g in spool.gaps][:2] == [
        (1, GapCause.ROTATED),
        (2, GapCause.SPOOL_FULL),
    ]
    spool.close()


def test_gaps_become_one_unless_they_were_sent() -> None:
    def gap(first: int, last: int) -> LogBlock:
        return LogBlock(
            node_id="nd-1", workload_id="wl-1", instance_id="in-1", project="default", slot=0, epoch=1, source="s",
            first=first, last=last, first_at_ns=first, last_at_ns=last,
            gap=LogGap(cause=GapCause.SPOOL_FULL, lines=last - first + 1, size_bytes=10),
        )  # fmt: skip

    def shape(gaps: tuple[LogBlock, ...]) -> list[tuple[int, int, int | None, int | None]]:
        return [(g.first, g.last, g.gap.lines, g.gap.size_bytes) for g in gaps if g.gap]

    three = merged([gap(1, 5)], [gap(6, 9), gap(20, 20)], ())
    assert shape(three) == [(1, 9, 9, 20), (20, 20, 1, 10)]
    assert shape(merged([gap(1, 5)], [gap(6, 9)], {("s", 1, 5)})) == [(1, 5, 5, 10), (6, 9, 4, 10)]
    assert shape(merged([gap(1, 5)], [gap(1, 5), gap(2, 3)], ())) == [(1, 5, 5, 10)]
    assert Gaps.model_validate_json(Gaps(gaps=three).model_dump_json(exclude_defaults=True)).gaps == three


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 6), st.booleans()), max_size=20))
def test_ranges_are_sets_of_numbers(steps: list[tuple[int, int, bool]]) -> None:
    ranges: Ranges = ()
    model: set[int] = set()
    for first, length, is_added in steps:
        mine = set(range(first, first + length + 1))
        before = ranges
        ranges = (added if is_added else without)(ranges, (first, first + length))
        kept = common(before, ((first, first + length),))
        assert {n for low, high in kept for n in range(low, high + 1)} == model & mine
        model = model | mine if is_added else model - mine
        assert {n for low, high in ranges for n in range(low, high + 1)} == model
        assert all(one[1] + 1 < two[0] for one, two in pairwise(ranges))
