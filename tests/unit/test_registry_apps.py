"""Apps in the registry alone: a compose file goes in, documents come out, one service after the other."""

from __future__ import annotations

from typing import Any

import pytest

from lattice.contracts.messages import (
    ApplyApp,
    CommitPlacements,
    DeleteApp,
    DeleteWorkload,
    DesiredDocument,
    DesiredInstance,
    DrainNode,
    GetByName,
    ListInProject,
    SchedulingQuery,
    WorkloadCommand,
)
from lattice.contracts.nouns import (
    DesiredState,
    Health,
    ObservedContainer,
    OperationState,
    Phase,
    WorkloadState,
)
from lattice.contracts.views import AppAccepted, AppView, InstanceView
from lattice.errors import Conflict, Invalid, NotFound, StaleVersion
from services.registry import apps, nodes, reading, scheduling, workloads
from services.registry.node_deps import NodeDeps
from services.registry.sweep import Sweep
from services.registry.tables import AppRow, FactRow, InstanceRow, NodeRow, VolumeRow, WorkloadRow
from tests.fixtures.registry_world import CALLER, NODE, OTHER, World, node_row, placement

DB = {
    "image": "acme/db:1",
    "restart": "always",
    "volumes": ["data:/data"],
    "healthcheck": {"test": ["CMD", "true"]},
}
WEB = {
    "image": "acme/web:1",
    "restart": "always",
    "ports": ["8080:80"],
    "depends_on": {"db": {"condition": "service_healthy"}},
}
SHOP: dict[str, Any] = {"services": {"web": WEB, "db": DB}, "volumes": {"data": None}}


def shop(**services: Any) -> dict[str, Any]:
    """The shop with these services in place of its own; None takes one away."""
    merged = {**SHOP["services"], **services}
    return {**SHOP, "services": {name: one for name, one in merged.items() if one is not None}}


async def apply(
    world: World, document: dict[str, Any] = SHOP, *, app: str = "shop", caller: Any = CALLER, **more: Any
) -> AppAccepted:
    return await apps.apply_app(world.deps, ApplyApp(caller=caller, app=app, compose=document, **more))


async def shown(world: World, app: str = "shop") -> AppView:
    return await apps.get_app(world.deps, GetByName(ref=app))


async def instance(world: World, workload: str) -> InstanceView:
    return (await reading.get_workload(world.deps, GetByName(ref=workload))).instances[0]


def by_name(document: DesiredDocument) -> dict[str, DesiredInstance]:
    return {each.workload_name: each for each in document.instances}


def seen(wanted: DesiredInstance, **more: Any) -> ObservedContainer:
    healthy = {"phase": Phase.RUNNING, "health": Health.HEALTHY}
    return ObservedContainer(key=wanted.key, instance_id=wanted.instance_id, **(healthy | more))


async def report(world: World, **unlike: dict[str, Any]) -> DesiredDocument:
    """Everything of the document runs and is healthy, but for what is said of some (`shop_db={...}`); the document that follows."""
    document = await world.document()
    found = [
        seen(each, **unlike.get(each.workload_name.replace("-", "_"), {})) for each in document.instances
    ]
    await world.report(*found, generation=document.generation)
    return await world.document()


async def running_shop(world: World) -> AppAccepted:
    accepted = await apply(world)
    await world.place_all()
    await report(world)
    await report(world)
    return accepted


async def test_a_service_is_made_when_what_it_depends_on_is_healthy(world: World) -> None:
    accepted = await apply(world)
    assert [(each.service, each.change) for each in accepted.changes] == [("db", "create"), ("web", "create")]
    await world.place_all()
    assert set(by_name(await world.document())) == {"shop-db"}
    waiting = await instance(world, "shop-web")
    assert waiting.reason == "waiting for shop-db to be healthy" and waiting.node == "one"
    await report(world, shop_db={"health": Health.UNKNOWN})
    assert set(by_name(await world.document())) == {"shop-db"}
    document = await report(world)
    assert set(by_name(document)) == {"shop-db", "shop-web"}
    await report(world)
    assert (await shown(world)).state is WorkloadState.RUNNING
    states = [
        (await reading.get_operation(world.deps, GetByName(ref=each.id))).state
        for each in accepted.operations
    ]
    assert states == [OperationState.SUCCEEDED] * 2


