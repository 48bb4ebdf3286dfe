"""Guards in front of a public name, as visitors meet them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import httpx
from argon2 import PasswordHasher

from lattice.contracts.messages import RouteGuard
from tests.fixtures.ingress import DOMAIN, IngressWorld, NodeTls, ingress_world

BASIC = "Basic " + base64.b64encode(b"ann:s3cret").decode()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers with the head that it was sent, once it has read what it was promised."""
    head = await reader.readuntil(b"\r\n\r\n")
    try:
        while b"chunked" in head.lower() and await reader.readline() != b"0\r\n":
            pass
    except ConnectionError:
        writer.close()
        return
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(head), head))
    writer.close()


async def guarded(world: IngressWorld, **guard: object) -> None:
    await world.route("web", await world.serve("web", echo), guard=RouteGuard(**guard))


async def ask(world: IngressWorld, **more: object) -> httpx.Response:
    headers = {"Host": f"web.{DOMAIN}", **more.pop("headers", {})}  # type: ignore[dict-item]
    async with httpx.AsyncClient() as client:
        return await client.request(str(more.pop("method", "GET")), world.url, headers=headers, **more)  # type: ignore[arg-type]


async def test_only_who_knows_the_password_comes_in_and_the_instance_does_not_learn_it(
    world: IngressWorld,
) -> None:
    hasher = PasswordHasher()
    await guarded(world, credentials=(hasher.hash(BASIC), hasher.hash("Bearer t0ken")), asks_people=True)
    refused = await ask(world)
    assert refused.status_code == 401 and refused.headers["www-authenticate"].startswith("Basic realm=")
    assert (
        await ask(world, headers={"Authorization": "Basic " + base64.b64encode(b"ann:other").decode()})
    ).status_code == 401
    for right in (BASIC, "Bearer t0ken", BASIC):
        answer = await ask(world, headers={"Authorization": right})
        assert answer.status_code == 200 and "authorization" not in answer.text.lower()


async def test_without_a_guard_credentials_are_the_instances_own_business(world: IngressWorld) -> None:
    await world.route("web", await world.serve("web", echo))
    assert (
        "authorization: bearer mine"
        in (await ask(world, headers={"Authorization": "Bearer mine"})).text.lower()
    )


async def test_only_certain_networks_are_let_in(world: IngressWorld) -> None:
    await guarded(world, allow=("192.0.2.0/24",))
    refused = await ask(world, headers={"X-Forwarded-For": "192.0.2.7"})
    assert refused.status_code == 403 and "certain networks" in refused.text
    await guarded(world, allow=("192.0.2.0/24", "127.0.0.0/8"))
    assert (await ask(world)).status_code == 200


async def test_a_proxy_of_our_own_says_who_the_visitor_is(tls: NodeTls, tmp_path: Path) -> None:
    async with ingress_world(tls, tmp_path, trusted_proxies=[ip_network("127.0.0.0/8")]) as world:
        await world.add_node()
        await guarded(world, allow=("192.0.2.0/24",))
        answer = await ask(
            world, headers={"X-Forwarded-For": "9.9.9.9, 192.0.2.7", "X-Forwarded-Proto": "https"}
        )
        assert answer.status_code == 200
        assert (
            "x-forwarded-for: 192.0.2.7" in answer.text.lower()
            and "x-forwarded-proto: https" in answer.text.lower()
        )
        assert (await ask(world, headers={"X-Forwarded-For": "9.9.9.9"})).status_code == 403


async def test_who_asks_too_often_is_told_when_to_ask_again(world: IngressWorld) -> None:
    await guarded(world, rate="2/minute")
    assert [(await ask(world)).status_code for _ in range(3)] == [200, 200, 429]
    assert (await ask(world)).headers["retry-after"] == "30"


async def test_a_body_that_is_too_large_is_refused_also_when_its_size_is_not_said(
    world: IngressWorld,
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield b"x" * 1000

    await guarded(world, max_body_bytes=2000)
    assert (await ask(world, method="POST", content=b"x" * 2000)).status_code == 200
    assert (await ask(world, method="POST", content=b"x" * 2001)).status_code == 413
    assert (await ask(world, method="POST", content=pieces())).status_code == 413


async def test_a_name_that_was_taken_down_lets_nobody_in_and_says_why(world: IngressWorld) -> None:
    await world.route("web", await world.serve("web", echo), taken_down="it pretended to be a bank")
    answer = await ask(world)
    assert answer.status_code == 403 and "it pretended to be a bank" in answer.text
