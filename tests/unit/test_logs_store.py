"""The log store on a real directory: every line once, whatever repeats, overlaps, or was torn by a crash."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lattice.contracts.messages import LogLine
from lattice.errors import Invalid, LatticeError, Temporary
from services.gateway.log_lines import json_lines
from services.logs.index import StoredBlock
from services.logs.retention import Policy, removals
from services.logs.segments import read_body
from services.logs.store import Incoming, Limits, LogStore
from tests.fixtures.log_blocks import SECOND_NS, START_NS, a_block, incoming, packed, read_lines, text_of
from tests.fixtures.log_store import NOW_NS, ask, put

ROOMY = Limits(segment_bytes=2**30, segment_age_s=10**9)

Open = Callable[..., LogStore]


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Open]:
    """Opens the store, after a kill of the one before."""
    opened: list[LogStore] = []

    def open_it(limits: Limits = ROOMY) -> LogStore:
        for store in opened:
            store.close()
        opened[:] = [LogStore(tmp_path / "logs", limits)]
        return opened[0]

    yield open_it
    for store in opened:
        store.close()


def lines(store: LogStore, workload_id: str = "wl-1", limit: int = 10_000) -> tuple[LogLine, ...]:
    return tuple(read_lines(ask(store, workload_ids=(workload_id,), limit=limit)))


def numbers(store: LogStore) -> list[int]:
    found = lines(store)
    assert [line.message for line in found] == [text_of(line.number) for line in found]
    return [line.number for line in found]


def segment_files(root: Path) -> list[Path]:
    return sorted((root / "logs").glob("*/*/*.seg"))


# ---------------------------------------------------------------- each line once


def test_what_was_stored_is_there_after_a_restart(open_store: Open) -> None:
    store = open_store()
    put(store, incoming(0, 9), incoming(10, 19))
    put(store, incoming(20, 29))
    assert numbers(store) == numbers(open_store()) == list(range(30))
    line = lines(store)[7]
    assert (line.node, line.workload, line.instance, line.stream) == ("nd-a", "orders", "in-1", "stdout")


def test_the_block_is_stored_as_it_came(open_store: Open, tmp_path: Path) -> None:
    block = incoming(0, 99)
    put(open_store(), block)
    assert segment_files(tmp_path)[0].read_bytes().endswith(block.body)


def test_repeated_blocks_are_dropped_also_after_a_restart_and_within_a_batch(open_store: Open) -> None:
    store = open_store()
    put(store, incoming(0, 9), incoming(0, 9))
    assert put(store, incoming(0, 9))[0].stored == []
    store = open_store()
    assert put(store, incoming(3, 5))[0].stored == []
    assert numbers(store) == list(range(10))


def test_of_an_overlapping_block_only_new_lines_are_stored(open_store: Open) -> None:
    store = open_store()
    put(store, incoming(10, 19), incoming(30, 39))
    (outcome,) = put(store, incoming(0, 49))
    assert [stored.lines for stored in outcome.stored] == [(0, 9), (20, 29), (40, 49)]
    assert numbers(store) == numbers(open_store()) == list(range(50))


def test_numbers_begin_anew_with_each_container(open_store: Open) -> None:
    store = open_store()
    put(store, incoming(0, 4), incoming(0, 4, source="other", instance_id="in-2"))
    assert len(lines(store)) == 10


def test_any_order_and_any_repetition_give_every_line_once(open_store: Open) -> None:
    chance = random.Random(7)
    for round_number in range(20):
        store = open_store()
        source = f"container-{round_number}"
        blocks = [
            incoming(
                first, min(99, first + chance.randint(0, 30)), source=source, workload_id=f"wl-{round_number}"
            )
            for first in [*range(0, 100, 10), *(chance.randint(0, 99) for _ in range(20))]
        ]
        blocks.append(incoming(0, 99, source=source, workload_id=f"wl-{round_number}"))
        chance.shuffle(blocks)
        while blocks:
            size = chance.randint(1, 6)
            put(store, *blocks[:size])
            del blocks[:size]
            if chance.random() < 0.2:
                store = open_store()
        found = [line.number for line in lines(store, f"wl-{round_number}")]
        assert found == list(range(100)), f"round {round_number}"


def test_a_bad_block_spoils_nothing_else_of_its_batch(open_store: Open) -> None:
    store = open_store()
    bad = Incoming(a_block(10, 19), "orders", b"nonsense")
    outcomes = put(store, incoming(0, 9), bad, incoming(20, 29))
    assert isinstance(outcomes[1].error, Invalid)
    assert [outcome.error for outcome in (outcomes[0], outcomes[2])] == [None, None]
    put(store, incoming(10, 19))
    assert numbers(store) == list(range(30))


# ---------------------------------------------------------------- crashes and damage


def test_a_write_torn_at_any_byte_is_cut_off_and_can_be_repeated(open_store: Open, tmp_path: Path) -> None:
    put(open_store(), incoming(0, 4))
    (path,) = segment_files(tmp_path)
    intact = path.stat().st_size
    put(open_store(), incoming(5, 9))
    whole = path.read_bytes()
    for size in range(intact, len(whole)):
        path.write_bytes(whole[:size])
        store = open_store()
        assert numbers(store) == [0, 1, 2, 3, 4], f"torn at byte {size}"
        assert path.stat().st_size == intact
        assert [found.cut for found in store.damage] == ([True] if size > intact else [])
        put(store, incoming(5, 9))
        assert path.read_bytes() == whole
        assert numbers(open_store()) == list(range(10))


def test_a_hole_in_the_last_write_is_found_by_its_check(open_store: Open, tmp_path: Path) -> None:
    """After a power cut the file may be as long as it should be and hold zeros where nothing had reached the disk."""
    put(open_store(), incoming(0, 4), incoming(5, 9))
    (path,) = segment_files(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20] + bytes(20))
    store = open_store()
    assert numbers(store) == [0, 1, 2, 3, 4]
    put(store, incoming(5, 9))
    assert path.read_bytes() == whole


@pytest.mark.parametrize("where", [2, 12, 40, -10], ids=["magic", "check", "header", "body"])
def test_a_damaged_frame_in_the_middle_is_reported_and_skipped(
    open_store: Open, tmp_path: Path, where: int
) -> None:
    store = open_store()
    put(store, incoming(0, 4))
    (path,) = segment_files(tmp_path)
    start = path.stat().st_size
    put(store, incoming(5, 9))
    end = path.stat().st_size
    put(store, incoming(10, 14))
    flip(path, start + where if where > 0 else end + where)
    store = open_store()
    (found,) = store.damage
    assert (found.damage.offset, found.damage.size, found.cut) == (start, end - start, False)
    assert numbers(store) == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]
    put(store, incoming(5, 9))
    assert numbers(store) == list(range(15))


def test_damage_in_a_closed_segment_is_met_by_the_query_and_left_out(
    open_store: Open, tmp_path: Path
) -> None:
    small = Limits(segment_bytes=1, segment_age_s=10**9)
    store = open_store(small)
    for number, first in enumerate((0, 5, 10)):
        put(store, incoming(first, first + 4), now_ns=NOW_NS + number)
    first_file, *_ = segment_files(tmp_path)
    flip(first_file, first_file.stat().st_size - 5)
    store = open_store(small)
    assert numbers(store) == list(range(5, 15))


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0xFF]))


def test_a_full_disk_refuses_the_block_and_leaves_the_segment_as_it_was(
    open_store: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    put(store, incoming(0, 4))
    (path,) = segment_files(tmp_path)
    before = path.read_bytes()
    write = os.write

    def half_written(descriptor: int, data: memoryview) -> int:
        if len(data) > 50:
            return write(descriptor, data[:50])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", half_written)
    (outcome,) = put(store, incoming(5, 9))
    assert isinstance(outcome.error, Temporary)
    assert path.read_bytes() == before
    monkeypatch.undo()
    put(store, incoming(5, 9))
    assert numbers(open_store()) == list(range(10))


def test_a_second_process_is_refused(open_store: Open, tmp_path: Path) -> None:
    open_store()
    with pytest.raises(LatticeError, match="its own directory"):
        LogStore(tmp_path / "logs", ROOMY)


# ---------------------------------------------------------------- segments and retention


def test_a_full_or_old_segment_is_followed_by_another(open_store: Open, tmp_path: Path) -> None:
    limits = Limits(segment_bytes=300, segment_age_s=60)
    store = open_store(limits)
    for first in (0, 5, 10):
        put(store, incoming(first, first + 4), now_ns=NOW_NS + first)
    by_size = len(segment_files(tmp_path))
    assert 1 < by_size <= 3
    put(store, incoming(15, 19), now_ns=NOW_NS + 61 * SECOND_NS)
    assert len(segment_files(tmp_path)) == by_size + 1
    assert numbers(store) == numbers(open_store(limits)) == list(range(20))


def test_what_was_let_go_is_gone_from_disk_and_queries(open_store: Open, tmp_path: Path) -> None:
    limits = Limits(segment_bytes=1, segment_age_s=10**9)
    store = open_store(limits)
    put(store, incoming(0, 4))
    put(store, incoming(5, 9), now_ns=NOW_NS + 100 * SECOND_NS)
    policy = Policy(max_age_s=60, max_bytes_per_project=2**30)
    store.remove(removals(store.kept(), policy, NOW_NS + 100 * SECOND_NS))
    assert numbers(store) == numbers(open_store(limits)) == [5, 6, 7, 8, 9]
    assert len(segment_files(tmp_path)) == 1
    # Lines of a container that still has others do not come back with an old message.
    store = open_store(limits)
    put(store, incoming(10, 14), now_ns=NOW_NS + 200 * SECOND_NS)
    store.remove(removals(store.kept(), policy, NOW_NS + 161 * SECOND_NS))
    assert numbers(store) == [10, 11, 12, 13, 14]
    assert put(store, incoming(5, 9), now_ns=NOW_NS + 201 * SECOND_NS)[0].stored == []
    store = open_store(limits)
    store.remove(removals(store.kept(), Policy(1, 1), NOW_NS + 10**6 * SECOND_NS))
    assert list((tmp_path / "logs").iterdir()) == [tmp_path / "logs" / "lock"]
    put(store, incoming(15, 19))
    assert numbers(store) == [15, 16, 17, 18, 19]


# ---------------------------------------------------------------- queries


def asked_numbers(store: LogStore, **asked: Any) -> list[int]:
    return [line.number for line in read_lines(ask(store, **asked))]


@pytest.fixture
def hundred(open_store: Open) -> LogStore:
    store = open_store()
    put(store, *(incoming(first, first + 9) for first in range(0, 100, 10)))
    return store


def test_the_newest_lines_oldest_first(hundred: LogStore) -> None:
    assert asked_numbers(hundred, limit=5) == [95, 96, 97, 98, 99]
    assert asked_numbers(hundred, limit=15) == list(range(85, 100))


def test_since_and_until_are_included(hundred: LogStore) -> None:
    def at(number: int) -> int:
        return START_NS + number * SECOND_NS

    assert asked_numbers(hundred, since_ns=at(97)) == [97, 98, 99]
    assert asked_numbers(hundred, until_ns=at(12), limit=3) == [10, 11, 12]
    assert asked_numbers(hundred, since_ns=at(38), until_ns=at(41)) == [38, 39, 40, 41]
    assert asked_numbers(hundred, since_ns=at(200)) == []


def test_grep_with_a_limit(hundred: LogStore) -> None:
    assert asked_numbers(hundred, grep="7", limit=3) == [79, 87, 97]
    assert asked_numbers(hundred, grep="line 3", limit=100) == [3, *range(30, 40)]


def test_lines_of_several_instances_are_merged_by_time(open_store: Open) -> None:
    store = open_store()
    even = packed((START_NS + n, "stdout", f"even {n}") for n in range(0, 20, 2))
    odd = packed((START_NS + n, "stderr", f"odd {n}") for n in range(1, 20, 2))
    times = {"first_at_ns": START_NS, "last_at_ns": START_NS + 19}
    put(
        store,
        Incoming(a_block(0, 9, **times), "orders", even),
        Incoming(a_block(0, 9, source="other", instance_id="in-2", **times), "orders", odd),
    )
    assert [line.message for line in lines(store, limit=5)] == [
        "odd 15",
        "even 16",
        "odd 17",
        "even 18",
        "odd 19",
    ]
    found = read_lines(ask(store, source="other", limit=2))
    assert [line.message for line in found] == ["odd 17", "odd 19"]


def test_a_query_reads_no_more_blocks_than_it_needs(hundred: LogStore) -> None:
    reads = []

    def counted(block: StoredBlock) -> bytes:
        reads.append(block)
        return read_body(block)

    ask(hundred, counted, limit=15)
    assert len(reads) == 2


def test_an_answer_that_would_be_too_big_leaves_the_oldest_for_the_next_page(open_store: Open) -> None:
    store = open_store()
    body = packed((START_NS + n, "stdout", "x" * 10_000) for n in range(200))
    put(store, Incoming(a_block(0, 199, first_at_ns=START_NS, last_at_ns=START_NS + 199), "orders", body))
    answer = ask(store, limit=200)
    assert 50 < answer.count < 100 and answer.next is not None
    assert read_lines(answer)[-1].number == 199
    assert len(json_lines(answer)) < 2**20
    assert read_lines(ask(store, limit=200, before=answer.next))[-1].number == 199 - answer.count


def test_a_segment_that_is_let_go_during_a_query_is_left_out(hundred: LogStore, tmp_path: Path) -> None:
    for path in segment_files(tmp_path):
        path.unlink()
    assert asked_numbers(hundred) == []
