"""What a scheduler knows of the nodes: all of them once, in pages, then what changed; with the registry's own answers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from lattice.contracts.catalogue import SCHEDULING_SNAPSHOT
from lattice.contracts.messages import SchedulingQuery, SchedulingSnapshot
from lattice.testing import MemoryBus
from services.registry import node_removal, scheduling
from services.registry.change import SYSTEM
from services.registry.node_rows import find_node, write_node
from services.scheduler.sight import READ_ALL_EVERY_S, Sight
from tests.fixtures.registry_world import NODE, World, deployed, node_row
from tests.fixtures.registry_world import world as world


class Asked:
    """The registry, and what it was asked."""

    def __init__(self, world: World) -> None:
        self.world, self.queries = world, list[SchedulingQuery]()

    async def answer(self, query: SchedulingQuery) -> SchedulingSnapshot:
        self.queries.append(query)
        return await scheduling.scheduling_snapshot(self.world.deps, query)


@pytest.fixture
async def asked(world: World) -> AsyncIterator[Asked]:
    found = Asked(world)
    serving = await world.bus.serve(SCHEDULING_SNAPSHOT, found.answer)
    yield found
    await serving.stop()


@pytest.fixture
def sight(world: World, asked: Asked) -> Sight:
    return Sight(MemoryBus(world.bus.broker, identity="scheduler"))


async def add_nodes(world: World, count: int) -> None:
    async with world.deps.store.transaction() as tx:
        for number in range(count):
            tx.add(node_row(f"nd-{number:03}", f"n{number:03}", world.sealing, world.deps.now()))


async def test_all_nodes_are_read_once_in_pages(
    world: World, asked: Asked, sight: Sight, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduling, "NODES_AT_ONCE", 4)
    await add_nodes(world, 10)
    await world.create(name="web", image="web:1")
    found = await sight.look(None)
    assert len(sight.nodes) == 11 and [each.workload_name for each in found.wanted] == ["web"]
    assert [query.after for query in asked.queries] == [None, "nd-003", "nd-007"]
    world.clock.advance(60)
    await sight.look(None)
    assert asked.queries[-1].since is not None and len(asked.queries) == 4


async def test_only_what_changed_is_told(world: World, asked: Asked, sight: Sight) -> None:
    await add_nodes(world, 3)
    await sight.look(None)
    world.clock.advance(60)
    assert (await sight.look(None)).nodes == ()
    async with world.deps.change(SYSTEM, action="test") as change:
        write_node(change, await find_node(change.tx, "n001", lock=True), labels={"zone": "attic"})
    changed = await sight.look(None)
    assert [node.node_id for node in changed.nodes] == ["nd-001"]
    assert sight.nodes["nd-001"].labels == {"zone": "attic"}


async def test_what_is_placed_and_what_leaves_is_seen(world: World, asked: Asked, sight: Sight) -> None:
    await sight.look(None)
    free = sight.nodes[NODE].reserved
    world.clock.advance(60)
    await deployed(world, name="web", image="web:1")
    await sight.look(frozenset())
    assert sight.nodes[NODE].reserved != free


async def test_a_node_that_is_removed_is_forgotten(world: World, asked: Asked, sight: Sight) -> None:
    await add_nodes(world, 2)
    await sight.look(None)
    world.clock.advance(60)
    async with world.deps.change(SYSTEM, action="test") as change:
        await node_removal.forget(change, await find_node(change.tx, "nd-001", lock=True))
    assert (await sight.look(None)).gone == ("nd-001",)
    assert "nd-001" not in sight.nodes and "nd-000" in sight.nodes


async def test_an_image_that_nobody_asked_for_before_is_looked_for_everywhere(
    world: World, asked: Asked, sight: Sight, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of nodes that did not change nobody has said whether they have it."""
    await sight.look(None)
    world.clock.advance(60)
    monkeypatch.setattr("services.scheduler.sight.images_of", lambda requests: frozenset({"sha256:new"}))
    await sight.look(None)
    assert [query.since is None for query in asked.queries] == [True, False, True]
    await sight.look(None)
    assert asked.queries[-1].since is not None and asked.queries[-1].image_ids == {"sha256:new"}


async def test_all_are_read_again_now_and_then(world: World, asked: Asked, sight: Sight) -> None:
    await sight.look(None)
    sight._read_all_s -= READ_ALL_EVERY_S + 1
    await sight.look(None)
    assert [query.since for query in asked.queries] == [None, None]
