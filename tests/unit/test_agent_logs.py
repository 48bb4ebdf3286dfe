"""Logs on their way from a node: the API's frames and pieces, and the whole way from what a container prints to the store."""

from __future__ import annotations

import asyncio
import errno
import json
import struct
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.log_chunks import CHUNK_BYTES, Chunk
from agent.log_frames import FrameReader
from agent.log_pieces import PieceReader
from agent.log_place import LogPosition
from agent.log_segments import Segment
from lattice import log_records
from lattice.contracts.catalogue import LOG_BLOCK
from lattice.contracts.messages import GapCause
from lattice.contracts.nouns import Phase
from lattice.runtime import LogPiece
from lattice.testing import FakeRuntime
from tests.fixtures.agent import IMAGE, Node, eventually, instance_of, key_of, tombstone_of
from tests.fixtures.log_shelf import Shelf

STAMP = b"2030-01-02T03:04:05.000000007Z"
STAMP_NS = 1893553445_000000007


def frame(stream: int, text: bytes) -> bytes:
    body = STAMP + b" " + text
    return struct.pack(">BxxxL", stream, len(body)) + body


# ------------------------------------------------------------------------------------------------ frames


@given(st.lists(st.integers(1, 60), min_size=1, max_size=30))
def test_frames_are_found_however_the_bytes_are_cut(cuts: list[int]) -> None:
    data = frame(1, b"one\n") + frame(2, b"two\n") + frame(1, b"")
    reader, pieces, at = FrameReader(), [], 0
    for cut in [*cuts, len(data)]:
        pieces += reader.feed(data[at : at + cut])
        at += cut
    assert pieces == [
        LogPiece("stdout", STAMP_NS, b"one\n"),
        LogPiece("stderr", STAMP_NS, b"two\n"),
        LogPiece("stdout", STAMP_NS, b""),
    ]


# ------------------------------------------------------------------------------------------------ pieces


def piece(at: int, text: bytes, stream: str = "stdout") -> LogPiece:
    return LogPiece(stream, at, text)


def records(chunks: list[Chunk]) -> dict[int, bytes]:
    return {
        number: record
        for chunk in chunks
        if chunk.gap is None
        for number, record in enumerate(log_records.split(log_records.unpack(chunk.body)), chunk.first)
    }


def test_a_piece_is_a_record_and_bytes_that_are_no_text_are_replaced() -> None:
    chunks = PieceReader(LogPosition()).feed(
        [piece(1, b"a"), piece(2, b"x\n", "stderr"), piece(3, b"\xffb\n")]
    )
    assert records(chunks) == {
        1: log_records.record(1, "stdout", "a").rstrip(b"\n"),
        2: log_records.record(2, "stderr", "x\n").rstrip(b"\n"),
        3: log_records.record(3, "stdout", "\ufffdb\n").rstrip(b"\n"),
    }
    assert chunks[0].pieces == 1


@st.composite
def logs(draw: st.DrawFn) -> list[LogPiece]:
    """A log whose times run forward but are out of order by up to a second here and there."""
    at, pieces = 10**12, []
    for _ in range(draw(st.integers(1, 40))):
        at += draw(st.integers(0, 3 * 10**9))
        late = draw(st.integers(0, 10**9)) if draw(st.booleans()) else 0
        text = draw(st.sampled_from([b"line\n", b"part", b"\n"]))
        pieces.append(piece(at - late, text, draw(st.sampled_from(["stdout", "stderr"]))))
    return pieces


# The greatest time is neither the first nor the last of what was read when it was left.
_GREATEST_WITHIN = [*[0] * 14, 1, 0, *[1] * 7, *[2 * 10**9 + 2] * 10]