async def test_what_waits_says_so_in_its_operation(world: World) -> None:
    accepted = await apply(world)
    await world.place_all()
    await world.document()
    await Sweep(world.deps).round(everything=True)
    view = await reading.get_operation(world.deps, GetByName(ref=accepted.operations[1].id))
    assert view.progress == "waiting for shop-db to be healthy"


async def test_an_app_has_a_network_of_its_own_in_which_services_have_their_names(world: World) -> None:
    accepted = await running_shop(world)
    await apply(world, app="other")
    await world.place_all()
    document = by_name(await world.document())
    assert document["shop-db"].run.network == document["shop-web"].run.network == accepted.view.id
    assert document["other-db"].run.network not in (accepted.view.id, None)
    assert document["shop-db"].run.aliases == document["other-db"].run.aliases == ("db",)


async def test_nothing_is_stopped_because_a_dependency_fails_later(world: World) -> None:
    await running_shop(world)
    before = await world.document()
    document = await report(world, shop_db={"phase": Phase.FAILED, "health": Health.UNKNOWN})
    await Sweep(world.deps).round(everything=True)
    assert await world.document() == document == before
    assert (await shown(world)).state is WorkloadState.FAILED


async def test_an_update_that_waits_in_vain_goes_back_and_the_old_version_serves(world: World) -> None:
    await running_shop(world)
    newer = shop(db={**DB, "environment": ["V=2"]}, web={**WEB, "environment": ["V=2"]})
    await apply(world, newer)
    await world.document()
    await world.report(generation=(await world.document()).generation)  # the old database is gone: stop first
    await world.place_all()
    document = await report(world, shop_db={"health": Health.UNHEALTHY})
    webs = [each for each in document.instances if each.workload_name == "shop-web"]
    assert [each.revision for each in webs] == [1], "the new one waits for the new database"
    world.clock.advance(126)  # 120 s to become healthy, and 5 s without a check
    await Sweep(world.deps).round(everything=True)
    view = await reading.get_workload(world.deps, GetByName(ref="shop-web"))
    assert view.rollout is not None and (view.revision, view.rollout.state) == (1, "rolled_back")
    assert "waiting for shop-db to be healthy" in view.rollout.reason


async def test_the_same_file_again_changes_nothing(world: World) -> None:
    first = await running_shop(world)
    before = await world.document()
    again = await apply(world)
    assert {each.change for each in again.changes} == {"keep"} and again.operations == ()
    assert again.view.version > first.view.version
    assert await world.document() == before


async def test_another_file_is_the_whole_app(world: World) -> None:
    await running_shop(world)
    web = {**WEB, "environment": ["A=1"], "depends_on": []}
    plan = await apps.plan_app(
        world.deps, ApplyApp(caller=CALLER, app="shop", compose=shop(web=web, db=None, mail=WEB | web))
    )
    accepted = await apply(world, shop(web=web, db=None, mail=WEB | web))
    assert plan.changes == accepted.changes
    assert [(each.service, each.change, each.fields) for each in accepted.changes] == [
        ("web", "update", ("env", "depends_on")),
        ("mail", "create", ()),
        ("db", "remove", ()),
    ]
    await world.place_all()
    document = await world.document()
    assert [each.workload_name for each in document.instances] == ["shop-web", "shop-web", "shop-mail"]
    await world.report(*map(seen, document.instances), generation=document.generation)
    async with world.deps.store.transaction() as tx:
        (volume,) = await tx.find(VolumeRow, removed_at=None)
    assert (volume.name, volume.state) == ("shop-db-data", "released")
    assert [each.service for each in (await shown(world)).services] == ["mail", "web"]


async def test_only_depends_on_changed_replaces_no_container(world: World) -> None:
    await running_shop(world)
    before = await world.document()
    await apply(world, shop(web={**WEB, "depends_on": {"db": {"condition": "service_started"}}}))
    after = await world.document()
    assert [each.key for each in after.instances] == [each.key for each in before.instances]


