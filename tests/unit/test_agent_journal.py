"""What the agent remembers, and that no crash or garbage keeps it from starting."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.facts import InstanceRecord
from agent.journal import DOCUMENT, FACTS, POSITIONS, SESSION, Journal
from agent.log_place import LogPosition
from lattice.contracts.messages import DesiredDocument
from tests.fixtures.agent import instance_of, key_of

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def document(generation: int, epoch: int = 1) -> DesiredDocument:
    return DesiredDocument(
        cluster_id="c1",
        node_id="nd-1",
        era=1,
        generation=generation,
        instances=(instance_of(key_of(epoch)),),
    )


async def test_what_was_accepted_is_there_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert await journal.accept(document(1))
    await journal.keep(journal.facts.with_record(InstanceRecord(key=key_of(), restarts=3)))
    await journal.keep_positions({"abc": LogPosition(number=7)})
    again = Journal(tmp_path)
    assert again.document == document(1)
    assert again.facts == journal.facts and again.facts.record(key_of()).restarts == 3
    assert again.positions == {"abc": LogPosition(number=7)}


async def test_only_newer_documents_are_accepted(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert await journal.accept(document(2))
    assert not await journal.accept(document(2))
    assert not await journal.accept(document(1))
    assert Journal(tmp_path).document == document(2)


async def test_a_kill_between_document_and_facts_loses_no_epoch(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    await journal.accept(document(1, epoch=1))
    facts = (tmp_path / FACTS).read_bytes()
    await journal.accept(document(2, epoch=9))
    (tmp_path / FACTS).write_bytes(facts)
    assert Journal(tmp_path).facts.highest_epoch(("wl-1", 0)) == 9


async def test_facts_kept_while_a_document_is_written_are_not_lost(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    await journal.accept(document(1))
    record = InstanceRecord(key=key_of(), restarts=5)
    await asyncio.gather(
        journal.accept(document(2)), journal.keep(journal.facts.with_record(record))
    )  # fmt: skip
    assert Journal(tmp_path).facts.record(key_of()).restarts == 5


def test_each_start_counts_before_its_number_is_used(tmp_path: Path) -> None:
    first, second = Journal(tmp_path), Journal(tmp_path)
    number = first.begin_session(NOW)
    assert second.begin_session(NOW - timedelta(days=400)) == number + 1
    assert first.boot_id != second.boot_id


def test_a_lost_counter_does_not_fall_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    numbers = [journal.begin_session(NOW) for _ in range(50)]
    (tmp_path / SESSION).write_bytes(b"")
    assert journal.begin_session(NOW + timedelta(hours=1)) > max(numbers)


@pytest.mark.parametrize("garbage", [b"", b"{", b"\x00" * 4096, b"[]", b'{"cluster_id": 5}', b"\xff\xfe"])
async def test_garbage_is_set_aside(tmp_path: Path, garbage: bytes) -> None:
    for name in (DOCUMENT, FACTS, SESSION, POSITIONS):
        (tmp_path / name).write_bytes(garbage)
    journal = Journal(tmp_path)
    assert journal.document is None and journal.begin_session(NOW) > NOW.timestamp()
    assert await journal.accept(document(1))
    assert (await asyncio.to_thread(Journal, tmp_path)).document == document(1)
    aside = sorted(path.name.partition(".damaged-")[0] for path in tmp_path.glob("*.damaged-*"))
    assert DOCUMENT in aside and SESSION in aside


def test_damaged_files_do_not_pile_up(tmp_path: Path) -> None:
    for _ in range(20):
        (tmp_path / DOCUMENT).write_bytes(b"{")
        Journal(tmp_path)
    assert len(list(tmp_path.glob("document.json.damaged-*"))) == 5
