"""Packed segments in an object store, a folder and S3: read from there, let go there, and never lost on the way."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from lattice.clock import SystemClock
from lattice.errors import Temporary
from services.logs.object_store import ObjectStore
from services.logs.reading import Reader
from services.logs.retention import Limits
from services.logs.segments import read_body
from services.logs.store import LogStore
from services.logs.tier import Tier
from services.logs.tiering import TierPolicy
from tests.fixtures.log_blocks import incoming
from tests.fixtures.log_store import NOW_NS, blocks, opened, pack_all, put, segment_files
from tests.fixtures.object_store import keys_of_s3
from tests.fixtures.ports import free_port

LIMITS = Limits(segment_bytes=2**30, segment_age_s=1000)
LATER_NS = NOW_NS + 2000 * 10**9
KEEPS_NOTHING_HERE = TierPolicy(local_age_s=10**9, local_bytes=0)
KEEPS_ALL_HERE = TierPolicy(local_age_s=10**9, local_bytes=2**40)


def a_tier(store: LogStore, url: str, policy: TierPolicy = KEEPS_NOTHING_HERE) -> Tier:
    return Tier(ObjectStore(url), store, policy, SystemClock(), asyncio.Lock())


def filled(store: LogStore) -> dict[tuple[int, int], bytes]:
    """A packed segment and a growing one; what is in their blocks."""
    put(store, incoming(1, 50), incoming(61, 80))
    put(store, incoming(81, 90), now_ns=LATER_NS)
    pack_all(store, LATER_NS)
    return {block.lines: read_body(block) for block in blocks(store)}


def read_all(store: LogStore, tier: Tier | None) -> dict[tuple[int, int], bytes]:
    reader = Reader(store.index, tier.read_body if tier else None)
    return {block.lines: reader.body(block) for block in blocks(store)}


async def test_what_is_in_the_object_store_alone_is_read_from_there(
    tmp_path: Path, object_store_url: str
) -> None:
    root = tmp_path / "logs"
    with opened(root, LIMITS) as store:
        written = filled(store)
        tier = a_tier(store, object_store_url)
        held = blocks(store)
        await tier.step()
        assert segment_files(root) == [".index", ".seg"]
        assert read_all(store, tier) == written
        assert {block.lines: Reader(store.index, tier.read_body).body(block) for block in held} == written
        assert not blocks(store)[0].may_contain(["needle"]), "the filters stay here"
    with opened(root, LIMITS) as store:
        assert not store.damage
        assert read_all(store, a_tier(store, object_store_url)) == written
        assert put(store, incoming(1, 50))[0].stored == []


async def test_what_fits_stays_here_as_well_and_is_copied_once(tmp_path: Path, object_store_url: str) -> None:
    root = tmp_path / "logs"
    with opened(root, LIMITS) as store:
        written = filled(store)
        await a_tier(store, object_store_url, KEEPS_ALL_HERE).step()
        assert segment_files(root) == [".index", ".packed", ".seg"]
        assert read_all(store, None) == written
    with opened(root, LIMITS) as store:
        tier = a_tier(store, object_store_url, KEEPS_NOTHING_HERE)
        await tier.step()
        assert segment_files(root) == [".index", ".seg"]
        assert read_all(store, tier) == written


async def test_an_object_that_is_not_whole_is_copied_again(tmp_path: Path, object_store_url: str) -> None:
    with opened(tmp_path / "logs", LIMITS) as store:
        written = filled(store)
        (segment,) = store.packed_here()
        (tmp_path / "half").write_bytes(segment.path.read_bytes()[:100])
        ObjectStore(object_store_url).put(tmp_path / "half", store.name_of(segment.path))
        tier = a_tier(store, object_store_url)
        await tier.step()
        assert read_all(store, tier) == written


async def test_what_is_let_go_is_gone_there_too(tmp_path: Path, object_store_url: str) -> None:
    with opened(tmp_path / "logs", LIMITS) as store:
        filled(store)
        tier = a_tier(store, object_store_url)
        await tier.step()
        (path,) = {block.segment.path for block in blocks(store) if block.segment.remote}
        gone = blocks(store)[0]
        await tier.delete(path)
        await tier.delete(path)
        assert ObjectStore(object_store_url).size(store.name_of(path)) is None
        with pytest.raises(FileNotFoundError):
            Reader(store.index, tier.read_body).body(gone)


async def test_nothing_goes_while_the_object_store_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys_of_s3(monkeypatch, free_port())
    root = tmp_path / "logs"
    with opened(root, LIMITS) as store:
        written = filled(store)
        with pytest.raises(Temporary, match="object store"):
            await a_tier(store, "s3://logs/prefix").step()
        assert segment_files(root) == [".index", ".packed", ".seg"]
        assert read_all(store, None) == written