async def test_one_wrong_service_and_nothing_is_changed(world: World) -> None:
    with pytest.raises(Invalid) as raised:
        await apply(world, shop(web={**WEB, "build": ".", "volumes": ["./a:/a"]}))
    assert [each["pointer"] for each in raised.value.errors] == [
        "/services/web/build",
        "/services/web/volumes/0",
    ]
    with pytest.raises(Invalid, match="service db: ") as raised:
        await apply(world, shop(db={**DB, "scale": 2}))
    assert raised.value.errors[0]["pointer"] == "/services/db/replicas"
    await world.create(name="shop-web", image="acme/web:1")
    with pytest.raises(Conflict, match="'shop-web' exists already"):
        await apply(world)
    async with world.deps.store.transaction() as tx:
        assert await tx.count(AppRow) == 0 and await tx.count(WorkloadRow) == 1


async def test_what_is_not_supported_is_left_out_when_asked_for(world: World) -> None:
    accepted = await apply(world, shop(web={**WEB, "build": "."}), ignore_unsupported=True)
    assert [each.path for each in accepted.ignored] == ["services.web.build"]


async def test_conditions_and_keys_are_about_the_app(world: World) -> None:
    keyed = CALLER.model_copy(update={"idempotency_key": "k1", "request_hash": "h1"})
    accepted = await apply(world, caller=keyed)
    assert await apply(world, caller=keyed) == accepted
    stale = CALLER.model_copy(update={"if_match": "99"})
    with pytest.raises(StaleVersion, match="app shop changed meanwhile"):
        await apply(world, caller=stale)
    with pytest.raises(NotFound, match="no app 'new'"):
        await apply(world, app="new", caller=stale)
    fresh = CALLER.model_copy(update={"if_match": str(accepted.view.version)})
    assert (await apply(world, caller=fresh)).operations == ()


async def test_an_app_goes_as_a_whole_and_comes_back_with_its_data(world: World) -> None:
    await running_shop(world)
    removal = await apps.delete_app(world.deps, DeleteApp(caller=CALLER, app="shop"))
    assert len(removal.operations) == 2 and removal.view.state is WorkloadState.REMOVING
    with pytest.raises(Conflict, match="being removed"):
        await apply(world)
    document = await world.document()
    assert len(document.tombstones) == 2
    await world.report(generation=document.generation)
    with pytest.raises(NotFound):
        await shown(world)
    assert (await apps.list_apps(world.deps, ListInProject(project="default"))).items == ()
    with pytest.raises(Conflict, match="volume shop-db-data"):
        await apply(world)
    again = await apply(world, adopt=True)
    assert again.view.id != removal.view.id
    await Sweep(world.deps).round(everything=True)
    async with world.deps.store.transaction() as tx:
        verbs = [row.verb for row in await tx.find(FactRow, entity="app")]
    assert verbs == ["applied", "removing", "removed", "applied"]


async def test_an_app_that_waits_can_be_removed_and_its_services_stopped(world: World) -> None:
    await apply(world)
    await world.place_all()
    await world.document()
    stopped = await workloads.stop_workload(world.deps, WorkloadCommand(caller=CALLER, workload="shop-web"))
    assert stopped.operation.state is OperationState.SUCCEEDED
    await workloads.start_workload(world.deps, WorkloadCommand(caller=CALLER, workload="shop-web"))
    assert set(by_name(await report(world))) == {"shop-db", "shop-web"}
    await workloads.delete_workload(world.deps, DeleteWorkload(caller=CALLER, workload="shop-web"))
    again = await apply(world, shop(web=None))
    assert [each.change for each in again.changes] == ["keep"]


async def test_a_dependency_must_be_there(world: World) -> None:
    with pytest.raises(Invalid, match="no workload 'cache'") as raised:
        await world.create(name="web", image="acme/web:1", depends_on={"cache": "started"})
    assert raised.value.errors[0]["pointer"] == "/depends_on/cache"


