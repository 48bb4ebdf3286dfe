"""Domains of people's own: asked for by a spec, looked up, told to the ingresses once proved, and never two workloads' at the same time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from lattice.contracts.messages import DeleteWorkload, GetByName, UpdateWorkload
from lattice.contracts.views import DomainView
from lattice.errors import Conflict, Invalid
from services.registry import converging, reading, workload_update, workloads
from services.registry.change import Change
from services.registry.domain_checks import DomainChecks
from services.registry.domain_rules import GRACE, VERIFIED_EVERY, DnsAnswer
from services.registry.public_places import PublicPlaces
from services.registry.sweep import Sweep
from services.registry.tables import AuditRow, DomainRow, FactRow, WorkloadRow
from tests.fixtures.registry_world import CALLER, World, deployed
from tests.unit.test_registry_routes import HTTP, told

PLACES = PublicPlaces(apps_domain="apps.example.com", apps_url="https://{host}.apps.example.com")
NAME = "shop.example.org"
PORT = HTTP | {"domains": [NAME]}


class Dns:
    """What DNS answers, as a test says."""

    def __init__(self) -> None:
        self.records: dict[str, DnsAnswer] = {}
        self.asked: list[str] = []

    async def ask(self, domain: str) -> DnsAnswer:
        self.asked.append(domain)
        return self.records.get(domain, DnsAnswer())

    def point(self, domain: str, host: str) -> None:
        self.records[domain] = DnsAnswer(aliases=(f"{host}.apps.example.com",))


@pytest.fixture
def dns() -> Dns:
    return Dns()


@pytest.fixture
def placed(world: World) -> World:
    return replace(world, deps=replace(world.deps, places=PLACES))


async def look_up(world: World, dns: Dns, *, after: timedelta = timedelta(seconds=16)) -> None:
    world.clock.advance(after.total_seconds())
    await DomainChecks(world.deps, dns.ask).round()


async def shown(world: World, name: str = "web") -> DomainView:
    workload = await reading.get_workload(world.deps, GetByName(ref=name))
    (route,) = [route for route in workload.routes if route.public]
    (domain,) = route.domains
    return domain


async def test_it_leads_there_once_dns_says_so_and_not_before(placed: World, dns: Dns) -> None:
    await deployed(placed, name="web", image="web:1", ports=[PORT])
    await look_up(placed, dns)
    view = await shown(placed)
    assert (view.verified, view.record) == (False, f"{NAME} CNAME web--default.apps.example.com")
    assert (await told(placed))["web--default"].domains == ()
    dns.point(NAME, "web--default")
    await look_up(placed, dns)
    assert (await shown(placed)).verified
    assert (await told(placed))["web--default"].domains == (NAME,)
    async with placed.deps.store.transaction() as tx:
        facts = await tx.find(FactRow, entity="route", verb="domain_verified")
        trail = await tx.find(AuditRow, action="domain.check")
    assert len(facts) == 1 and trail[0].after == {"domain": NAME, "state": "verified"}


async def test_what_is_not_due_is_not_asked(placed: World, dns: Dns) -> None:
    dns.point(NAME, "web--default")
    await deployed(placed, name="web", image="web:1", ports=[PORT])
    await look_up(placed, dns)
    await look_up(placed, dns, after=VERIFIED_EVERY - timedelta(minutes=1))
    assert dns.asked == [NAME]
    await look_up(placed, dns, after=timedelta(minutes=2))
    assert dns.asked == [NAME] * 2


async def test_a_domain_moves_to_another_workload_with_its_record(placed: World, dns: Dns) -> None:
    dns.point(NAME, "web--default")
    await deployed(placed, name="web", image="web:1", ports=[PORT])
    await look_up(placed, dns)
    await placed.create(name="new", image="web:1", ports=[PORT])
    dns.records[NAME] = DnsAnswer(
        aliases=("web--default.apps.example.com",), texts=("new--default.apps.example.com",)
    )
    await look_up(placed, dns)
    assert not (await shown(placed, "new")).verified, "the record of the first one still stands"
    dns.point(NAME, "new--default")
    await look_up(placed, dns)
    await look_up(placed, dns, after=timedelta(seconds=1))
    await look_up(placed, dns)
    found = await told(placed)
    assert (found["web--default"].domains, found["new--default"].domains) == ((), (NAME,)), (
        "there is no grace then"
    )


async def test_a_record_that_is_gone_takes_a_site_away_after_a_day(placed: World, dns: Dns) -> None:
    dns.point(NAME, "web--default")
    await deployed(placed, name="web", image="web:1", ports=[PORT])
    await look_up(placed, dns)
    dns.records.clear()
    await look_up(placed, dns, after=VERIFIED_EVERY + timedelta(minutes=1))
    assert (await told(placed))["web--default"].domains == (NAME,), "not with the first look"
    await look_up(placed, dns, after=GRACE + timedelta(hours=1))
    assert (await told(placed))["web--default"].domains == ()


async def test_who_only_asks_for_a_domain_takes_nothing_from_who_has_it(placed: World, dns: Dns) -> None:
    """Neither the site nor its day of grace, should its record be gone for an hour."""
    dns.point(NAME, "web--default")
    await deployed(placed, name="web", image="web:1", ports=[PORT])
    await look_up(placed, dns)
    await placed.create(name="thief", image="web:1", ports=[PORT])
    dns.records.clear()
    for _ in range(3):
        await look_up(placed, dns, after=VERIFIED_EVERY + timedelta(minutes=1))
        assert (await told(placed))["web--default"].domains == (NAME,)


async def test_a_spec_without_it_and_a_removal_give_it_up(placed: World, dns: Dns) -> None:
    dns.point(NAME, "web--default")
    await deployed(placed, name="web", image="web:1", ports=[PORT])
    await look_up(placed, dns)
    before = await placed.document()
    update = UpdateWorkload(caller=CALLER, workload="web", patch={"ports": [HTTP]})
    await workload_update.update_workload(placed.deps, update)
    assert (await told(placed))["web--default"].domains == ()
    assert (await placed.document()).instances == before.instances, "no container is touched by it"
    await workload_update.update_workload(placed.deps, update.model_copy(update={"patch": {"ports": [PORT]}}))
    assert (await told(placed))["web--default"].domains == (), "it has to be looked up anew"
    await look_up(placed, dns)
    assert (await told(placed))["web--default"].domains == (NAME,)
    await workloads.delete_workload(placed.deps, DeleteWorkload(caller=CALLER, workload="web"))
    async with placed.deps.store.transaction() as tx:
        assert await tx.find(DomainRow) == []


async def test_what_cannot_be_had_is_said_when_it_is_asked_for(placed: World) -> None:
    """Found by a review: said only when the update was through, it ended the sweep of all workloads again and again."""
    await deployed(placed, name="web", image="web:1", ports=[PORT])
    admin = {"name": "admin", "port": 9000, "public": True, "domains": [NAME]}
    update = UpdateWorkload(caller=CALLER, workload="web", patch={"env": {"V": "2"}, "ports": [PORT, admin]})
    with pytest.raises(Invalid, match="is there twice"):
        await workload_update.update_workload(placed.deps, update)


async def test_what_is_wrong_with_one_workload_holds_up_no_other(
    placed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        await deployed(placed, name=name, image="web:1", ports=[HTTP])
        update = UpdateWorkload(caller=CALLER, workload=name, patch={"env": {"V": "2"}})
        await workload_update.update_workload(placed.deps, update)
    brought_on, bring_on = [], converging.bring_on

    async def fails_for_first(change: Change, workload: WorkloadRow) -> None:
        if workload.name == "first":
            raise Conflict("all public ports of this platform are taken")
        brought_on.append(workload.name)
        await bring_on(change, workload)

    monkeypatch.setattr(converging, "bring_on", fails_for_first)
    await Sweep(placed.deps).round(everything=True)
    assert "second" in brought_on


async def test_names_of_the_platform_and_names_twice_are_refused(placed: World) -> None:
    for name in ("apps.example.com", "bank--default.apps.example.com"):
        with pytest.raises(Invalid, match="a name of the platform itself"):
            await placed.create(name="web", image="web:1", ports=[HTTP | {"domains": [name]}])
    admin = {"name": "admin", "port": 9000, "public": True, "domains": [NAME]}
    with pytest.raises(Invalid, match="is there twice"):
        await placed.create(name="web", image="web:1", ports=[PORT, admin])
