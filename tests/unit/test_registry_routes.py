"""Public names: claimed with a revision, told to the ingresses as instances come and go, kept for their name after that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lattice.contracts.catalogue import ROUTE
from lattice.contracts.messages import (
    DeleteWorkload,
    GetByName,
    GetCredentials,
    RouteCommand,
    RouteDocument,
    UpdateWorkload,
    WorkloadCommand,
)
from lattice.contracts.nouns import Health, Phase, PortMapping
from lattice.contracts.spec import PortProtocol, PortSpec
from lattice.errors import Conflict, Invalid, NotFound
from lattice.testing import MemoryBus
from services.registry import credentials, reading, routes, workload_update, workloads
from services.registry.public_places import PublicPlaces
from services.registry.retention import KEPT
from services.registry.sweep import Sweep
from services.registry.tables import AuditRow, NodeRow, RouteRow
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


async def test_nobody_is_led_to_a_node_that_was_revoked(world: World) -> None:
    await served(world)
    assert (await told(world))["web--default"].endpoints != ()
    async with world.deps.store.transaction() as tx:
        node = await tx.get(NodeRow, NODE, lock=True)
        assert node is not None
        tx.update(node, membership="revoked")
    await Sweep(world.deps).refresh_routes()
    assert (await told(world))["web--default"].endpoints == ()


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


PLACES = PublicPlaces(
    apps_url="http://{host}.apps.localhost:8080",
    tls_url="tls://{host}.apps.localhost:8445",
    tcp_host="127.0.0.1",
    tcp_ports=(20000, 20001),
)
DB_PORT = {"name": "postgres", "port": 5432, "protocol": "tcp", "public": True}


async def test_the_address_is_shown(world: World) -> None:
    deps = replace(world.deps, places=PLACES)
    await served(world)
    public, on_node = (await reading.get_workload(deps, GetByName(ref="web"))).routes
    assert (public.url, public.public, public.port) == ("http://web--default.apps.localhost:8080", True, 8080)
    assert (on_node.url, on_node.public) == ("http://127.0.0.1:40000", False)


async def test_the_address_over_https_is_told_beside_the_one_over_http(world: World) -> None:
    both = replace(PLACES, secure_apps_url="https://{host}.apps.localhost:8446")
    world = replace(world, deps=replace(world.deps, places=both))
    await served(world)
    await world.create(name="db", template="postgres", ports=[DB_PORT])
    public, on_node = (await reading.get_workload(world.deps, GetByName(ref="web"))).routes
    assert public.secure_url == "https://web--default.apps.localhost:8446" and on_node.secure_url == ""
    (database,) = (await reading.get_workload(world.deps, GetByName(ref="db"))).routes
    assert database.secure_url == "", "what goes over TCP is encrypted, or not, by the workload"


@pytest.mark.parametrize(
    "places",
    [
        replace(
            PLACES, apps_url="https://{host}.example.com", secure_apps_url="https://{host}.example.com:8446"
        ),
        replace(PLACES, secure_apps_url=""),
    ],
    ids=["a proxy in front", "none"],
)
async def test_there_is_one_address_where_it_is_https_already_or_https_is_not_spoken(
    world: World, places: PublicPlaces
) -> None:
    world = replace(world, deps=replace(world.deps, places=places))
    await served(world)
    public, _ = (await reading.get_workload(world.deps, GetByName(ref="web"))).routes
    assert public.secure_url == ""


async def test_names_that_dns_has_no_room_for_are_refused(world: World) -> None:
    name, port = "w" * 28, "p" * 28
    ports = [HTTP, {"name": port, "port": 9000, "public": True}]
    with pytest.raises(Invalid, match="a host name may have 63") as refused:
        await world.create(name=name, image="web:1", ports=ports)
    assert refused.value.errors[0]["pointer"] == "/ports"


# --- what is not http --------------------------------------------------------------------------------------


def with_places(world: World) -> World:
    deps = replace(world.deps, places=PLACES)
    return replace(world, deps=deps)


async def test_a_database_has_a_port_of_its_own_that_stays(world: World) -> None:
    world = with_places(world)
    await world.create(name="db", template="postgres", ports=[DB_PORT])
    route = (await told(world))["db--default"]
    assert (route.port, route.protocol) == (20000, "tcp")
    (view,) = (await reading.get_workload(world.deps, GetByName(ref="db"))).routes
    assert (view.url, view.public, view.plaintext) == ("tcp://127.0.0.1:20000", True, False)
    answer = await credentials.get_credentials(world.deps, GetCredentials(caller=CALLER, workload="db"))
    assert "@127.0.0.1:20000/app?sslmode=verify-full" in answer.uri
    more = UpdateWorkload(caller=CALLER, workload="db", patch={"resources": {"memory": "600Mi"}})
    await workload_update.update_workload(world.deps, more)
    assert (await told(world))["db--default"].port == 20000


async def test_ports_are_leased_until_none_is_left_and_the_oldest_released_is_given_on(world: World) -> None:
    world = with_places(world)
    for name in ("one", "two"):
        await world.create(name=name, template="postgres", ports=[DB_PORT])
    with pytest.raises(Conflict, match="all 2 public ports of this platform are taken"):
        await world.create(name="three", template="postgres", ports=[DB_PORT])
    await workloads.delete_workload(world.deps, DeleteWorkload(caller=CALLER, workload="one"))
    await world.create(name="three", template="postgres", ports=[DB_PORT])
    assert {host: each.port for host, each in (await told(world)).items()} == {
        "two--default": 20001,
        "three--default": 20000,
    }


async def test_nobody_publishes_a_readable_port_by_mistake(world: World) -> None:
    world = with_places(world)
    port = {"name": "db", "port": 5432, "protocol": "tcp", "public": True}
    with pytest.raises(Invalid, match="nothing says that it serves TLS") as refused:
        await world.create(name="mine", image="db:1", ports=[port])
    assert refused.value.errors[0]["pointer"] == "/ports/0"
    await world.create(name="mine", image="db:1", ports=[port | {"plaintext": True}])
    (view,) = (await reading.get_workload(world.deps, GetByName(ref="mine"))).routes
    assert view.plaintext


async def test_a_port_with_its_own_certificate_is_found_by_name_and_takes_no_public_port(
    world: World,
) -> None:
    world = with_places(world)
    port = {"name": "https", "port": 8443, "protocol": "tls", "public": True}
    await world.create(name="own", image="web:1", ports=[port])
    (view,) = (await reading.get_workload(world.deps, GetByName(ref="own"))).routes
    assert (view.url, view.port, view.plaintext) == ("tls://own--default.apps.localhost:8445", 8445, False)
    document = (await told(world))["own--default"]
    assert document.protocol is PortProtocol.TLS and document.port is None
    with pytest.raises(ValueError, match="plaintext of port https says nothing"):
        PortSpec.model_validate(port | {"plaintext": True})


def test_plaintext_is_said_of_public_tcp_ports_only() -> None:
    for port in ({"protocol": "tcp"}, {"public": True}):
        with pytest.raises(ValueError, match="plaintext of port db says nothing"):
            PortSpec.model_validate({"name": "db", "port": 5432, "plaintext": True, **port})


# --- taken down --------------------------------------------------------------------------------------------


async def test_a_name_that_was_taken_down_stays_so_for_whoever_has_it_next(world: World) -> None:
    world = with_places(world)
    await served(world)
    closing = RouteCommand(caller=CALLER, route="web--default", reason="it pretended to be a bank")
    view = await routes.take_route_down(world.deps, closing)
    assert view.taken_down == "it pretended to be a bank"
    assert (await told(world))["web--default"].taken_down == "it pretended to be a bank"
    await workloads.delete_workload(world.deps, DeleteWorkload(caller=CALLER, workload="web"))
    await world.report(generation=(await world.document()).generation)
    await world.create(name="web", image="web:1", ports=[HTTP])
    assert (await told(world))["web--default"].taken_down
    await routes.restore_route(world.deps, RouteCommand(caller=CALLER, route=view.host.partition(".")[0]))
    assert (await told(world))["web--default"].taken_down == ""
    async with world.deps.store.transaction() as tx:
        rows = await tx.find(AuditRow, entity_name="web--default")
    assert [row.action for row in rows] == ["route.taken_down", "route.restored"]


async def test_there_is_nothing_to_take_down(world: World) -> None:
    with pytest.raises(NotFound, match="no public address 'nobody'"):
        await routes.take_route_down(world.deps, RouteCommand(caller=CALLER, route="nobody"))
