"""Packing closed segments: the same lines in fewer blocks, at whatever moment the process dies and whoever reads meanwhile."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lattice import log_records
from services.logs import compaction, segments
from services.logs.reading import Reader
from services.logs.retention import Policy, removals
from services.logs.store import Incoming, Limits, LogStore
from services.logs.words import words_of
from tests.fixtures.log_blocks import START_NS, a_block, incoming, packed
from tests.fixtures.log_store import NOW_NS, blocks, kept, opened, pack_all, put, segment_files

DAY_NS = 86_400 * 10**9
LIMITS = Limits(segment_bytes=2**30, segment_age_s=1000)
# By then a segment of NOW_NS is closed, and what is put begins another one.
LATER_NS = NOW_NS + 2000 * 10**9


def two_segments(store: LogStore) -> None:
    """The first one closed: two containers whose small blocks alternate, with a hole and a gap."""
    other = {"source": "other", "instance_id": "in-2"}
    put(
        store,
        incoming(1, 5), incoming(1, 3, **other), incoming(6, 9), a_gap(10, 14), incoming(4, 7, **other),
        incoming(15, 19), incoming(25, 29), incoming(30, 34),
    )  # fmt: skip
    put(store, incoming(35, 36), now_ns=LATER_NS)


def a_gap(first: int, last: int) -> Incoming:
    gap = {"cause": "spool_full", "lines": last - first + 1}
    return Incoming(a_block(first, last, gap=gap), "orders", b"")


ALL = {"c0ffee": [*range(1, 10), *range(15, 20), *range(25, 37)], "other": [*range(1, 8)]}


def test_neighbours_become_one_block_and_nothing_else_changes(tmp_path: Path) -> None:
    with opened(tmp_path, LIMITS) as store:
        two_segments(store)
        assert pack_all(store, LATER_NS) == 1
        assert segment_files(tmp_path) == [".index", ".packed", ".seg"]
        assert kept(store) == ALL
    with opened(tmp_path, LIMITS) as store:
        assert not store.damage
        assert kept(store) == ALL
        found = sorted(block.lines for block in blocks(store))
        assert found == [(1, 7), (1, 9), (10, 14), (15, 19), (25, 34), (35, 36)]
        about = next(block.header.block for block in blocks(store) if block.lines == (25, 34))
        assert (about.first_at_ns, about.last_at_ns) == (START_NS + 25 * 10**9, START_NS + 34 * 10**9)
        (gap,) = (each.header.block.gap for each in blocks(store) if each.header.block.gap)
        assert gap.lines == 5
        assert put(store, incoming(1, 36))[0].stored[0].lines == (20, 24)


def test_what_was_packed_is_packed_once_and_takes_no_more_blocks(tmp_path: Path) -> None:
    with opened(tmp_path, LIMITS) as store:
        put(store, incoming(1, 5))
        assert pack_all(store, NOW_NS) == 0, "it grows"
        assert pack_all(store, LATER_NS) == 1, "old enough, though nothing followed it"
        assert pack_all(store, LATER_NS) == 0
        put(store, incoming(6, 9), now_ns=NOW_NS - DAY_NS)  # the clock was set back
        assert segment_files(tmp_path) == [".index", ".packed", ".seg"]
    with opened(tmp_path, LIMITS) as store:
        assert kept(store) == {"c0ffee": list(range(1, 10))}
        assert [growing for _, growing in store.index.segments()] == [False, True]


def test_blocks_grow_to_half_a_mebibyte_of_records(tmp_path: Path) -> None:
    text = "x" * 1000
    body = packed((START_NS + n, "stdout", f"{n} {text}") for n in range(100))
    with opened(tmp_path, LIMITS) as store:
        times = {"first_at_ns": START_NS, "last_at_ns": START_NS + 99}
        made = [Incoming(a_block(n * 100, n * 100 + 99, **times), "orders", body) for n in range(12)]
        put(store, *made)
        put(store, incoming(9000, 9001), now_ns=LATER_NS)
        pack_all(store, LATER_NS)
        assert [block.lines for block in blocks(store)][:3] == [(0, 399), (400, 799), (800, 1199)]
        assert all(len(log_records.unpack(segments.read_body(block))) < 512 * 1024 for block in blocks(store))


# ---------------------------------------------------------------- words


def test_a_search_for_a_rare_word_leaves_packed_blocks_out(tmp_path: Path) -> None:
    with opened(tmp_path, LIMITS) as store:
        put(store, incoming(1, 50))
        put(store, incoming(51, 60), now_ns=LATER_NS)
        pack_all(store, LATER_NS)
        packed_block, fresh = blocks(store)
        for sought, there in ((" line ", True), (" line 17 ", True), (" needle ", False), ("needle", True)):
            assert packed_block.may_contain(words_of(sought)) is there, sought
        assert fresh.may_contain(["needle"]), "nobody has looked yet"


def test_a_filter_that_is_damaged_or_gone_leaves_nothing_out(tmp_path: Path) -> None:
    with opened(tmp_path, LIMITS) as store:
        put(store, incoming(1, 50))
        put(store, incoming(51, 60), now_ns=LATER_NS)
        pack_all(store, LATER_NS)
        block = blocks(store)[0]
        assert not block.may_contain(["needle"])
        assert block.words is not None
        damaged = bytearray(block.words.path.read_bytes())
        damaged[block.words.offset] ^= 1
        block.words.path.write_bytes(damaged)
        assert block.may_contain(["needle"])
        block.words.path.unlink()
        assert block.may_contain(["needle"])


# ---------------------------------------------------------------- readers, retention, crashes


def test_a_query_that_began_before_finds_every_line(tmp_path: Path) -> None:
    with opened(tmp_path, LIMITS) as store:
        two_segments(store)
        before = blocks(store)
        pack_all(store, LATER_NS)
        assert kept(store, of=before) == ALL
        store.remove(removals(store.kept(), Policy(1, 1), NOW_NS + DAY_NS))
        with pytest.raises(FileNotFoundError):
            Reader(store.index).body(before[0])


def test_a_segment_that_is_let_go_while_it_is_packed_stays_gone(tmp_path: Path) -> None:
    with opened(tmp_path, LIMITS) as store:
        two_segments(store)
        closed = store.close_next(LATER_NS)
        assert closed is not None
        made = store.pack(*closed, threading.Event())
        assert made is not None
        store.remove(removals(store.kept(), Policy(1, 2**30), NOW_NS + DAY_NS))
        store.packed(closed[0], made)
        assert segment_files(tmp_path) == []
        assert kept(store) == {}


def test_a_packed_segment_is_let_go_with_its_index(tmp_path: Path) -> None:
    with opened(tmp_path, LIMITS) as store:
        two_segments(store)
        pack_all(store, LATER_NS)
        store.remove(removals(store.kept(), Policy(1, 2**30), NOW_NS + DAY_NS))
        assert segment_files(tmp_path) == []


class Killed(BaseException):
    """Nothing that comes after is done."""


def dying(calls: list[int], die_at: int, call: Callable[..., object]) -> Callable[..., object]:
    """Dies once before and once after each call."""

    def wrapped(*args: object, **options: object) -> object:
        calls[0] += 1
        if calls[0] == die_at:
            raise Killed
        answer = call(*args, **options)
        calls[0] += 1
        if calls[0] == die_at:
            raise Killed
        return answer

    return wrapped


@pytest.mark.parametrize("die_at", range(1, 17))
def test_whenever_it_dies_all_is_there_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, die_at: int
) -> None:
    with opened(tmp_path, LIMITS) as store:
        two_segments(store)
        calls = [0]
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", dying(calls, die_at, os.fsync))
            patched.setattr(Path, "rename", dying(calls, die_at, Path.rename))
            patched.setattr(Path, "unlink", dying(calls, die_at, Path.unlink))
            try:
                pack_all(store, LATER_NS)
            except Killed:
                pass
            else:
                assert die_at > calls[0], "it died nowhere"
    with opened(tmp_path, LIMITS) as store:
        assert kept(store) == ALL
        assert not store.damage
        assert pack_all(store, LATER_NS) in (0, 1)
        assert segment_files(tmp_path) == [".index", ".packed", ".seg"]
        assert kept(store) == ALL


def test_an_index_that_is_damaged_is_made_from_the_segment(tmp_path: Path) -> None:
    with opened(tmp_path, LIMITS) as store:
        two_segments(store)
        pack_all(store, LATER_NS)
    (index,) = tmp_path.glob("*/*/*.index")
    whole = index.read_bytes()
    for broken in (whole[:-1], whole[: len(whole) // 2], b"", whole[:30] + b"\xff" + whole[31:]):
        index.write_bytes(broken)
        with opened(tmp_path, LIMITS) as store:
            assert kept(store) == ALL
    index.unlink()
    with opened(tmp_path, LIMITS) as store:
        assert kept(store) == ALL


def test_a_segment_with_damage_stays_as_it_is(tmp_path: Path) -> None:
    with opened(tmp_path, LIMITS) as store:
        two_segments(store)
        first = min(blocks(store), key=lambda block: block.lines)
        with first.segment.path.open("r+b") as file:
            file.seek(first.body_offset)
            file.write(b"\0\0\0\0")
        damaged = first.segment.path.read_bytes()
        assert pack_all(store, LATER_NS) == 0
        assert first.segment.path.read_bytes() == damaged
        assert segment_files(tmp_path) == [".seg", ".seg"]
        lost = set(range(first.lines[0], first.lines[1] + 1))
        source = first.header.block.source
        rest = ALL | {source: [number for number in ALL[source] if number not in lost]}
        assert kept(store) == rest


def test_a_segment_that_nobody_can_read_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path, LIMITS) as store:
        two_segments(store)
    before = {path: path.read_bytes() for path in tmp_path.glob("*/*/*.seg")}

    def broken(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(segments, "read_frames", broken)
        with opened(tmp_path, LIMITS) as store:
            assert len(store.damage) == 2
            assert pack_all(store, LATER_NS) == 0
            put(store, incoming(100, 104), now_ns=LATER_NS)
            assert kept(store) == {"c0ffee": [100, 101, 102, 103, 104]}
    assert all(path.read_bytes() == content for path, content in before.items())
    with opened(tmp_path, LIMITS) as store:
        assert kept(store) == ALL | {"c0ffee": [*ALL["c0ffee"], 100, 101, 102, 103, 104]}


def test_a_full_disk_leaves_the_segment_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with opened(tmp_path, LIMITS) as store:
        two_segments(store)
        monkeypatch.setattr(compaction, "_sync", full)
        assert pack_all(store, LATER_NS) == 0
        assert segment_files(tmp_path) == [".seg", ".seg"]
        assert kept(store) == ALL


def test_a_name_that_is_none_is_left_alone(tmp_path: Path) -> None:
    with opened(tmp_path, LIMITS) as store:
        put(store, incoming(1, 5))
    (path,) = tmp_path.glob("*/*/*.seg")
    shutil.copy(path, path.with_name("copy.seg"))
    with opened(tmp_path, LIMITS) as store:
        assert kept(store) == {"c0ffee": [1, 2, 3, 4, 5]}
