"""Guards of public names in the registry: what the ingresses are told of secrets, and what follows when something changes."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from argon2 import PasswordHasher

from lattice.contracts.catalogue import ROUTE
from lattice.contracts.messages import RouteDocument, SetSecret, UpdateWorkload
from lattice.contracts.spec import PortSpec
from lattice.errors import Invalid
from services.registry import belongings, workload_update
from tests.fixtures.registry_world import CALLER, World, deployed

PORT = {"name": "http", "port": 8080, "public": True}


def guarded(**guard: Any) -> list[dict[str, Any]]:
    return [PORT | {"guard": guard}]


async def secret(world: World, name: str, value: str) -> None:
    await belongings.set_secret(world.deps, SetSecret(caller=CALLER, name=name, value=value))


async def told(world: World) -> RouteDocument:
    await world.relay.round()
    (found,) = await world.bus.newest_of_each(ROUTE)
    return found.message


async def revision_after(world: World, ports: list[dict[str, Any]]) -> int:
    request = UpdateWorkload(caller=CALLER, workload="web", patch={"ports": ports})
    accepted = await workload_update.update_workload(world.deps, request)
    assert accepted.workload is not None
    return accepted.workload.revision


async def test_ingresses_learn_what_tells_a_right_password_and_not_the_password(world: World) -> None:
    await secret(world, "login", "ann:s3cret-word")
    await secret(world, "token", "t0ken-word")
    ports = guarded(basic_auth="login", bearer="token", allow=["10.0.0.0/8"], rate="5/minute", max_body="1Ki")
    await world.create(name="web", image="web:1", ports=ports)
    route = await told(world)
    guard = route.guard
    assert guard is not None and guard.asks_people
    assert (guard.allow, guard.rate, guard.max_body_bytes) == (("10.0.0.0/8",), "5/minute", 1024)
    basic = b"Basic " + base64.b64encode(b"ann:s3cret-word")
    assert PasswordHasher().verify(guard.credentials[0], basic)
    assert PasswordHasher().verify(guard.credentials[1], b"Bearer t0ken-word")
    assert "s3cret-word" not in route.model_dump_json() and "t0ken-word" not in route.model_dump_json()


async def test_a_guard_changes_without_touching_a_container(world: World) -> None:
    _, before = await deployed(world, name="web", image="web:1", ports=[PORT])
    assert await revision_after(world, guarded(rate="5/minute")) == 2
    assert (await told(world)).guard is not None
    document = await world.document()
    assert [each.key for each in document.instances] == [each.key for each in before.instances]
    assert await revision_after(world, [PORT | {"public": False}]) == 3
    assert [each.key for each in (await world.document()).instances] == [
        each.key for each in before.instances
    ]


async def test_another_password_makes_another_revision_and_the_same_none(world: World) -> None:
    await secret(world, "login", "ann:one")
    await deployed(world, name="web", image="web:1", ports=guarded(basic_auth="login"))
    assert await revision_after(world, guarded(basic_auth="login")) == 1
    await secret(world, "login", "ann:two")
    assert await revision_after(world, guarded(basic_auth="login")) == 2
    guard = (await told(world)).guard
    assert guard is not None
    assert PasswordHasher().verify(guard.credentials[0], b"Basic " + base64.b64encode(b"ann:two"))


@pytest.mark.parametrize(
    ("guard", "pointer", "why"),
    [
        ({"basic_auth": "nobody"}, "/ports/0/guard/basic_auth", "has no secret 'nobody'"),
        ({"basic_auth": "plain"}, "/ports/0/guard/basic_auth", "not of the form user:password"),
        ({"bearer": "nobody"}, "/ports/0/guard/bearer", "has no secret 'nobody'"),
    ],
)
async def test_secrets_of_no_use_are_named(
    world: World, guard: dict[str, Any], pointer: str, why: str
) -> None:
    await secret(world, "plain", "no colon")
    with pytest.raises(Invalid, match=why) as refused:
        await world.create(name="web", image="web:1", ports=guarded(**guard))
    assert refused.value.errors[0]["pointer"] == pointer


@pytest.mark.parametrize(
    ("port", "why"),
    [
        ({"guard": {"rate": "5/minute"}}, "guards nothing"),
        ({"public": True, "guard": {"rate": "often"}}, "match pattern"),
        ({"public": True, "guard": {"allow": ["everywhere"]}}, "write an address or a network"),
        ({"public": True, "guard": {"passwort": "x"}}, "Extra inputs"),
    ],
)
def test_what_is_no_guard(port: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        PortSpec.model_validate({"name": "http", "port": 8080, **port})