async def test_the_services_of_an_app_are_placed_together(world: World) -> None:
    async with world.deps.store.transaction() as tx:
        tx.add(node_row(OTHER, "two", world.sealing, world.clock.now()))
    accepted = await apply(world)
    query = SchedulingQuery(workload_ids=frozenset({accepted.operations[0].subject_id}))
    free = await scheduling.scheduling_snapshot(world.deps, query)
    assert {each.workload_name for each in free.wanted} == {"shop-db", "shop-web"}
    assert {(each.group, each.group_name) for each in free.wanted} == {(accepted.view.id, "app shop")}
    first, second = free.wanted
    await commit(world, first.model_copy(), NODE)
    (left,) = (await scheduling.scheduling_snapshot(world.deps, query)).wanted
    assert (left.only_nodes, left.group) == ((NODE,), "")
    assert left.only_nodes_reason == "the rest of app shop is there"
    assert await commit(world, second, OTHER) == "app shop is on another node"
    assert await commit(world, second, NODE) == ""


async def test_an_app_without_data_leaves_a_node_that_is_drained(world: World) -> None:
    await apply(world, shop(db={key: value for key, value in DB.items() if key != "volumes"}))
    await world.place_all()
    await apply(world, shop(db={key: value for key, value in DB.items() if key != "volumes"}, more=WEB))
    async with world.deps.store.transaction() as tx:
        node = await tx.get(NodeRow, NODE)
        assert node is not None
        tx.update(node, draining=True)
    (wanted,) = (await scheduling.scheduling_snapshot(world.deps, SchedulingQuery())).wanted
    assert wanted.only_nodes is None and wanted.group_name == "app shop"


async def test_an_app_with_data_stays_on_a_node_that_is_drained(world: World) -> None:
    await running_shop(world)
    about_nodes = NodeDeps(world.deps, issuer=None)  # type: ignore[arg-type]  # nobody signs anything here
    drain = await nodes.drain_node(about_nodes, DrainNode(caller=CALLER, node="one"))
    assert drain.operation.state is OperationState.FAILED and drain.operation.problem is not None
    assert "shop-db, shop-web cannot" in drain.operation.problem.detail
    assert (await scheduling.scheduling_snapshot(world.deps, SchedulingQuery())).wanted == ()


async def test_parts_that_were_torn_apart_meet_again(world: World) -> None:
    """A node that comes back in the middle of a move leaves the app on two."""
    plain = {key: value for key, value in DB.items() if key != "volumes"}
    async with world.deps.store.transaction() as tx:
        tx.add(node_row(OTHER, "two", world.sealing, world.clock.now()))
    await apply(world, shop(db=plain, mail={**WEB, "depends_on": []}))
    await world.place_all()
    await report(world)
    await report(world)
    async with world.deps.store.transaction() as tx:
        (stray,) = await tx.find(InstanceRow, workload_name="shop-mail")
        tx.update(stray, node_id=OTHER)
    await Sweep(world.deps).round(everything=True)
    (wanted,) = (await scheduling.scheduling_snapshot(world.deps, SchedulingQuery())).wanted
    assert (wanted.workload_name, wanted.only_nodes) == ("shop-mail", (NODE,))
    async with world.deps.store.transaction() as tx:
        (kept,) = await tx.find(InstanceRow, id=stray.id)
    assert kept.desired == DesiredState.RUNNING, "it serves until the other one does"
    await world.place_all()
    await report(world)
    world.clock.advance(10)
    await report(world)
    async with world.deps.store.transaction() as tx:
        (kept,) = await tx.find(InstanceRow, id=stray.id)
    assert kept.desired == DesiredState.REMOVED


async def commit(world: World, wanted: Any, node_id: str) -> str:
    """Why a placement is refused; nothing if it is taken."""
    snapshot = await scheduling.scheduling_snapshot(world.deps, SchedulingQuery())
    version = next(node.placement_version for node in snapshot.nodes if node.node_id == node_id)
    chosen = placement(wanted, version).model_copy(update={"node_id": node_id})
    reply = await scheduling.commit_placements(
        world.deps, CommitPlacements(term=snapshot.term, placements=(chosen,))
    )
    return reply.refused[0].reason if reply.refused else ""
