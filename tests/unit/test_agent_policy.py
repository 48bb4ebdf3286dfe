"""The owner's policy: how it is read, what it refuses, and that what was let in goes on."""

from __future__ import annotations

import string
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.facts import Facts, InstanceRecord, key_text
from agent.policy import Hours, NodePolicy, format_hours, is_open, limited, owner_policy, refusals
from agent.policy_file import BadPolicy, parse_policy
from lattice.contracts.messages import DesiredDocument, RunVolume
from lattice.contracts.nouns import Amounts, Inventory, LocalImage, OwnerPolicy, Phase, PortRange
from lattice.contracts.owner_rules import why_not
from lattice.testing import FakeRuntime
from tests.fixtures.agent import IMAGE, Node, eventually, instance_of, key_of, tombstone_of

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)  # a Friday
FILE = """\
# What my machine is for.
pools: [default, home]
resources: {cpu: 2, memory: 4Gi, disk: 50Gi}
hours:
  timezone: Europe/Berlin
  times:
    - {days: [mon, tue, wed, thu, fri], from: "18:00", to: "23:00"}
    - {days: [sat, sun], from: "00:00", to: "24:00"}
images:
  - docker.io/library/*
  - lattice.local/*
host_ports: [5432, 8000-8099]
"""


# ---------------------------------------------------------------------------------------- reading


def test_a_file_is_read() -> None:
    policy = parse_policy(FILE)
    assert policy.pools == ("default", "home")
    assert (policy.resources.cpu, policy.resources.memory, policy.resources.disk) == (
        2000,
        4 * 2**30,
        50 * 2**30,
    )
    assert policy.images == ("docker.io/library/*", "lattice.local/*")
    assert policy.host_ports == (PortRange(first=5432, last=5432), PortRange(first=8000, last=8099))
    assert format_hours(policy.hours) == (
        "mon tue wed thu fri 18:00-23:00, sat sun 00:00-24:00 (Europe/Berlin)"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "line 1: write rules such as `images: [...]`; to allow everything, remove the file"),
        ("- a", "line 1: write rules such as"),
        ("pools: [home]\nimage: [redis]\n", "line 2: image: there is no such rule"),
        ("resources:\n  cpu: 2\n  gpu: 1\n", "line 3: resources.gpu: there is no such rule"),
        ("resources:\n  cpu: lots\n", "line 2: resources.cpu: write cores as 0.5, 2 or 500m, at most 1000"),
        ("pools: [home\nimages: []", "line 2: expected ',' or ']', but got ':'"),
        ("images: []\nimages: [a]\n", "line 2: 'images' is given twice"),
        ("images:\n  - redis\n  - redis:7\n", "line 3: images.1: write an image's name without tag"),
        ("host_ports: [80-70]", "line 1: host_ports.0: write a port or a range"),
        ("host_ports: [{first: 1, last: 99999}]", "line 1: host_ports.0: write a port or a range"),
        ("hours:\n  timezone: Mars/Olympus\n  times: [{from: '01:00', to: '02:00'}]", "line 2: hours.timezone: unknown time zone"),
        ("hours:\n  timezone: UTC\n  times:\n  - {from: '25:00', to: '02:00'}", 'line 4: hours.times.0.from: write a time as "08:30"'),
        ("hours:\n  timezone: UTC\n  times:\n  - {from: '02:00', to: '02:00'}", "line 4: hours.times.0: from and to are the same"),
        ("hours:\n  times: [{from: '01:00', to: '02:00'}]", "line 1: hours.timezone: Field required"),
        ("{}: 1", "line 1: a key must be plain text"),
        ("? [a]\n: 1", "line 1: a key must be plain text"),
    ],
)  # fmt: skip
def test_a_bad_file_is_told_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(BadPolicy) as error:
        parse_policy(text)
    assert problem in str(error.value)


@given(st.text(alphabet=string.printable, max_size=60))
def test_any_text_is_a_policy_or_a_bad_one(text: str) -> None:
    try:
        assert isinstance(parse_policy(text), NodePolicy)
    except BadPolicy as error:
        assert str(error)


