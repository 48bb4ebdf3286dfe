"""Logs on their way: frames taken apart, lines put together and numbered, a place to go on from after a crash, blocks shipped once and in order."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.log_follower import BLOCK_BYTES
from agent.log_frames import FrameReader
from agent.log_lines import LONGEST_LINE, Line, LineReader, LogPosition
from lattice import log_records
from lattice.contracts.catalogue import LOG_BLOCK
from lattice.contracts.nouns import Phase
from lattice.messaging import Received
from lattice.runtime import LogPiece
from lattice.testing import FakeRuntime
from tests.fixtures.agent import IMAGE, Node, eventually, instance_of, key_of, tombstone_of

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


# ------------------------------------------------------------------------------------------------ lines


def piece(at: int, text: bytes, stream: str = "stdout") -> LogPiece:
    return LogPiece(stream, at, text)


def test_parts_of_a_line_become_one_line_per_stream() -> None:
    reader = LineReader(LogPosition())
    lines = reader.feed([piece(1, b"a"), piece(2, b"x\n", "stderr"), piece(3, b"b\n"), piece(4, b"rest")])
    assert lines == [Line(1, 2, "stderr", "x"), Line(2, 1, "stdout", "ab")]
    assert reader.end() == [Line(3, 4, "stdout", "rest")]


def test_bytes_that_are_no_text_are_replaced_and_long_lines_cut() -> None:
    reader = LineReader(LogPosition())
    assert reader.feed([piece(1, b"\xff\xfeok\n")])[0].text == "\ufffd\ufffdok"
    parts = [piece(2, b"x" * 16_384) for _ in range(10)]
    lines = reader.feed([*parts, piece(3, b"end\n")])
    assert [len(line.text) for line in lines] == [
        LONGEST_LINE,
        LONGEST_LINE,
        10 * 16_384 + 3 - 2 * LONGEST_LINE,
    ]


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


@settings(max_examples=400)
@given(logs(), st.lists(st.integers(1, 10), min_size=1, max_size=8))
def test_reading_goes_on_where_it_was_left_with_the_same_numbers(
    log: list[LogPiece], batches: list[int]
) -> None:
    whole = LineReader(LogPosition())
    wanted = [*whole.feed(log), *whole.end()]
    position, got = LogPosition(), dict[int, Line]()
    for size in [*batches, len(log)]:
        again = [each for each in log if each.time_ns >= position.base_ns]  # what the Engine's `since` gives
        reader = LineReader(position)
        # As much as was read before, and `size` pieces more: then the agent is killed.
        for line in reader.feed(again[: position.count + size]):
            assert got.setdefault(line.number, line) == line
        assert not reader.lost
        position = LogPosition.model_validate_json(reader.position.model_dump_json())
    for line in reader.end():
        assert got.setdefault(line.number, line) == line
    assert [got[number] for number in sorted(got)] == wanted


def test_rotation_beyond_the_position_is_noticed_and_nothing_is_sent_twice() -> None:
    reader = LineReader(LogPosition())
    reader.feed([piece(1, b"a\n"), piece(2, b"b\n"), piece(3, b"c\n")])
    again = LineReader(reader.position)
    assert again.feed([piece(3, b"c\n"), piece(4, b"d\n")]) == [Line(4, 4, "stdout", "d")]
    assert again.lost
    third = LineReader(again.position)
    assert third.feed([piece(4, b"d\n"), piece(5, b"e\n")]) == [Line(5, 5, "stdout", "e")]
    assert not third.lost


# ------------------------------------------------------------------------------------------------ shipping


class Shelf:
    """The log store's part: blocks by number, each line once."""

    def __init__(self) -> None:
        self.lines: dict[int, str] = {}
        self.largest_raw = 0

    async def store(self, received: Received[Any]) -> None:
        message, records = received.message, log_records.unpack(received.body)
        rows = list(log_records.lines(records, message.first))
        self.largest_raw = max(self.largest_raw, sum(len(row.text) for row in rows))
        assert log_records.count(records) == message.last - message.first + 1
        assert log_records.first_and_last_ns(records) == (message.first_at_ns, message.last_at_ns)
        for row in rows:
            assert self.lines.setdefault(row.number, row.text) == row.text


async def shipped_node(tmp_path: Path) -> tuple[Node, FakeRuntime, Shelf]:
    runtime = FakeRuntime(images=(IMAGE,))
    node, shelf = Node(runtime, tmp_path), Shelf()
    await node.bus.subscribe(LOG_BLOCK, shelf.store, node_id=node.node_id)
    return node, runtime, shelf


NAME = key_of().container_name("c1")


async def test_lines_are_shipped_in_blocks_with_their_owner(tmp_path: Path) -> None:
    node, runtime, shelf = await shipped_node(tmp_path)
    async with node.run():
        await node.want(instance_of(key_of()))
        await node.until(key_of(), lambda c: c.phase is Phase.RUNNING)
        for number in range(2000):
            runtime.write(NAME, f"{number} " + "x" * 100, time_ns=number)
        await eventually(lambda: len(shelf.lines) == 2000)
    assert shelf.largest_raw <= BLOCK_BYTES
    about = node.bus.sent(LOG_BLOCK)[0]
    assert (about.workload_id, about.instance_id, about.slot, about.epoch, about.project) == (
        "wl-1", "in-wl-1-0-1", 0, 1, "default",
    )  # fmt: skip


async def test_while_the_bus_is_away_nothing_is_lost(tmp_path: Path) -> None:
    node, runtime, shelf = await shipped_node(tmp_path)
    async with node.run():
        await node.want(instance_of(key_of()))
        await node.until(key_of(), lambda c: c.phase is Phase.RUNNING)
        runtime.write(NAME, "before", time_ns=1)
        await eventually(lambda: len(shelf.lines) == 1)
        node.bus.disconnect()
        for number in range(500):
            runtime.write(NAME, f"away {number}", time_ns=2 + number)
        await asyncio.sleep(0.05)
        await node.bus.reconnect()
        await eventually(lambda: len(shelf.lines) == 501)
    assert list(shelf.lines.values())[1:] == [f"away {number}" for number in range(500)]


async def test_the_last_words_of_a_removed_container_are_kept(tmp_path: Path) -> None:
    node, runtime, shelf = await shipped_node(tmp_path)
    async with node.run():
        await node.want(instance_of(key_of()))
        await node.until(key_of(), lambda c: c.phase is Phase.RUNNING)
        runtime.write(NAME, "last words", time_ns=1)
        await node.want(tombstones=(tombstone_of(key_of()),))
        await node.until_gone(key_of())
        assert list(shelf.lines.values()) == ["last words"]
        assert not node.told("logs_lost")


async def test_after_a_crash_numbers_go_on(tmp_path: Path) -> None:
    node, runtime, shelf = await shipped_node(tmp_path)
    async with node.run():
        await node.want(instance_of(key_of()))
        await node.until(key_of(), lambda c: c.phase is Phase.RUNNING)
        for number in range(10):
            runtime.write(NAME, f"{number}", time_ns=number + 1)
        await eventually(lambda: len(shelf.lines) == 10)
    (tmp_path / "data/log-positions.json").write_text("{torn")
    for number in range(10, 20):
        runtime.write(NAME, f"{number}", time_ns=number + 1)
    async with node.run():
        await eventually(lambda: len(shelf.lines) == 20)
    assert [shelf.lines[number] for number in sorted(shelf.lines)] == [str(number) for number in range(20)]
