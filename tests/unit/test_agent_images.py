"""Which images the agent removes, and above all which it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.facts import PulledImage
from agent.image_collection import CollectionRules, Removal, Wanted, is_own_name, next_removal, noted
from agent.image_size import compressed_bytes, digest_for, lacks_room
from agent.inventory import DiskSpace
from agent.journal import IMAGES, Journal
from lattice.contracts.nouns import ContainerKey, LocalImage, Phase
from lattice.contracts.spec import BackoffSpec
from lattice.errors import Conflict
from lattice.runtime import ContainerOptions, RegistryAuth
from lattice.testing import FakeRuntime
from tests.fixtures.agent import IMAGE, Node, NodeAgent, eventually, instance_of, key_of, tombstone_of

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
RULES = CollectionRules()
A, B, D = "acme/a:1", "acme/b:1", "sha256:" + "d" * 64
NOTHING = Wanted(names=frozenset(), ids=frozenset())


def image(number: int, *names: str) -> LocalImage:
    return LocalImage(id=f"sha256:{number:064x}", references=names)


def pulled(*names: str, unused_min: float | None = 60) -> PulledImage:
    since = None if unused_min is None else NOW - timedelta(minutes=unused_min)
    return PulledImage(references=names, pulled_at=NOW - timedelta(days=1), unused_since=since)


def choose(ours: dict[str, PulledImage], held: list[LocalImage], **changes: Any) -> Removal | None:
    asked: dict[str, Any] = {
        "in_use": frozenset(), "wanted": NOTHING, "disk_percent": 90.0, "begun": False, "rules": RULES, "now": NOW,
    }  # fmt: skip
    return next_removal(ours, held, **{**asked, **changes})


def test_the_one_unused_for_longest_goes_first() -> None:
    one, two = image(1, A), image(2, B)
    found = choose({one.id: pulled(A, unused_min=60), two.id: pulled(B, unused_min=600)}, [one, two])
    assert found is not None and (found.image_id, found.names) == (two.id, (B,))
    assert found.reason == "nothing has used it since 2026-05-01 02:00 UTC, and the disk is 90 % full"


@pytest.mark.parametrize(
    ("percent", "begun", "goes"),
    [(84.9, False, False), (85.0, False, True), (84.9, True, True), (80.0, True, True), (79.9, True, False)],
)
def test_it_begins_at_the_high_mark_and_ends_below_the_low_one(
    percent: float, begun: bool, goes: bool
) -> None:
    found = choose({image(1).id: pulled(A)}, [image(1, A)], disk_percent=percent, begun=begun)
    assert (found is not None) is goes


@pytest.mark.parametrize(
    ("ours", "held", "changes"),
    [
        ({}, image(1, A), {}),  # it was here before, or somebody else pulled it
        ({"other": pulled(A)}, image(1, A), {}),
        ({image(1).id: pulled(A, unused_min=None)}, image(1, A), {}),
        ({image(1).id: pulled(A, unused_min=1.9)}, image(1, A), {}),
        ({image(1).id: pulled(A)}, image(1, A), {"in_use": frozenset({image(1).id})}),
        ({image(1).id: pulled(A)}, image(1, A), {"wanted": Wanted(names=frozenset({A}), ids=frozenset())}),
        ({image(1).id: pulled(A)}, image(1, A), {"wanted": Wanted(names=frozenset(), ids=frozenset({image(1).id}))}),
        ({image(1).id: pulled(A)}, image(1, A, "mine:1"), {}),  # a person tagged it
        ({image(1).id: pulled(A)}, image(1, A, "acme/a:2"), {}),
        ({image(1).id: pulled(A)}, image(1, A), {"rules": CollectionRules(high_percent=100), "disk_percent": 100.0}),
    ],
)  # fmt: skip
def test_it_stays(ours: dict[str, PulledImage], held: LocalImage, changes: dict[str, Any]) -> None:
    assert choose(ours, [held], **changes) is None


@pytest.mark.parametrize(
    ("name", "pulled_as", "own"),
    [
        ("redis:7", "docker.io/library/redis:7", True),
        ("redis:latest", "redis", True),
        (f"redis@{D}", "redis:7", True),
        (f"redis@{D}", f"docker.io/redis@{D}", True),
        ("redis:8", "redis:7", False),
        ("redis:7", f"redis@{D}", False),
        (f"ghcr.io/redis@{D}", "redis:7", False),
    ],
)
def test_whose_name_it_is(name: str, pulled_as: str, own: bool) -> None:
    assert is_own_name(name, [pulled_as]) is own


def test_use_is_noted_and_what_is_gone_forgotten() -> None:
    ours = {
        image(1).id: pulled(A, unused_min=None),
        image(2).id: pulled(B),
        image(3).id: pulled(unused_min=9),
    }
    seen = noted(ours, [image(1, A), image(2, B)], {image(2).id}, NOW)
    assert {key[-1]: each.unused_since for key, each in seen.items()} == {"1": NOW, "2": None}


_images = st.lists(st.integers(0, 5), unique=True)


@given(_images, _images, _images, _images, st.floats(0, 100), st.booleans())
def test_nothing_that_anybody_speaks_for_is_ever_named(
    ours: list[int], held: list[int], used: list[int], tagged: list[int], percent: float, begun: bool
) -> None:
    here = [image(n, f"acme/i{n}:1", *(["mine:1"] if n in tagged else [])) for n in held]
    known = {image(n).id: pulled(f"acme/i{n}:1") for n in ours}
    found = choose(known, here, in_use={image(n).id for n in used}, disk_percent=percent, begun=begun)
    may = [n for n in held if n in ours and n not in used and n not in tagged]
    if found is None:
        assert not may or percent < (80 if begun else 85)
    else:
        assert found.image_id in {image(n).id for n in may} and percent >= (80 if begun else 85)


# ---------------------------------------------------------------------------------------- is there room?

MANIFEST = {"layers": [{"size": 10}, {"size": 5}]}
INDEX = {
    "manifests": [
        {"digest": "sha256:a", "platform": {"os": "linux", "architecture": "arm64"}},
        {"digest": "sha256:b", "platform": {"os": "linux", "architecture": "amd64"}},
    ]
}


def test_sizes_are_read_from_manifests() -> None:
    assert compressed_bytes(MANIFEST) == 15 and compressed_bytes(INDEX) is None
    assert digest_for(INDEX, "amd64") == "sha256:b" and digest_for(INDEX, "s390x") is None
    assert digest_for(MANIFEST, "amd64") is None


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["layers", "size", "manifests", "platform", "os", "digest"]), inner)
    ),
)


@given(st.dictionaries(st.sampled_from(["layers", "manifests"]), _json))
def test_a_manifest_of_any_shape_is_read_or_not_known(manifest: dict[str, Any]) -> None:
    size = compressed_bytes(manifest)
    assert size is None or size >= 0
    assert digest_for(manifest, "amd64") is None or isinstance(digest_for(manifest, "amd64"), str)


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_what_fits_twice_has_room(compressed: int, free: int) -> None:
    assert (lacks_room(A, compressed, free) is None) is (2 * compressed <= free)


# ---------------------------------------------------------------------------------------- the agent


@pytest.fixture
def runtime() -> FakeRuntime:
    runtime = FakeRuntime(images=(IMAGE,))
    runtime.registry = {A: None, B: None}
    return runtime


class Disk:
    """A disk that is full until so many images are gone."""

    def __init__(self, *percents: float) -> None:
        self.percents: Iterator[float] = iter(percents)
        self.last = 10.0

    def __call__(self, _: str) -> DiskSpace:
        self.last = next(self.percents, self.last)
        return DiskSpace(free_bytes=100 * 2**30, used_percent=self.last)


def node_with(runtime: FakeRuntime, folder: Path, disk: Disk, **config: Any) -> Node:
    rules = CollectionRules(min_age=timedelta(0))
    return Node(runtime, folder, config={"disk_space": disk, "collection": rules, **config})


async def run_and_remove(node: Node, image_name: str, epoch: int) -> ContainerKey:
    key = key_of(epoch, slot=epoch)
    await node.want(instance_of(key, image=image_name))
    await node.until(key, lambda c: c.phase is Phase.RUNNING)
    await node.want(tombstones=(tombstone_of(key),))
    await node.until_gone(key)
    return key


async def held(runtime: FakeRuntime) -> set[str]:
    return {name for image in await runtime.images() for name in image.references}


async def test_a_full_disk_loses_what_lattice_pulled_and_nothing_uses(
    runtime: FakeRuntime, tmp_path: Path
) -> None:
    disk = Disk()
    node = node_with(runtime, tmp_path, disk)
    async with node.run() as agent:
        await run_and_remove(node, A, 1)
        await run_and_remove(node, IMAGE, 2)
        assert await agent.images.collect() == []
        disk.percents = iter((91.4, 74.0))
        assert await agent.images.collect() == [A]
        told = (await eventually(lambda: node.told("images_removed")))[0]
    assert await held(runtime) == {IMAGE}
    assert told.detail == (
        f"removed 1 image that Lattice had pulled and nothing used: {A}; the disk was 91 % full and is 74 %"
    )


async def test_it_goes_on_until_the_disk_is_below_the_low_mark(runtime: FakeRuntime, tmp_path: Path) -> None:
    disk = Disk()
    node = node_with(runtime, tmp_path, disk, collect_every_s=0.05)
    async with node.run() as agent:
        await run_and_remove(node, A, 1)
        # Since when it is unused is known from a look at the Engine; one that comes after B has been pulled would make B the older one.
        await eventually(lambda: all(image.unused_since for image in agent.journal.images.values()))
        await run_and_remove(node, B, 2)
        disk.percents = iter((91.0, 83.0, 79.0))
        told = (await eventually(lambda: node.told("images_removed")))[0]
    assert told.data["count"] == 2 and told.data["images"] == [A, B]
    assert await held(runtime) == {IMAGE}


@pytest.mark.parametrize("whose", ["wanted", "used by a stranger", "tagged", "was here before"])
async def test_an_image_that_somebody_needs_stays(runtime: FakeRuntime, tmp_path: Path, whose: str) -> None:
    disk = Disk()
    node = node_with(runtime, tmp_path, disk)
    async with node.run() as agent:
        if whose == "was here before":
            runtime.tag(IMAGE, A)
        await run_and_remove(node, A, 1)
        if whose == "wanted":
            await node.want(instance_of(key_of(9), image=A))
            await node.until(key_of(9), lambda c: c.phase is Phase.RUNNING)
            await runtime.remove(key_of(9).container_name("c1"))
        elif whose == "used by a stranger":
            await _foreign_container(runtime)
        elif whose == "tagged":
            runtime.tag(A, "mine:1")
        disk.percents = iter((95.0, 95.0))
        assert await agent.images.collect() == []
    assert A in await held(runtime)
    assert not [call for call in runtime.calls if call[0] == "remove_image"]


async def _foreign_container(runtime: FakeRuntime) -> None:
    options = ContainerOptions(
        name="somebody-elses", image=A, labels={}, network="n", cpu_millis=1, memory_bytes=1, pids=1
    )
    await runtime.create(options)


async def test_what_was_pulled_is_remembered_over_a_restart(runtime: FakeRuntime, tmp_path: Path) -> None:
    disk = Disk()
    node = node_with(runtime, tmp_path, disk)
    async with node.run():
        await run_and_remove(node, A, 1)
    assert [each.references for each in Journal(tmp_path / "data").images.values()] == [(A,)]
    async with node.run() as agent:
        await eventually(lambda: agent.world.complete)
        disk.percents = iter((95.0, 70.0))
        assert await agent.images.collect() == [A]
    assert Journal(tmp_path / "data").images == {}


async def test_a_lost_memory_removes_nothing(runtime: FakeRuntime, tmp_path: Path) -> None:
    disk = Disk()
    node = node_with(runtime, tmp_path, disk)
    async with node.run():
        await run_and_remove(node, A, 1)
    (tmp_path / "data" / IMAGES).write_text("damaged")
    async with node.run() as agent:
        disk.percents = iter((95.0, 95.0))
        assert await agent.images.collect() == []
    assert A in await held(runtime)


async def test_one_that_the_engine_keeps_does_not_hold_up_the_others(
    runtime: FakeRuntime, tmp_path: Path
) -> None:
    disk = Disk()
    node = node_with(runtime, tmp_path, disk)
    async with node.run() as agent:
        await run_and_remove(node, A, 1)
        await run_and_remove(node, B, 2)
        runtime.fail_next("remove_image", Conflict("in use after all"))
        disk.percents = iter((95.0, 95.0))
        assert await agent.images.collect() == [B, A]
    assert await held(runtime) == {IMAGE}


async def test_an_order_that_comes_during_a_removal_waits_for_its_end(
    runtime: FakeRuntime, tmp_path: Path
) -> None:
    disk = Disk()
    node = node_with(runtime, tmp_path, disk)
    async with node.run() as agent:
        await run_and_remove(node, A, 1)
        gate = runtime.hold("remove_image")
        disk.percents = iter((95.0, 70.0))
        collecting = asyncio.create_task(agent.images.collect())
        await eventually(lambda: ("remove_image", A) in runtime.calls)
        await node.want(instance_of(key_of(7), image=A))
        await eventually(lambda: _has_order(agent))
        gate.set()
        seen = await node.until(key_of(7), lambda c: c.phase is Phase.RUNNING)
        await collecting
    assert not node.told("create_failed") and seen.image_id
    assert [call for call in runtime.calls if call == ("pull", A)] == [("pull", A)] * 2


def _has_order(agent: NodeAgent) -> bool:
    document = agent.journal.document
    return document is not None and bool(document.instances)


async def test_an_image_that_would_fill_the_disk_is_not_pulled(runtime: FakeRuntime, tmp_path: Path) -> None:
    free = [int(0.8 * 2**30)]

    async def size_of(reference: str, auth: RegistryAuth | None, arch: str) -> int:
        assert (reference, auth, arch) == (A, None, "amd64")
        return int(1.2 * 2**30)

    node = Node(
        runtime,
        tmp_path,
        config={
            "disk_space": lambda _: DiskSpace(free_bytes=free[0], used_percent=99),
            "image_size": size_of,
        },
    )
    async with node.run():
        await node.want(instance_of(key_of(), image=A, backoff=BackoffSpec(initial=0.1, max=0.1)))
        seen = await node.until(key_of(), lambda c: "free" in c.reason)
        assert seen.phase is Phase.PULLING and seen.reason.startswith(
            f"image {A} is 1.2 GiB to download and takes about 2.4 GiB, and the node has 819.2 MiB free"
        )
        assert ("pull", A) not in runtime.calls
        free[0] = 3 * 2**30
        await node.until(key_of(), lambda c: c.phase is Phase.RUNNING)


@pytest.mark.parametrize("why", ["its size is not known", "another version is here", "the disk is empty"])
async def test_an_image_is_pulled_where_nobody_can_say_that_it_is_too_large(
    runtime: FakeRuntime, tmp_path: Path, why: str
) -> None:
    async def size_of(reference: str, auth: RegistryAuth | None, arch: str) -> int | None:
        return None if why == "its size is not known" else 2**50

    if why == "another version is here":
        runtime.tag(IMAGE, "acme/a:0")
    free = 100 * 2**30 if why == "the disk is empty" else 1
    disk = {"disk_space": lambda _: DiskSpace(free_bytes=free, used_percent=50), "image_size": size_of}
    async with (node := Node(runtime, tmp_path, config=disk)).run():
        await node.want(instance_of(key_of(), image=A))
        await node.until(key_of(), lambda c: c.phase is Phase.RUNNING)
