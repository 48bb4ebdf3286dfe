"""Fixed host ports: refused unless the owner of a node allows them, one instance per node and port, and whoever has a port is named."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agent.ports import is_free
from lattice.contracts.messages import CommitPlacements, RunPort, SchedulingQuery
from lattice.contracts.nouns import OwnerPolicy, Phase, PortRange
from lattice.contracts.spec import BackoffSpec, PortProtocol, WorkloadSpec
from lattice.errors import Invalid
from lattice.testing import FakeRuntime
from services.registry import scheduling
from services.registry.change import SYSTEM
from services.registry.tables import NodeRow
from tests.fixtures.agent import IMAGE, Node, instance_of, key_of, tombstone_of
from tests.fixtures.registry_world import INVENTORY, NODE, World, placement

ALLOWED = OwnerPolicy(file="f", host_ports=(PortRange(first=20000, last=31999),))
FAST = BackoffSpec(initial=0.1, max=0.1)
WEB: dict[str, Any] = {"image": "web:1", "ports": ({"name": "http", "port": 80, "host_port": 20080},)}


@pytest.mark.parametrize(
    ("address", "is_in_the_way"), [("127.0.0.1", True), ("0.0.0.0", True), ("127.30.0.9", False)]
)
def test_a_port_is_taken_by_who_has_it_here_or_everywhere(address: str, is_in_the_way: bool) -> None:
    """Links of other containers have it on an address of their network: a fixed host port of the same number can still be published."""
    with socket.create_server((address, 0)) as listener:
        assert is_free(listener.getsockname()[1]) is not is_in_the_way


# ---------------------------------------------------------------------------------------- the spec


@pytest.mark.parametrize(
    ("ports", "problem"),
    [
        ([{"name": "a", "port": 1, "host_port": 1023}], "greater than or equal to 1024"),
        ([{"name": "a", "port": 1, "host_port": "8080"}], "valid integer"),
        (
            [{"name": "aa", "port": 1, "host_port": 8080}, {"name": "bb", "port": 2, "host_port": 8080}],
            "host port '8080' is given twice",
        ),
    ],
)
def test_a_wrong_host_port_is_refused(ports: list[dict[str, Any]], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        WorkloadSpec(name="web", image="web:1", ports=ports)


# ---------------------------------------------------------------------------------------- the registry


async def allow(world: World) -> None:
    async with world.deps.change(SYSTEM, action="test") as change:
        node = await change.tx.get(NodeRow, NODE, lock=True)
        assert node is not None
        inventory = INVENTORY.model_copy(update={"policy": ALLOWED})
        change.tx.update(node, inventory=inventory.model_dump(mode="json"))


async def test_a_port_that_no_node_allows_is_refused_with_what_to_do(world: World) -> None:
    with pytest.raises(Invalid) as refused:
        await world.create(name="web", **WEB)
    assert (
        "allows no fixed host ports, and 20080 is wanted: leave out host_port, or ask for"
        in refused.value.detail
    )
    assert "`host_ports: [20080]` in the node's policy file" in refused.value.detail
    assert (await scheduling.scheduling_snapshot(world.deps, SchedulingQuery())).wanted == ()


async def test_two_workloads_do_not_get_one_port_of_a_node(world: World) -> None:
    await allow(world)
    await world.create(name="one", **WEB)
    (placed,) = await world.place_all()
    assert placed.host_ports == (20080,)
    await world.create(name="two", **WEB)
    snapshot = await scheduling.scheduling_snapshot(world.deps, SchedulingQuery())
    assert snapshot.nodes[0].host_ports == {20080: "one"}
    (wanted,) = snapshot.wanted
    chosen = placement(wanted, snapshot.nodes[0].placement_version)
    reply = await scheduling.commit_placements(
        world.deps, CommitPlacements(term=snapshot.term, placements=(chosen,))
    )
    assert [each.reason.endswith("is taken meanwhile") for each in reply.refused] == [True]
    document = await world.document()
    assert [instance.run.host_ports for instance in document.instances] == [(20080,)]
    assert document.pool == "default"


# ---------------------------------------------------------------------------------------- the agent


@pytest.fixture
def runtime() -> FakeRuntime:
    return FakeRuntime(images=(IMAGE,))


def node_that_allows(runtime: FakeRuntime, folder: Path, **config: Any) -> Node:
    (folder / "data").mkdir()
    (folder / "data" / "policy.yaml").write_text("host_ports: [20000-31999]\n")
    return Node(runtime, folder, config=config)


def port(number: int) -> tuple[RunPort, ...]:
    return (RunPort(name="http", container_port=8080, protocol=PortProtocol.TCP, host_port=number),)


async def test_a_node_refuses_a_port_that_its_owner_did_not_allow(
    runtime: FakeRuntime, tmp_path: Path
) -> None:
    async with (node := Node(runtime, tmp_path)).run():
        await node.want(instance_of(key_of(), ports=port(20080)))
        seen = await node.until(key_of(), lambda c: c.phase is Phase.FAILED)
    assert seen.reason.startswith(
        "refused: the owner of this node allows no fixed host ports, and 20080 is wanted"
    )
    assert await runtime.containers("c1") == ()


async def test_the_port_is_the_one_that_was_asked_for_and_free_after_removal(
    runtime: FakeRuntime, tmp_path: Path
) -> None:
    node = node_that_allows(runtime, tmp_path, port_is_free=lambda _: True)
    async with node.run():
        await node.want(instance_of(key_of(), ports=port(20080)))
        seen = await node.until(key_of(), lambda c: c.phase is Phase.RUNNING)
        assert [each.host_port for each in seen.ports] == [20080]
        other = instance_of(key_of(workload="wl-2"), ports=port(20080))
        await node.want(other, tombstones=(tombstone_of(key_of()),))
        again = await node.until(key_of(workload="wl-2"), lambda c: c.phase is Phase.RUNNING)
        assert [each.host_port for each in again.ports] == [20080]


async def test_our_own_container_that_has_the_port_is_named(runtime: FakeRuntime, tmp_path: Path) -> None:
    up: set[int] = set()
    node = node_that_allows(runtime, tmp_path, port_is_free=lambda number: number not in up)
    async with node.run():
        await node.want(instance_of(key_of(), ports=port(20080)))
        await node.until(key_of(), lambda c: c.phase is Phase.RUNNING)
        up.add(20080)
        other = key_of(workload="wl-2")
        await node.want(
            instance_of(key_of(), ports=port(20080)), instance_of(other, ports=port(20080), backoff=FAST)
        )
        seen = await node.until(other, lambda c: "in use" in c.reason)
        assert seen.reason.startswith(
            "host port 20080 is in use on this node by workload web (container lattice-c1-wl-1-0-1)"
        )
        up.clear()
        await node.want(
            instance_of(other, ports=port(20080), backoff=FAST), tombstones=(tombstone_of(key_of()),)
        )
        await node.until(other, lambda c: c.phase is Phase.RUNNING)


async def test_another_program_that_has_the_port_is_named(runtime: FakeRuntime, tmp_path: Path) -> None:
    node = node_that_allows(runtime, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        (tmp_path / "data" / "policy.yaml").write_text(f"host_ports: [{taken}]\n")
        async with node.run():
            await node.want(instance_of(key_of(), ports=port(taken), backoff=FAST))
            seen = await node.until(key_of(), lambda c: "in use" in c.reason)
    assert f"host port {taken} is in use on this node by process {os.getpid()} (" in seen.reason
    assert await runtime.containers("c1") == ()
