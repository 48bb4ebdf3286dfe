"""Links: looked up when a revision is made, told to the ingresses with who may use them, and shown with why nobody answers."""

from __future__ import annotations

from typing import Any

import pytest

from lattice.contracts.catalogue import LINK
from lattice.contracts.messages import (
    DeleteWorkload,
    DesiredDocument,
    GetByName,
    LinkDocument,
    RunLink,
    RunLinkPort,
    RunSpec,
    UpdateWorkload,
    WorkloadCommand,
)
from lattice.contracts.nouns import ObservedContainer, PortMapping
from lattice.contracts.spec import WorkloadSpec
from lattice.errors import Invalid
from services.registry import reading, workload_update, workloads
from services.registry.following import follow_up
from services.registry.sweep import Sweep
from services.registry.tables import InstanceRow, LinkTouchRow, NodeRow, RevisionRow, SecretRow
from tests.fixtures.registry_world import CALLER, NODE, World, running

DB_PORTS = [{"name": "sql", "port": 5432, "protocol": "tcp"}, {"name": "admin", "port": 8080}]
TO_DB = {"workload": "db", "as": "store"}


async def db(world: World, name: str = "db", ports: Any = DB_PORTS) -> None:
    await world.create(name=name, image="db:1", ports=ports)


async def app(world: World, *links: dict[str, Any], name: str = "app", **more: Any) -> None:
    await world.create(name=name, image="app:1", links=links or (TO_DB,), **more)


async def links_of(world: World, name: str = "app") -> tuple[RunLink, ...]:
    async with world.deps.store.transaction() as tx:
        (row,) = await tx.find(
            RevisionRow, workload_id=(await shown(world, name)).id, order_by=("-number",), limit=1
        )
    return RunSpec.model_validate(row.run).links


async def shown(world: World, name: str = "app") -> Any:
    return await reading.get_workload(world.deps, GetByName(ref=name))


async def told(world: World) -> dict[str, LinkDocument]:
    """Workload name -> the newest document about links to it."""
    await world.relay.round()
    found = [each.message for each in await world.bus.newest_of_each(LINK)]
    return {each.workload_name: each for each in found}


def mapped(*ports: int) -> tuple[PortMapping, ...]:
    return tuple(
        PortMapping(name=f"p{port}", container_port=port, protocol="tcp", host_port=40000 + number)
        for number, port in enumerate(ports)
    )


def up(document: DesiredDocument, name: str, *ports: int) -> ObservedContainer:
    instances = tuple(each for each in document.instances if each.workload_name == name)
    return running(document.model_copy(update={"instances": instances}), ports=mapped(*ports))


async def all_run(world: World) -> None:
    await world.place_all()
    document = await world.document()
    names = {each.workload_name for each in document.instances}
    ports = {"db": (5432, 8080)}
    await world.report(
        *(up(document, name, *ports.get(name, ())) for name in sorted(names)), generation=document.generation
    )


async def test_a_link_has_the_names_and_ports_of_whom_it_leads_to(world: World) -> None:
    await db(world)
    await app(world)
    (link,) = await links_of(world)
    assert link.workload == "db" and link.hosts == ("store", "db")
    assert link.ports == (
        RunLinkPort(at=5432, container_port=5432),
        RunLinkPort(at=8080, container_port=8080),
    )


async def test_one_port_of_it_under_another_number(world: World) -> None:
    await db(world)
    await app(world, {"workload": "db", "port": "sql", "at": 15432})
    (link,) = await links_of(world)
    assert link.hosts == ("db",) and link.ports == (RunLinkPort(at=15432, container_port=5432),)