@settings(max_examples=400)
@example([piece(10**12 + at, b"line\n") for at in _GREATEST_WITHIN], [6, 10, 8])
@given(logs(), st.lists(st.integers(1, 10), min_size=1, max_size=8))
def test_reading_goes_on_where_it_was_left_with_the_same_numbers(
    log: list[LogPiece], batches: list[int]
) -> None:
    wanted = records(PieceReader(LogPosition()).feed(log))
    position, got = LogPosition(), dict[int, bytes]()
    for size in [*batches, len(log)]:
        again = [each for each in log if each.time_ns >= position.base_ns]  # what the Engine's `since` gives
        reader = PieceReader(position)
        # As much as was read before, and `size` pieces more: then the agent is killed.
        chunks = reader.feed(again[: position.count + size])
        assert all(chunk.gap is None for chunk in chunks)
        for number, record in records(chunks).items():
            assert got.setdefault(number, record) == record
        position = LogPosition.model_validate_json(reader.position.model_dump_json())
    assert got == wanted


def test_rotation_beyond_the_position_is_a_gap_and_nothing_is_read_twice() -> None:
    reader = PieceReader(LogPosition())
    reader.feed([piece(1, b"a\n"), piece(2, b"b\n"), piece(3, b"c\n")])
    again = PieceReader(reader.position)
    gap, chunk = again.feed([piece(3, b"c\n"), piece(4, b"d\n")])
    assert gap.gap is not None and gap.gap.cause is GapCause.ROTATED and (gap.first, gap.last) == (4, 4)
    assert records([chunk]) == {5: log_records.record(4, "stdout", "d\n").rstrip(b"\n")}
    third = PieceReader(again.position)
    assert list(records(third.feed([piece(4, b"d\n"), piece(5, b"e\n")]))) == [6]


def test_a_position_in_a_file_goes_on_by_time_in_the_stream() -> None:
    position = LogPosition(number=7, last_ns=3, inode=1, fingerprint="f", offset=99)
    assert list(records(PieceReader(position).feed([piece(3, b"c\n"), piece(4, b"d\n")]))) == [8]
    assert [c.gap is None for c in PieceReader(position).feed([piece(9, b"z\n")])] == [False, True]


# ------------------------------------------------------------------------------------------------ shipping


@pytest.fixture(params=["files", "stream"])
async def shipped(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Node, FakeRuntime, Shelf]:
    root = tmp_path / "engine" if request.param == "files" else None
    runtime = FakeRuntime(images=(IMAGE,), logs_root=root)
    node = Node(runtime, tmp_path)
    shelf = Shelf(node.bus, node.node_id)
    await shelf.start()
    return node, runtime, shelf


Shipped = tuple[Node, FakeRuntime, Shelf]
NAME = key_of().container_name("c1")


async def started(node: Node) -> None:
    await node.want(instance_of(key_of()))
    await node.until(key_of(), lambda c: c.phase is Phase.RUNNING)


async def test_lines_are_shipped_in_blocks_with_their_owner(shipped: Shipped) -> None:
    node, runtime, shelf = shipped
    async with node.run() as agent:
        await started(node)
        for number in range(10_000):
            runtime.write(NAME, f"{number} " + "x" * 100, time_ns=number)
        await eventually(lambda: len(shelf.all_lines) == 10_000)
        await eventually(lambda: agent.logs.spool.is_empty)
    assert shelf.largest_bytes <= 2 * CHUNK_BYTES
    about = node.bus.sent(LOG_BLOCK)[0]
    assert (about.workload_id, about.instance_id, about.slot, about.epoch, about.project) == (
        "wl-1", "in-wl-1-0-1", 0, 1, "default",
    )  # fmt: skip


async def test_while_the_bus_is_away_nothing_is_lost(shipped: Shipped) -> None:
    node, runtime, shelf = shipped
    async with node.run():
        await started(node)
        runtime.write(NAME, "before", time_ns=1)
        await eventually(lambda: len(shelf.all_lines) == 1)
        node.bus.disconnect()
        for number in range(500):
            runtime.write(NAME, f"away {number}", time_ns=2 + number)
        await asyncio.sleep(0.05)
        await node.bus.reconnect()
        await eventually(lambda: len(shelf.all_lines) == 501)
    assert shelf.all_lines[1:] == [f"away {number}" for number in range(500)]


async def test_the_last_words_of_a_container_removed_while_the_bus_is_away_are_kept(shipped: Shipped) -> None:
    node, runtime, shelf = shipped
    async with node.run():
        await started(node)
        runtime.write(NAME, "last words", time_ns=1)
        document = await node.want(tombstones=(tombstone_of(key_of()),))
        await eventually(lambda: runtime.calls.count(("remove", NAME)))
        assert document.generation == 2 and not node.told("logs_lost")
        await eventually(lambda: shelf.all_lines == ["last words"])