# ---------------------------------------------------------------------------------------- hours


def hours(*times: dict[str, Any], zone: str = "UTC") -> Hours:
    return Hours.model_validate({"timezone": zone, "times": times})


@pytest.mark.parametrize(
    ("times", "zone", "at", "expected"),
    [
        ({"from": "12:00", "to": "13:00"}, "UTC", NOW, True),
        ({"from": "11:00", "to": "12:00"}, "UTC", NOW, False),
        ({"from": "14:00", "to": "15:00"}, "Europe/Berlin", NOW, True),  # two hours ahead in May
        (
            {"from": "13:00", "to": "14:00"},
            "Europe/Berlin",
            NOW - timedelta(days=120),
            True,
        ),  # one in January
        ({"days": ["sat"], "from": "00:00", "to": "24:00"}, "UTC", NOW, False),
        ({"days": ["fri"], "from": "22:00", "to": "06:00"}, "UTC", NOW.replace(day=2, hour=5), True),
        ({"days": ["fri"], "from": "22:00", "to": "06:00"}, "UTC", NOW.replace(day=2, hour=6), False),
        ({"days": ["fri"], "from": "22:00", "to": "06:00"}, "UTC", NOW.replace(hour=5), False),
        ({"days": ["sun"], "from": "22:00", "to": "06:00"}, "UTC", NOW.replace(day=4, hour=1), True),
    ],
)
def test_the_hours(times: dict[str, Any], zone: str, at: datetime, expected: bool) -> None:
    assert is_open(hours(times, zone=zone), at) is expected


_minutes = st.integers(0, 24 * 60 - 1).map(lambda m: f"{m // 60:02}:{m % 60:02}")


@given(_minutes, _minutes, st.datetimes(timezones=st.just(UTC)))
def test_a_window_and_the_rest_of_the_week_are_the_whole_week(one: str, other: str, at: datetime) -> None:
    if one != other:
        window, rest = hours({"from": one, "to": other}), hours({"from": other, "to": one})
        assert is_open(window, at) is not is_open(rest, at)


# ---------------------------------------------------------------------------------------- what it refuses


def document(*instances: Any, pool: str = "default") -> DesiredDocument:
    return DesiredDocument(
        cluster_id="c1", node_id="nd-1", era=1, generation=1, instances=instances, pool=pool
    )


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ({"images": ["docker.io/library/*"]}, None),
        ({"images": ["test"]}, None),
        ({"images": ["ghcr.io/*"]}, "allows only images ghcr.io/* (rule images of f)"),
        ({"images": []}, "allows only images (none) (rule images of f)"),
        ({"pools": ["default"]}, None),
        ({"pools": ["home"]}, "allows only pool home, and it is in pool default (rule pools of f)"),
        ({"resources": {"cpu": "200m", "memory": "64Mi"}}, None),
        ({"resources": {"cpu": "100m"}}, "allows 0.1 cores of cpu; 0 cores are in use and 0.2 cores are wanted (rule resources.cpu of f)"),
        ({"resources": {"memory": "32Mi"}}, "allows 32 MiB of memory; 0 B are in use and 64 MiB are wanted (rule resources.memory of f)"),
        ({"resources": {"disk": 0}}, None),
        ({"hours": {"timezone": "UTC", "times": [{"from": "11:00", "to": "13:00"}]}}, None),
        ({"hours": {"timezone": "UTC", "times": [{"from": "13:00", "to": "14:00"}]}},
         "allows new work only every day 13:00-14:00 (UTC) (rule hours of f)"),
    ],
)  # fmt: skip
def test_each_rule(rules: dict[str, Any], reason: str | None) -> None:
    owner = owner_policy(NodePolicy.model_validate(rules), "f", NOW)
    refused = refusals(document(instance_of(key_of())), Facts(), owner)
    expected = {} if reason is None else {key_text(key_of()): f"the owner of this node {reason}"}
    assert refused == expected


