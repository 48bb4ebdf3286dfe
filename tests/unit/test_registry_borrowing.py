"""Credentials of one workload in the environment of another: what is delivered, where it is placed, what follows when they change."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from lattice.contracts.messages import (
    ApplyApp,
    DeleteWorkload,
    DesiredDocument,
    DesiredInstance,
    GetCredentials,
    PlanWorkload,
    SchedulingQuery,
    UpdateWorkload,
)
from lattice.contracts.spec import WorkloadSpec
from lattice.errors import Invalid
from lattice.sealing import unseal
from services.registry import apps, credentials, planning, scheduling, workload_update, workloads
from services.registry.borrowing import CA_FILE
from services.registry.tables import AuditRow
from tests.fixtures.registry_world import CALLER, World, deployed

URL = {"URL": {"from": "orders-db", "key": "uri"}}


async def with_database(world: World) -> None:
    await deployed(world, name="orders-db", template="postgres", values={"database": "orders"})


async def password(world: World) -> str:
    answer = await credentials.get_credentials(
        world.deps, GetCredentials(caller=CALLER, workload="orders-db")
    )
    return answer.password


def wanted(document: DesiredDocument, name: str) -> DesiredInstance:
    return next(each for each in document.instances if each.workload_name == name)


def variables(world: World, document: DesiredDocument, name: str) -> dict[str, str]:
    """The variables of a workload's instance that are delivered sealed, as its node opens them."""
    sealed = {each.secret_id: each.sealed for each in document.secrets}
    return {
        variable: unseal(base64.b64decode(sealed[secret_id]), world.sealing).decode()
        for variable, secret_id in wanted(document, name).run.secret_env.items()
    }


async def test_it_is_delivered_sealed_with_the_address_inside_the_projects_network(world: World) -> None:
    await with_database(world)
    env = {
        key.upper(): {"from": "orders-db", "key": key}
        for key in ("uri", "host", "port", "username", "password", "database", "ca")
    }
    await world.create(name="web", image="web:1", env={**env, "PLAIN": "text"})
    await world.place_all()
    document, secret = await world.document(), await password(world)
    found = variables(world, document, "web")
    assert found.pop("CA").startswith("-----BEGIN CERTIFICATE-----")
    assert found == {
        "URI": f"postgresql://app:{secret}@orders-db:5432/orders?sslmode=verify-full&sslrootcert={CA_FILE}",
        "HOST": "orders-db",
        "PORT": "5432",
        "USERNAME": "app",
        "PASSWORD": secret,
        "DATABASE": "orders",
    }
    run = wanted(document, "web").run
    assert run.env == {"PLAIN": "text"} and run.joins == () and secret not in document.model_dump_json()
    (file,) = run.files
    assert file.path == CA_FILE and (file.content or "").startswith("-----BEGIN CERTIFICATE-----")


async def test_who_borrows_is_placed_beside_who_lends(world: World) -> None:
    await with_database(world)
    created = await world.create(name="web", image="web:1", env=URL)
    snapshot = await scheduling.scheduling_snapshot(world.deps, SchedulingQuery())
    (request,) = [each for each in snapshot.wanted if each.workload_id == created.operation.subject_id]
    (rule,) = request.affinity
    assert (rule.workload_name, rule.topology, rule.weight) == ("orders-db", "node", None)


async def test_that_it_was_used_is_on_record(world: World) -> None:
    await with_database(world)
    await world.create(name="web", image="web:1", env=URL)
    async with world.deps.store.transaction() as tx:
        rows = await tx.find(AuditRow, entity_name="orders-db")
    assert [row.after for row in rows][-1] == {"used_by": "web"}


BAD: list[tuple[dict[str, Any], str]] = [
    ({"from": "nobody", "key": "uri"}, "there is no workload 'nobody' in project default"),
    ({"from": "quiet", "key": "uri"}, "workload quiet has no port"),
    ({"from": "plain", "key": "password"}, "the credentials of plain have no password"),
    ({"from": "plain", "key": "ca"}, "the credentials of plain have no ca"),
    ({"from": "shop-db", "key": "host"}, "shop-db belongs to app shop"),
]


@pytest.mark.parametrize(("reference", "why"), BAD, ids=lambda each: each if isinstance(each, str) else "")
async def test_what_cannot_be_had_is_named(world: World, reference: dict[str, Any], why: str) -> None:
    await world.create(name="quiet", image="web:1")
    await world.create(name="plain", image="web:1", ports=[{"name": "http", "port": 80}])
    service = {"image": "web:1", "ports": ["80"]}
    await apps.apply_app(
        world.deps, ApplyApp(caller=CALLER, app="shop", compose={"services": {"db": service}})
    )
    with pytest.raises(Invalid, match=why) as refused:
        await world.create(name="web", image="web:1", env={"X": reference})
    assert refused.value.errors[0]["pointer"] == "/env/X"


