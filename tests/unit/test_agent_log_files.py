"""The Engine's own log files, read by place: any rotation, crash and chunk gives each record its number once, and what is lost is a gap."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import log_chunks, log_files
from agent.log_chunks import CHUNK_BYTES, Chunk, LogSource, end_of_records, tail_lines, tail_of
from agent.log_collecting import LogCollecting
from agent.log_file_follower import FileFollower
from agent.log_files import is_readable
from agent.log_place import FileSeen, LogPosition, Start, following, start_at
from agent.log_spool import LogSpool
from lattice import log_records
from lattice.contracts.messages import GapCause
from lattice.runtime import Container, LogPiece, RunState
from lattice.testing import FakeRuntime
from lattice.testing.runtime_logs import FakeLogFiles
from tests.fixtures.agent import key_of

ID = "c0ffee"
SOURCE = LogSource(node_id="nd-1", container_id=ID, key=key_of(), instance_id="in-1", project="default")


class Engine:
    """One container's files, and every record that was ever written, by its number."""

    def __init__(self, root: Path) -> None:
        self.files = FakeLogFiles(root)
        self.path = self.files.path(ID)
        self.written: list[bytes] = []
        self.files.make(ID)

    def write(self, text: str, *, at_ns: int | None = None) -> None:
        number = len(self.written) + 1
        time_ns = at_ns if at_ns is not None else number * 1000
        self.files.write(ID, LogPiece("stdout", time_ns, text.encode()))
        self.written.append(log_records.record(time_ns, "stdout", text).rstrip(b"\n"))

    def rotate(self) -> None:
        self.files.rotate(ID)


class Reader:
    """A follower that is killed and made again, and what came of it."""

    def __init__(self, engine: Engine, position: LogPosition | None = None) -> None:
        self.engine = engine
        self.got: dict[int, bytes] = {}
        self.gaps: list[Chunk] = []
        self.follower = FileFollower(SOURCE, str(engine.path), position or LogPosition())

    def step(self, *, keep: bool = True) -> bool:
        chunks = self.follower.read()
        if chunks and keep:
            self.note(chunks)
            self.follower.advance()
        return bool(chunks)

    def note(self, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            if chunk.gap is not None:
                self.gaps.append(chunk)
                continue
            for number, record in enumerate(log_records.split(log_records.unpack(chunk.body)), chunk.first):
                assert number not in self.got, "each number once"
                self.got[number] = record

    def read_out(self) -> None:
        while self.step():
            pass

    def die(self) -> None:
        kept = LogPosition.model_validate_json(self.follower.position.model_dump_json())
        self.follower.close()
        self.follower = FileFollower(SOURCE, str(self.engine.path), kept)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(tmp_path)


@pytest.fixture
def reader(engine: Engine) -> Iterator[Reader]:
    reader = Reader(engine)
    yield reader
    reader.follower.close()


def causes(reader: Reader) -> list[GapCause]:
    return [gap.gap.cause for gap in reader.gaps if gap.gap is not None]


# ------------------------------------------------------------------------------------------------ the promise

STEPS = st.sampled_from(["write", "long", "rotate", "read", "read", "read and lose", "die"])


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, max_size=40), st.integers(200, 2000))
def test_each_record_has_its_number_once_or_is_a_gap(steps: list[str], chunk_bytes: int) -> None:
    """A record is lost only where the Engine threw its file away; then a gap with a time span that holds it says so."""
    with (
        tempfile.TemporaryDirectory() as root,
        patch.object(log_chunks, "CHUNK_BYTES", chunk_bytes),
        patch.object(log_files, "CHUNK_BYTES", chunk_bytes),
    ):
        reader = Reader(Engine(Path(root)))
        for step in steps:
            _do(step, reader)
        reader.engine.write("the end\n")  # a gap is told with what comes after it
        reader.read_out()
        reader.follower.close()
        got = [reader.got[number] for number in sorted(reader.got)]
        lost = [record for record in reader.engine.written if record not in got]
        assert got == [record for record in reader.engine.written if record in got], "in order, none twice"
        for record in lost:
            at_ns = log_records.time_ns_of(record)
            assert any(_begins_ns(gap, reader) <= at_ns <= gap.last_at_ns for gap in reader.gaps)
        if not reader.gaps:
            assert sorted(reader.got) == list(range(1, len(reader.engine.written) + 1))


def _begins_ns(gap: Chunk, reader: Reader) -> int:
    """A gap before everything has no beginning."""
    return gap.first_at_ns if gap.first > min(reader.got) else 0


def _do(step: str, reader: Reader) -> None:
    engine = reader.engine
    match step:
        case "write":
            engine.write(f"line {len(engine.written)}\n")
        case "long":
            engine.write("x" * 90)
        case "rotate":
            engine.rotate()
        case "read":
            reader.step()
        case "read and lose":
            reader.step(keep=False)
        case _:
            reader.die()


# ------------------------------------------------------------------------------------------------ single cases