async def test_a_removal_does_not_wait_for_the_platform(shipped: Shipped) -> None:
    node, runtime, shelf = shipped
    async with node.run():
        await started(node)
        await node.want(tombstones=(tombstone_of(key_of()),))
        node.bus.disconnect()
        runtime.write(NAME, "last words", time_ns=1)
        await eventually(lambda: ("remove", NAME) in runtime.calls, timeout_s=4.0)
    await node.bus.reconnect()
    async with node.run():
        await eventually(lambda: shelf.all_lines == ["last words"])
    assert not node.told("logs_lost")


async def test_a_full_disk_holds_up_no_removal_and_no_other_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = FakeRuntime(images=(IMAGE,), logs_root=tmp_path / "engine")
    node = Node(runtime, tmp_path)
    shelf = Shelf(node.bus, node.node_id)
    await shelf.start()
    written = Segment.write

    def full(segment: Segment, data: bytes) -> None:
        if b'"slot":1' in data:
            raise OSError(errno.ENOSPC, "no space left on device")
        written(segment, data)

    async with node.run():
        await node.want(instance_of(key_of(slot=1)), instance_of(key_of(slot=0)))
        await node.until(key_of(slot=0), lambda c: c.phase is Phase.RUNNING)
        await node.until(key_of(slot=1), lambda c: c.phase is Phase.RUNNING)
        monkeypatch.setattr(Segment, "write", full)
        runtime.write(key_of(slot=1).container_name("c1"), "no room", time_ns=1)
        runtime.write(NAME, "room", time_ns=1)
        await eventually(lambda: shelf.all_lines == ["room"])
        await node.want(instance_of(key_of(slot=0)), tombstones=(tombstone_of(key_of(slot=1)),))
        await node.until_gone(key_of(slot=1))
        await eventually(lambda: node.told("logs_lost"))


async def test_after_a_crash_numbers_go_on(shipped: Shipped, tmp_path: Path) -> None:
    node, runtime, shelf = shipped
    async with node.run():
        await started(node)
        for number in range(10):
            runtime.write(NAME, f"{number}", time_ns=number + 1)
        await eventually(lambda: len(shelf.all_lines) == 10)
    (tmp_path / "data/log-positions.json").write_text("{torn")
    for number in range(10, 20):
        runtime.write(NAME, f"{number}", time_ns=number + 1)
    async with node.run():
        await eventually(lambda: len(shelf.all_lines) == 20)
    assert shelf.all_lines == [str(number) for number in range(20)]


async def test_positions_of_an_earlier_agent_do_not_hinder_the_start(
    shipped: Shipped, tmp_path: Path
) -> None:
    node, runtime, shelf = shipped
    async with node.run():
        await started(node)
        for number in range(5):
            runtime.write(NAME, f"{number}", time_ns=number + 1)
        await eventually(lambda: len(shelf.all_lines) == 5)
        source = next(iter(shelf.records))
    old = {"containers": {source: {"base_ns": 1, "first_ns": 1, "last_ns": 3, "count": 3, "line": 3}}}
    (tmp_path / "data/log-positions.json").write_text(json.dumps(old))
    for segment in (tmp_path / "data/log-spool").iterdir():
        segment.unlink()
    runtime.write(NAME, "5", time_ns=6)
    async with node.run():
        await eventually(lambda: len(shelf.all_lines) == 6)
    assert shelf.numbers(source) == [1, 2, 3, 4, 5, 6]


async def test_the_last_lines_are_known(shipped: Shipped) -> None:
    node, runtime, shelf = shipped
    async with node.run() as agent:
        await started(node)
        for number in range(50):
            runtime.write(NAME, f"{number} " + "x" * 300, time_ns=number + 1)
        await eventually(lambda: len(shelf.all_lines) == 50)
        (source,) = shelf.records
        (lines,) = agent.logs.tails([source]).values()
    assert [line.split()[0] for line in lines] == [str(number) for number in range(30, 50)]
    assert max(map(len, lines)) == 256