async def test_new_credentials_make_a_new_revision_and_the_same_none(world: World) -> None:
    await with_database(world)
    await deployed(world, name="web", image="web:1", env=URL)
    assert await revision_after(world, _same("web")) == 1
    await revision_after(
        world, UpdateWorkload(caller=CALLER, workload="orders-db", patch={"values": {"database": "shop"}})
    )
    plan = await planning.plan_workload(world.deps, PlanWorkload(caller=CALLER, spec=_spec("web")))
    assert plan.view.reason == "a secret that it uses has a newer version"
    assert await revision_after(world, _same("web")) == 2
    await world.report(generation=(await world.document()).generation)
    await world.place_all()
    assert "/shop?sslmode" in variables(world, await world.document(), "web")["URL"]


async def test_an_update_says_that_the_lender_is_gone(world: World) -> None:
    await with_database(world)
    await deployed(world, name="web", image="web:1", env=URL)
    await workloads.delete_workload(world.deps, DeleteWorkload(caller=CALLER, workload="orders-db"))
    await world.report(generation=(await world.document()).generation)
    with pytest.raises(Invalid, match="there is no workload 'orders-db'"):
        await workload_update.update_workload(world.deps, _same("web"))


async def revision_after(world: World, request: UpdateWorkload) -> int:
    accepted = await workload_update.update_workload(world.deps, request)
    assert accepted.workload is not None
    return accepted.workload.revision


def _spec(name: str) -> WorkloadSpec:
    return WorkloadSpec.model_validate({"name": name, "image": "web:1", "env": URL})


def _same(name: str) -> UpdateWorkload:
    return UpdateWorkload(caller=CALLER, workload=name, spec=_spec(name))


async def test_a_service_reaches_others_by_their_names_and_joins_the_projects_network_for_what_is_outside(
    world: World,
) -> None:
    await with_database(world)
    inside = {"env": {"DB": {"from": "db", "key": "uri"}}}
    outside = {"env": {"DB": {"from": "db", "key": "host"}, "ORDERS": {"from": "orders-db", "key": "host"}}}
    image = {"image": "web:1", "restart": "always"}
    services = {
        "db": {**image, "ports": ["5432"]},
        "api": {**image, "x-lattice": inside},
        "web": {**image, "x-lattice": outside},
    }
    await apps.apply_app(world.deps, ApplyApp(caller=CALLER, app="shop", compose={"services": services}))
    snapshot = await scheduling.scheduling_snapshot(world.deps, SchedulingQuery())
    rules = {each.workload_name: [rule.workload_name for rule in each.affinity] for each in snapshot.wanted}
    assert rules == {"shop-db": [], "shop-api": [], "shop-web": ["orders-db"]}
    await world.place_all()
    document = await world.document()
    assert variables(world, document, "shop-api") == {"DB": "http://db:5432"}
    assert variables(world, document, "shop-web") == {"DB": "db", "ORDERS": "orders-db"}
    assert wanted(document, "shop-api").run.joins == ()
    assert wanted(document, "shop-web").run.joins == ("default",)


async def test_what_is_wrong_with_a_service_names_it(world: World) -> None:
    service = {"image": "web:1", "x-lattice": {"env": {"X": {"from": "nobody", "key": "uri"}}}}
    with pytest.raises(Invalid, match=r"service web: env\.X: there is no workload") as refused:
        await apps.apply_app(
            world.deps, ApplyApp(caller=CALLER, app="shop", compose={"services": {"web": service}})
        )
    assert refused.value.errors[0]["pointer"] == "/services/web/env/X"


async def test_nobody_has_their_own_credentials() -> None:
    with pytest.raises(ValueError, match="web cannot have its own credentials"):
        WorkloadSpec.model_validate(
            {"name": "web", "image": "web:1", "env": {"X": {"from": "web", "key": "uri"}}}
        )


@pytest.mark.parametrize(
    ("value", "pointer", "why"),
    [
        (1, ("env", "X"), "valid string"),
        ({"from": "db"}, ("env", "X", "key"), "Field required"),
        ({"from": "db", "key": "salt"}, ("env", "X", "key"), "'uri'"),
        ({"from": "db", "key": "uri", "more": 1}, ("env", "X", "more"), "Extra inputs"),
    ],
)
def test_mistakes_are_told_of_the_kind_that_was_meant(value: Any, pointer: tuple[str, ...], why: str) -> None:
    with pytest.raises(ValueError, match="validation error") as refused:
        WorkloadSpec.model_validate({"name": "web", "image": "web:1", "env": {"X": value}})
    (error,) = refused.value.errors()  # type: ignore[attr-defined]
    assert error["loc"] == pointer and why in error["msg"]