def test_it_goes_on_through_rotations_while_it_was_away(engine: Engine, reader: Reader) -> None:
    engine.write("a\n")
    reader.read_out()
    reader.die()
    for text in ("b\n", "c\n"):
        engine.write(text)
        engine.rotate()
    engine.write("d\n")
    reader.read_out()
    assert [reader.got[n] for n in sorted(reader.got)] == engine.written and not reader.gaps


def test_what_was_rotated_away_is_one_gap_with_its_time(engine: Engine, reader: Reader) -> None:
    engine.write("a\n")
    reader.read_out()
    reader.die()
    for text in ("b\n", "c\n", "d\n", "e\n"):
        engine.rotate()
        engine.write(text)
    reader.read_out()
    assert causes(reader) == [GapCause.ROTATED] and sorted(reader.got) == [1, 3, 4, 5]
    assert (reader.gaps[0].first_at_ns, reader.gaps[0].last_at_ns) == (1000, 3000)
    assert (reader.gaps[0].first, reader.gaps[0].last) == (2, 2)


def test_an_open_file_is_read_to_its_end_after_it_lost_its_name(engine: Engine, reader: Reader) -> None:
    engine.write("a\n")
    reader.read_out()
    engine.write("b\n")
    for text in ("c\n", "d\n", "e\n"):
        engine.rotate()
        engine.write(text)
    reader.read_out()
    assert [reader.got[n] for n in sorted(reader.got)][:2] == engine.written[:2]
    assert causes(reader) == [GapCause.ROTATED], "whether another file came between cannot be known"


def test_files_that_come_while_it_reads_are_kept_open(engine: Engine, reader: Reader) -> None:
    for number in range(6):
        engine.write(f"{number}\n")
        engine.rotate()
        assert reader.follower.read(), "and its chunk is not kept, so it stays behind"
    engine.write("new\n")
    reader.read_out()
    assert [reader.got[n] for n in sorted(reader.got)] == engine.written and not reader.gaps


def test_an_inode_that_was_used_again_is_another_file() -> None:
    position = LogPosition(number=5, last_ns=9, inode=7, fingerprint="old", offset=100)
    assert start_at(position, [FileSeen(7, "new")]) == Start(0, gap=GapCause.ROTATED, after_ns=9)
    assert start_at(position, [FileSeen(6, "x"), FileSeen(7, "old"), FileSeen(8, "y")]) == Start(1, 100)
    assert (following(7, [6, 7, 8]), following(8, [6, 7, 8]), following(9, [6, 7, 8])) == (2, 3, 0)


def test_without_a_position_numbers_begin_with_1_only_where_nothing_can_be_missing() -> None:
    files = [FileSeen(1, "a"), FileSeen(2, "b")]
    earlier = LogPosition.model_validate({"line": 7, "last_ns": 9, "base_ns": 1, "count": 7})
    assert start_at(LogPosition(), files) == start_at(earlier, files) == Start(0, from_first=True)
    files.append(FileSeen(3, "c"))
    assert start_at(LogPosition(), files) == Start(0, gap=GapCause.ROTATED, far_number=True)
    assert start_at(earlier, files) == Start(0, gap=GapCause.ROTATED, after_ns=9)


def test_after_a_lost_journal_no_number_is_used_for_another_record(engine: Engine, reader: Reader) -> None:
    second_ns = 10**9
    for number in range(4):
        engine.write("x\n", at_ns=1_900_000_000 * second_ns + number)
        engine.rotate()
    reader.read_out()
    assert causes(reader) == [GapCause.ROTATED] and min(reader.got) > 1_900_000_000 * 10**6


