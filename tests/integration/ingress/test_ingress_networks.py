"""A node whose network changes under it: the name answers again in less than ten seconds, though nobody was told of anything."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from lattice.contracts.messages import RouteEndpoint
from tests.fixtures.commands import REPOSITORY
from tests.fixtures.ingress import DOMAIN, IngressWorld, NodeTls, ingress_world
from tests.fixtures.net_namespace import NetNamespace, net_namespace
from tests.fixtures.tunnel_node import INSTANCE_ID, NODE_ID, PORT

AGAIN_WITHIN_S = 10.0
# What matters is in the kernel, and each takes its seconds: on the loop of our processes only.
pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])


@pytest.fixture
def machine() -> Iterator[NetNamespace]:
    with net_namespace() as machine:
        yield machine


@pytest.fixture
async def world(machine: NetNamespace, tls: NodeTls, tmp_path: Path) -> AsyncIterator[IngressWorld]:
    """An ingress here, and a node there that dials it."""
    async with ingress_world(tls, tmp_path, listen_host=machine.here) as world:
        folder = tmp_path / "node"
        folder.mkdir()
        tls.client(NODE_ID)  # writes its certificate
        for name, file in (
            ("ca.pem", tls.ca),
            ("node.pem", tls.folder / f"{NODE_ID}.pem"),
            ("node.key", tls.folder / f"{NODE_ID}.key"),
        ):
            shutil.copy(file, folder / name)
        command = [
            *machine.prefix,
            sys.executable,
            "-m",
            "tests.fixtures.tunnel_node",
            str(folder),
            world.address,
        ]
        process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL)
        try:
            await world.until(lambda: NODE_ID in world.ingress.tunnels.reachable, 20)
            endpoint = RouteEndpoint(instance_id=INSTANCE_ID, node_id=NODE_ID, container_port=PORT)
            await world.route("web", endpoint)
            yield world
        finally:
            process.kill()
            process.wait(10)


async def answers(world: IngressWorld) -> bool:
    """Whether a visitor who is not very patient is answered."""
    try:
        async with httpx.AsyncClient(timeout=1.0) as client:
            return (await client.get(world.url, headers={"Host": f"web.{DOMAIN}"})).text == "hello"
    except httpx.TransportError:
        return False


async def answers_again(world: IngressWorld) -> float:
    """After how long it answers three visitors in a row."""
    begun_s, in_a_row = time.monotonic(), 0
    while in_a_row < 3:
        in_a_row = in_a_row + 1 if await answers(world) else 0
        assert time.monotonic() - begun_s < 3 * AGAIN_WITHIN_S, "it does not answer any more"
        await asyncio.sleep(0.05)
    return time.monotonic() - begun_s


async def test_after_a_change_of_address(world: IngressWorld, machine: NetNamespace) -> None:
    assert await answers(world)
    machine.move()
    assert await answers_again(world) < AGAIN_WITHIN_S


async def test_when_a_router_forgets_its_connections(world: IngressWorld, machine: NetNamespace) -> None:
    assert await answers(world)
    links = machine.local_ports_to(world.ingress.ports[0])
    assert len(links) == 2
    machine.swallow(*links)
    assert await answers_again(world) < AGAIN_WITHIN_S


async def test_when_nothing_goes_through_for_a_while(world: IngressWorld, machine: NetNamespace) -> None:
    machine.run("ip", "link", "set", "eth0", "down")
    assert not await answers(world)
    await world.until(lambda: NODE_ID not in world.ingress.tunnels.reachable, 15)
    machine.run("ip", "link", "set", "eth0", "up")
    assert await answers_again(world) < AGAIN_WITHIN_S