def test_an_image_that_is_ordered_by_its_id_is_what_it_is_called_here() -> None:
    image_id = "sha256:" + "e" * 64
    ordered = document(instance_of(key_of(), image="lattice.local/redis:7", image_id=image_id))
    owner = OwnerPolicy(file="f", images=("lattice.local/*",))
    honest = LocalImage(id=image_id, references=("lattice.local/redis:7",))
    assert refusals(ordered, Facts(), owner, [honest]) == {}
    other = LocalImage(id=image_id, references=("private/payroll:3",))
    refused = refusals(ordered, Facts(), owner, [other])[key_text(key_of())]
    assert (
        "allows only images lattice.local/*, and sha256:eeeeeeeeeeee is called private/payroll:3 here"
        in refused
    )
    assert key_text(key_of()) in refusals(ordered, Facts(), owner, [])


def test_a_volume_takes_disk() -> None:
    volume = RunVolume(volume_id="vo-1", name="data", path="/data", size_bytes=2**30)
    owner = owner_policy(NodePolicy.model_validate({"resources": {"disk": "512Mi"}}), "f", NOW)
    refused = refusals(document(instance_of(key_of(), volumes=(volume,))), Facts(), owner)
    assert "allows 512 MiB of disk" in refused[key_text(key_of())]


def test_a_file_that_cannot_be_used_refuses_new_work_only() -> None:
    owner = OwnerPolicy(file="f", problem="line 3: memry: there is no such rule")
    known = Facts().with_record(InstanceRecord(key=key_of(slot=1), was_made=True))
    wanted = document(instance_of(key_of()), instance_of(key_of(slot=1)))
    assert refusals(wanted, known, owner) == {
        key_text(
            key_of()
        ): "the owner of this node wrote a policy that cannot be used: line 3: memry: there is "
        "no such rule (rule file of f)"
    }


_instances = st.lists(st.tuples(st.integers(1, 500), st.booleans()), max_size=8)


@given(_instances, st.integers(0, 1500))
def test_what_was_let_in_stays_and_new_work_keeps_the_limit(
    asked: list[tuple[int, bool]], limit: int
) -> None:
    facts, instances = Facts(), []
    for slot, (cpu_millis, inside) in enumerate(asked):
        instances.append(instance_of(key_of(slot=slot), cpu_millis=cpu_millis))
        if inside:
            facts = facts.with_record(InstanceRecord(key=key_of(slot=slot), admitted=True))
    refused = refusals(document(*instances), facts, OwnerPolicy(file="f", cpu_millis=limit))
    before = sum(cpu for cpu, inside in asked if inside)
    added = sum(
        each.run.cpu_millis
        for each, (_, inside) in zip(instances, asked, strict=True)
        if not inside and key_text(each.key) not in refused
    )
    assert not any(key_text(key_of(slot=n)) in refused for n, (_, inside) in enumerate(asked) if inside)
    assert added == 0 or before + added <= limit


def test_the_capacity_is_lowered_and_never_raised() -> None:
    inventory = Inventory(capacity=Amounts(cpu_millis=4000, memory_bytes=8, disk_bytes=100))
    seen = limited(inventory, OwnerPolicy(file="f", cpu_millis=1000, memory_bytes=16))
    assert seen.capacity == Amounts(cpu_millis=1000, memory_bytes=8, disk_bytes=100)
    assert limited(inventory, None) == inventory


def test_ports_must_be_allowed() -> None:
    owner = OwnerPolicy(file="f", host_ports=(PortRange(first=8000, last=8099),))
    assert why_not(owner, pool="", image="", host_ports=(8000, 8099)) is None
    refused = why_not(owner, pool="", image="", host_ports=(8000, 5432))
    assert refused is not None and refused.reason == (
        "allows fixed host ports only in 8000-8099, and 5432 is wanted: leave out host_port, or ask for "
        "`host_ports: [5432]` in the node's policy file"
    )


# ---------------------------------------------------------------------------------------- the agent


@pytest.fixture
def runtime() -> FakeRuntime:
    return FakeRuntime(images=(IMAGE, "acme/web:1"))


@pytest.fixture
def node(runtime: FakeRuntime, tmp_path: Path) -> Node:
    (tmp_path / "data").mkdir()
    return Node(runtime, tmp_path, config={"policy_every_s": 0.02})