def test_an_end_that_a_power_cut_took_is_a_gap_and_the_rest_is_read(engine: Engine, reader: Reader) -> None:
    for number in range(10):
        engine.write(f"{number}\n")
    reader.read_out()
    reader.die()
    os.truncate(engine.path, engine.path.stat().st_size // 2)
    last = log_records.split(engine.path.read_bytes())[-1]
    with engine.path.open("ab") as file:
        file.write(b"\x00" * 50 + log_records.record(50_000, "stdout", "torn\n"))
        file.write(log_records.record(60_000, "stdout", "new\n"))
    reader.read_out()
    assert last and causes(reader) == [GapCause.DAMAGED]
    assert log_records.record(60_000, "stdout", "new\n").rstrip(b"\n") in reader.got.values()
    assert [n for n in reader.got if n <= 10] == list(range(1, 11)), "what was read keeps its numbers"


def test_an_emptied_file_is_a_gap(engine: Engine, reader: Reader) -> None:
    engine.write("a\n")
    engine.write("b\n")
    reader.read_out()
    os.truncate(engine.path, 0)
    engine.write("c\n")
    reader.read_out()
    assert causes(reader) == [GapCause.DAMAGED] and sorted(reader.got) == [1, 2, 4]


def test_a_record_without_an_end_waits_and_is_lost_with_its_file(engine: Engine, reader: Reader) -> None:
    engine.write("a\n")
    with engine.path.open("ab") as file:
        file.write(b'{"log":"torn')
    reader.read_out()
    assert sorted(reader.got) == [1] and not reader.gaps
    engine.rotate()
    engine.write("b\n")
    reader.read_out()
    assert causes(reader) == [GapCause.DAMAGED] and sorted(reader.got) == [1, 3]
    assert reader.gaps[0].gap is not None and reader.gaps[0].gap.size_bytes == 12


def test_bytes_that_are_no_records_are_bounded_and_told(engine: Engine, reader: Reader) -> None:
    engine.write("a\n")
    with engine.path.open("ab") as file:
        file.truncate(3 * CHUNK_BYTES)
    with engine.path.open("ab") as file:
        file.write(b"\n")
    engine.write("b\n")
    reader.read_out()
    assert set(causes(reader)) == {GapCause.DAMAGED}
    assert engine.written[-1] in reader.got.values()
    reader.die()
    assert not reader.step()


def test_a_line_of_100_mb_is_read_in_pieces(engine: Engine, reader: Reader) -> None:
    piece = log_records.record(5, "stdout", "x" * 16384)
    with engine.path.open("ab") as file:
        for _ in range(100 * 2**20 // 16384 // 16):  # a sixteenth: its size must not matter
            file.write(piece)
        file.write(log_records.record(5, "stdout", "end\n"))
    most, pieces = 0, 0
    while chunks := reader.follower.read():
        most = max(most, chunks[0].size_bytes)
        pieces += chunks[0].pieces
        reader.note(chunks)
        reader.follower.advance()
    assert most <= CHUNK_BYTES and pieces == 400 and len(reader.got) == 401


def test_a_silent_file_is_not_read(engine: Engine, reader: Reader) -> None:
    assert reader.follower.unread_bytes() > 0
    reader.read_out()
    assert reader.follower.unread_bytes() == 0
    engine.write("a\n")
    assert reader.follower.unread_bytes() == engine.path.stat().st_size
    reader.read_out()
    assert reader.follower.unread_bytes() == 0
    engine.rotate()
    assert reader.follower.unread_bytes() > 0


def test_only_json_files_that_can_be_opened_are_read(tmp_path: Path) -> None:
    (tmp_path / "x-json.log").touch()
    (tmp_path / "ctr.log").touch()
    assert is_readable(str(tmp_path / "x-json.log"))
    assert not is_readable(str(tmp_path / "ctr.log")) and not is_readable(str(tmp_path / "y-json.log"))
    assert not is_readable("")


def test_a_full_chunk_is_cut_at_the_end_of_a_line() -> None:
    line, part = log_records.record(1, "stdout", "a\n"), log_records.record(1, "stdout", "b" * 100)
    assert end_of_records(line + part + b'{"log') == len(line + part)
    full = line + part * (CHUNK_BYTES // len(part) + 1)
    assert end_of_records(full[:CHUNK_BYTES]) == len(line)
    parts = (part * (CHUNK_BYTES // len(part) + 1))[:CHUNK_BYTES]
    assert end_of_records(parts) == CHUNK_BYTES // len(part) * len(part)
    assert end_of_records(b"no record") == 0


def test_the_tail_is_whole_records() -> None:
    tail = b""
    for number in range(100):
        tail = tail_of(tail, log_records.record(number, "stdout", f"{number}\n"))
    assert tail_lines(tail) == tuple(str(number) for number in range(80, 100))
    long = b"".join(log_records.record(n, "stdout", f"{n}" + "x" * 5000 + "\n") for n in range(50))
    lines = tail_lines(tail_of(tail, long))
    assert 0 < len(lines) < 20 and all(len(line) == 256 for line in lines)


# ------------------------------------------------------------------------------------------------ rounds


class BusySpool(LogSpool):
    """While it takes chunks, the container writes on."""

    says: list[str]
    engine: Engine

    async def append(self, source: LogSource, chunks: Sequence[Chunk]) -> None:
        await super().append(source, chunks)
        if self.says:
            self.engine.write(self.says.pop(0))


async def test_a_round_ends_though_a_container_never_stops_writing(engine: Engine, tmp_path: Path) -> None:
    """Else it would be read line by line, each in a block of its own."""
    spool = BusySpool(tmp_path / "spool")
    spool.engine, spool.says = engine, ["two\n", "x" * 100_000 + "\n", "four\n"]
    await spool.open({})
    collecting = LogCollecting(FakeRuntime(), spool, is_urgent=lambda: True, lost=lambda _: None)
    path = str(engine.path)
    running = Container(id=ID, name=ID, image_id="", labels={}, state=RunState.RUNNING, log_path=path)
    collecting.follow(SOURCE, running, LogPosition())
    engine.write("one\n")
    ends = []
    for _ in range(3):
        await collecting.collect()
        ends.append(collecting.positions()[ID].number)
    await collecting.close()
    spool.close()
    assert ends == [1, 3, 4], "only what is worth a block is read in the same round"
