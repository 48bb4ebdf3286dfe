"""Public names: claimed with a revision, told to the ingresses as instances come and go, kept for their name after that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lattice.contracts.catalogue import ROUTE
from lattice.contracts.messages import (
    DeleteWorkload,
    GetByName,
    RouteDocument,
    UpdateWorkload,
    WorkloadCommand,
)
from lattice.contracts.nouns import Health, Phase, PortMapping
from lattice.contracts.spec import PortSpec
from lattice.errors import Invalid
from lattice.testing import MemoryBus
from services.registry import reading, workload_update, workloads
from services.registry.retention import KEPT
from services.registry.sweep import Sweep
from services.registry.tables import RouteRow
from tests.fixtures.registry_world import CALLER, NODE, World, deployed, running

HTTP = {"name": "http", "port": 8080, "public": True}
MAPPED = (PortMapping(name="http", container_port=8080, protocol="http", host_port=40000),)


async def told(world: World) -> dict[str, RouteDocument]:
    """host -> the newest document of its route, of those that lead somewhere."""
    await world.relay.round()
    found = [each.message for each in await world.bus.newest_of_each(ROUTE)]
    return {each.host: each for each in found if not each.released}


async def served(world: World, **spec: Any) -> None:
    _, document = await deployed(world, name="web", image="web:1", ports=[HTTP], **spec)
    await world.report(running(document, ports=MAPPED), generation=document.generation)


async def test_only_public_ports_have_names(world: World) -> None:
    admin = {"name": "admin", "port": 9000, "public": True}
    await world.create(name="web", image="web:1", ports=[HTTP, admin, {"name": "inner", "port": 9001}])
    await world.create(name="quiet", image="web:1", ports=[{"name": "http", "port": 8080}])
    routes = await told(world)
    assert {host: each.port_name for host, each in routes.items()} == {
        "web--default": "http",
        "admin--web--default": "admin",
    }
    assert routes["web--default"].endpoints == () and routes["web--default"].waiting_for == "it is starting"


async def test_a_route_leads_to_instances_that_are_ready(world: World) -> None:
    await served(world)
    (endpoint,) = (await told(world))["web--default"].endpoints
    assert (endpoint.node_id, endpoint.container_port) == (NODE, 8080)
    document = await world.document()
    sick = running(document, ports=MAPPED, health=Health.UNHEALTHY)
    await world.report(sick, generation=document.generation)
    assert (await told(world))["web--default"].endpoints == ()
    failed = running(document, phase=Phase.FAILED, health=Health.UNKNOWN)
    await world.report(failed, generation=document.generation)
    assert (await told(world))["web--default"].waiting_for == "its last start failed"


async def test_a_stopped_workload_is_not_led_to_and_says_so(world: World) -> None:
    await served(world)
    await workloads.stop_workload(world.deps, WorkloadCommand(caller=CALLER, workload="web"))
    route = (await told(world))["web--default"]
    assert route.endpoints == () and route.waiting_for == "it is stopped"


async def test_nothing_is_told_twice_and_the_newest_wins(world: World) -> None:
    await served(world)
    before = (await told(world))["web--default"]
    document = await world.document()
    await world.report(running(document, ports=MAPPED), generation=document.generation)
    assert (await told(world))["web--default"] == before
    assert not await world.bus.append_newest(
        ROUTE, before.model_copy(update={"number": 1}), order=lambda it: it.order, route_id=before.route_id
    )


async def test_a_name_is_kept_for_its_workloads_name_and_then_free(world: World) -> None:
    await served(world)
    first = (await told(world))["web--default"]
    await workloads.delete_workload(world.deps, DeleteWorkload(caller=CALLER, workload="web"))
    assert await told(world) == {}
    await world.report(generation=(await world.document()).generation)
    await world.create(name="web", image="web:1", ports=[HTTP])
    again = (await told(world))["web--default"]
    assert again.route_id == first.route_id and again.workload_id != first.workload_id
    await workloads.delete_workload(world.deps, DeleteWorkload(caller=CALLER, workload="web"))
    await told(world)
    world.clock.advance(KEPT.total_seconds() + 1)
    await Sweep(world.deps).forget()
    async with world.deps.store.transaction() as tx:
        assert await tx.find(RouteRow) == []


async def test_an_update_may_open_and_close_ports(world: World) -> None:
    await served(world)
    closed = UpdateWorkload(caller=CALLER, workload="web", patch={"ports": [HTTP | {"public": False}]})
    await workload_update.update_workload(world.deps, closed)
    assert await told(world) == {}
    opened = UpdateWorkload(caller=CALLER, workload="web", patch={"ports": [HTTP]})
    await workload_update.update_workload(world.deps, opened)
    assert set(await told(world)) == {"web--default"}


async def test_an_erased_bus_is_told_again(world: World) -> None:
    await served(world)
    before = await told(world)
    bus = MemoryBus(type(world.bus.broker)(world.clock), identity="registry")
    relay = replace(
        world.relay,
        bus=bus,
        routes=replace(world.relay.routes, bus=bus),
        documents=replace(world.relay.documents, bus=bus),
    )
    relay.republish()
    await relay.round()
    assert {each.message.host: each.message for each in await bus.newest_of_each(ROUTE)} == before


async def test_the_address_is_shown(world: World) -> None:
    deps = replace(world.deps, apps_url="http://{host}.apps.localhost:8080")
    await served(world)
    public, on_node = (await reading.get_workload(deps, GetByName(ref="web"))).routes
    assert (public.url, public.public, public.port) == ("http://web--default.apps.localhost:8080", True, 8080)
    assert (on_node.url, on_node.public) == ("http://127.0.0.1:40000", False)


async def test_names_that_dns_has_no_room_for_are_refused(world: World) -> None:
    name, port = "w" * 28, "p" * 28
    ports = [HTTP, {"name": port, "port": 9000, "public": True}]
    with pytest.raises(Invalid, match="a host name may have 63") as refused:
        await world.create(name=name, image="web:1", ports=ports)
    assert refused.value.errors[0]["pointer"] == "/ports"


def test_only_http_is_public_so_far() -> None:
    with pytest.raises(ValueError, match="port db cannot be public"):
        PortSpec.model_validate({"name": "db", "port": 5432, "protocol": "tcp", "public": True})