@pytest.mark.parametrize(
    ("links", "why", "pointer"),
    [
        ([{"workload": "nobody"}], "there is no workload 'nobody'", "/links/0"),
        ([{"workload": "mute"}], "mute has no port", "/links/0"),
        ([TO_DB, {"workload": "db2"}], "store and db2 both have port 5432", "/links/1"),
        ([{"workload": "db", "port": 99}], r"no port 99; it has sql \(5432\), admin \(8080\)", "/links/0"),
    ],
)
async def test_a_link_that_leads_nowhere_is_refused_by_name(
    world: World, links: list[dict[str, Any]], why: str, pointer: str
) -> None:
    await db(world)
    await db(world, "db2")
    await world.create(name="mute", image="m:1")
    with pytest.raises(Invalid, match=why) as refused:
        await app(world, *links)
    assert refused.value.errors[0]["pointer"] == pointer


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (
            {"links": [{"workload": "db", "as": "a1"}, {"workload": "x1", "as": "a1"}]},
            "link 'a1' is given twice",
        ),
        ({"links": [{"workload": "app"}]}, "cannot have a link to itself"),
        ({"links": [{"workload": "db", "at": 99}]}, "say which with `port`"),
        ({"links": [{"workload": "db", "to": "x"}]}, "Extra inputs"),
    ],
)
def test_a_link_that_means_nothing_is_refused(spec: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        WorkloadSpec.model_validate({"name": "app", "image": "app:1", **spec})


async def test_ingresses_are_told_who_is_ready_and_who_may_ask(world: World) -> None:
    await db(world)
    await app(world, {"workload": "db", "port": 5432})
    assert (await told(world)) == {}, "nobody has a place yet"
    await all_run(world)
    link = (await told(world))["db"]
    assert link.clients == {NODE: (5432,)} and link.waiting_for == ""
    assert [each.container_port for each in link.endpoints] == [5432], "8080 is nobody's business"
    assert (await shown(world)).links[0].reason == ""


async def test_a_node_may_ask_as_soon_as_something_with_a_link_has_its_place_there(world: World) -> None:
    await db(world)
    await app(world)
    await world.place_all()
    link = (await told(world))["db"]
    assert link.clients == {NODE: (5432, 8080)} and link.endpoints == () and link.is_starting


async def test_who_has_no_such_link_any_more_is_no_client(world: World) -> None:
    await db(world)
    await app(world)
    await all_run(world)
    await workloads.delete_workload(world.deps, DeleteWorkload(caller=CALLER, workload="app"))
    document = await world.document()
    await world.report(up(document, "db", 5432, 8080), generation=document.generation)
    link = (await told(world))["db"]
    assert link.clients == {} and link.endpoints == (), "nobody asks, so nobody is told of"


async def test_a_stopped_or_removed_workload_is_told_of_with_the_reason(world: World) -> None:
    await db(world)
    await app(world)
    await all_run(world)
    await workloads.stop_workload(world.deps, WorkloadCommand(caller=CALLER, workload="db"))
    link = (await told(world))["db"]
    assert link.endpoints == () and link.waiting_for == "it is stopped" and not link.is_starting
    assert (await shown(world)).links[0].reason == "it is stopped"
    await workloads.delete_workload(world.deps, DeleteWorkload(caller=CALLER, workload="db"))
    document = await world.document()
    await world.report(up(document, "app"), generation=document.generation)
    assert (await told(world))["db"].waiting_for == "it was removed"
    await db(world)
    await all_run(world)
    assert (await told(world))["db"].endpoints != (), "whoever has the name is who the link leads to"


async def test_nothing_is_told_twice(world: World) -> None:
    await db(world)
    await app(world)
    await all_run(world)
    before = (await told(world))["db"]
    await all_run(world)
    assert (await told(world))["db"] == before
    async with world.deps.store.transaction() as tx:
        assert await tx.find(LinkTouchRow) == []


async def test_who_has_no_links_leaves_no_trace(world: World) -> None:
    await db(world)
    await all_run(world)
    assert await told(world) == {}


async def test_the_same_spec_is_a_change_once_the_ports_are_others(world: World) -> None:
    await db(world)
    await app(world)
    await all_run(world)
    spec = (await shown(world)).spec
    again = UpdateWorkload(caller=CALLER, workload="app", spec=spec)
    same = await workload_update.update_workload(world.deps, again)
    assert same.workload is not None and same.workload.revision == 1
    other = (await shown(world, "db")).spec.model_copy(update={"ports": spec_ports(9000)})
    await workload_update.update_workload(
        world.deps, UpdateWorkload(caller=CALLER, workload="db", spec=other)
    )
    changed = await workload_update.update_workload(world.deps, again)
    assert changed.workload is not None and changed.workload.revision == 2
    assert [port.at for port in (await links_of(world))[0].ports] == [9000]


def spec_ports(port: int) -> Any:
    return WorkloadSpec.model_validate(
        {"name": "db", "image": "db:1", "ports": [{"name": "sql", "port": port}]}
    ).ports


async def test_credentials_over_a_link_have_its_address_and_bind_nobody_to_a_node(world: World) -> None:
    await world.create(name="orders-db", template="postgres")
    link = {"workload": "orders-db", "as": "db", "port": 5432, "at": 15432}
    await app(world, link, env={"URL": {"from": "orders-db", "key": "uri"}})
    (wanted,) = [each for each in await world.place_all() if each.workload_name == "app"]
    assert wanted.affinity == ()
    async with world.deps.store.transaction() as tx:
        workload = await shown(world)
        revision = await tx.get(RevisionRow, f"{workload.id}-1")
        assert revision is not None
        run = RunSpec.model_validate(revision.run)
        row = await tx.get(SecretRow, run.secret_env["URL"])
        assert row is not None
        uri = (await world.deps.vault.reveal(tx, row, row.current)).decode()
    assert "@orders-db:15432/" in uri and "sslmode=verify-full" in uri
    assert run.joins == ()


async def test_credentials_on_a_port_that_the_link_leaves_out_are_refused(world: World) -> None:
    await db(world)
    borrowed: dict[str, Any] = {"env": {"PORT": {"from": "db", "key": "port"}}}
    with pytest.raises(Invalid, match="the link to db does not lead to its port 5432"):
        await app(world, {"workload": "db", "port": "admin"}, **borrowed)


async def test_credentials_of_two_links_to_one_workload(world: World) -> None:
    await db(world)
    named: dict[str, Any] = {
        "env": {"HOST": {"from": "db", "key": "host"}, "PORT": {"from": "db", "key": "port"}}
    }
    two = ({"workload": "db", "port": "sql"}, {"workload": "db", "as": "metrics", "port": "admin"})
    await app(
        world, *two, **named
    )  # by the last of them alone it would be refused: that leads to another port
    assert [link.hosts for link in await links_of(world)] == [("db",), ("metrics", "db")]


async def test_a_node_that_is_revoked_is_neither_led_to_nor_led_on(world: World) -> None:
    await db(world)
    await app(world)
    await all_run(world)
    async with world.deps.store.transaction() as tx:
        node = await tx.get(NodeRow, NODE, lock=True)
        assert node is not None
        tx.update(node, membership="revoked")
    await follow_up(world.deps, [(await shown(world, "db")).id])
    link = (await told(world))["db"]
    assert link.clients == {} and link.endpoints == ()


async def test_what_was_lost_with_a_process_is_found_by_the_sweep(world: World) -> None:
    await db(world)
    await app(world)
    await all_run(world)
    await told(world)
    async with world.deps.store.transaction() as tx:
        (row,) = await tx.find(InstanceRow, workload_name="db")
        tx.update(row, health="unhealthy")
    assert (await told(world))["db"].endpoints != (), "nobody has looked"
    await Sweep(world.deps).refresh_routes()
    assert (await told(world))["db"].endpoints == ()


async def test_a_port_that_is_gone_is_named(world: World) -> None:
    await db(world)
    await app(world, {"workload": "db", "port": "sql"})
    await all_run(world)
    async with world.deps.store.transaction() as tx:
        (row,) = await tx.find(InstanceRow, workload_name="db")
        tx.update(row, ports=[port for port in row.ports if port["container_port"] != 5432])
    await follow_up(world.deps, [(await shown(world, "db")).id])
    link = (await told(world))["db"]
    assert "it has no port 5432 any more" in link.waiting_for and not link.is_starting