@pytest.fixture
def file(node: Node) -> Iterator[Path]:
    yield node.folder / "data" / "policy.yaml"


async def test_new_work_is_refused_running_work_goes_on_and_no_restart_is_needed(
    node: Node, runtime: FakeRuntime, file: Path
) -> None:
    async with node.run():
        await node.want(instance_of(key_of()))
        before = await node.until(key_of(), lambda c: c.phase is Phase.RUNNING)
        file.write_text("images: [acme/*]\n")
        await eventually(lambda: node.report and node.report.inventory.policy)
        await node.want(instance_of(key_of()), instance_of(key_of(slot=1)))
        refused = await node.until(key_of(slot=1), lambda c: c.phase is Phase.FAILED)
        assert refused.reason == (
            f"refused: the owner of this node allows only images acme/* (rule images of {file})"
        )
        assert node.told("refused")[0].key == key_of(slot=1)
        runtime.end(key_of().container_name("c1"))
        again = await node.until(key_of(), lambda c: c.restarts == 1 and c.phase is Phase.RUNNING)
        assert again.container_id == before.container_id
        runtime.vanish(key_of().container_name("c1"))
        await node.until(key_of(), lambda c: c.restarts == 2 and c.phase is Phase.RUNNING)
        file.write_text("images: [acme/*, test]\n")
        await node.until(key_of(slot=1), lambda c: c.phase is Phase.RUNNING)


async def test_a_bad_file_is_told_and_heals(node: Node, runtime: FakeRuntime, file: Path) -> None:
    file.write_text("imagse: []\n")
    async with node.run():
        await node.want(instance_of(key_of()))
        refused = await node.until(key_of(), lambda c: c.phase is Phase.FAILED)
        assert "cannot be used: line 1: imagse: there is no such rule" in refused.reason
        assert not [call for call in runtime.calls if call[0] in ("pull", "create")]
        assert node.report is not None and node.report.inventory.policy is not None
        assert node.report.inventory.policy.problem == "line 1: imagse: there is no such rule"
        file.write_text("images: [test]\n")
        await node.until(key_of(), lambda c: c.phase is Phase.RUNNING)
        file.write_text("nothing: 1\n")
        told = await eventually(lambda: [e for e in node.told("owner_policy") if not e.data["usable"]])
    assert "no new work is taken until it is put right" in told[0].detail


async def test_a_file_that_is_removed_allows_everything(node: Node, file: Path) -> None:
    file.write_text("resources: {cpu: 100m}\n")
    async with node.run():
        await node.want(instance_of(key_of()))
        await node.until(key_of(), lambda c: c.phase is Phase.FAILED)
        seen = await eventually(lambda: node.report and node.report.inventory)
        assert seen.capacity.cpu_millis == 100
        file.unlink()
        await node.until(key_of(), lambda c: c.phase is Phase.RUNNING)


async def test_a_file_that_the_settings_name_must_be_there(node: Node, tmp_path: Path) -> None:
    node.config |= {"policy_file": tmp_path / "none.yaml", "policy_required": True}
    async with node.run():
        await node.want(instance_of(key_of()))
        seen = await node.until(key_of(), lambda c: c.phase is Phase.FAILED)
    assert "it is not there, and the agent's settings name it" in seen.reason


async def test_a_refused_newer_epoch_leaves_the_older_one_running(
    node: Node, runtime: FakeRuntime, file: Path
) -> None:
    async with node.run():
        await node.want(instance_of(key_of(1)))
        await node.until(key_of(1), lambda c: c.phase is Phase.RUNNING)
        file.write_text("images: []\n")
        await eventually(lambda: node.report and node.report.inventory.policy)
        await node.want(instance_of(key_of(2)))
        await node.until(key_of(2), lambda c: c.phase is Phase.FAILED)
        assert [c.is_up for c in await runtime.containers("c1")] == [True]
        await node.want(instance_of(key_of(2)), tombstones=(tombstone_of(key_of(1)),))
        await node.until_gone(key_of(1))
    assert await runtime.containers("c1") == ()
