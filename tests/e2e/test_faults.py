"""Faults on the running product: parts killed in the middle, the bus and the database lost, the node away, messages again and late."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest

from agent.identity_store import IdentityStore
from agent.journal import DOCUMENT
from lattice.bus import NatsBus
from lattice.contracts.catalogue import DESIRED_DOCUMENT, HEARTBEAT, STATUS
from lattice.contracts.messages import DesiredDocument, Heartbeat, ObservedDocument
from lattice.contracts.nouns import ContainerKey, ObservedContainer, Phase
from lattice.ids import new_id
from lattice.messaging import Received
from tests.fixtures.platform import Platform, platforms, until
from tests.fixtures.reliability import Record

Json = dict[str, Any]
PARTS = ("registry", "scheduler", "gateway", "logs", "agent")
SLEEP = ("sleep", "86400")


@pytest.fixture(scope="module")
def platform(docker_engine: str, image_test: str) -> Iterator[Platform]:
    """A platform for these tests alone: each of them harms it, and it must be whole again for the next."""
    with platforms() as make:
        harmed = make()
        harmed.up()
        for name in ("first", "second"):
            harmed.ok("run", image_test, "--name", name, "--", *SLEEP)
        yield harmed


def post(rest: httpx.Client, path: str, body: Json | None = None) -> Json:
    answer = rest.post(path, json=body)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def sleeper(name: str, image: str, **more: Any) -> Json:
    small = {"cpu": 0.02, "memory": "16Mi"}
    return {"name": name, "image": image, "command": SLEEP, "resources": small, **more}


def works(platform: Platform, image: str) -> None:
    """A new workload can be deployed and removed."""
    name = f"probe-{secrets.token_hex(3)}"
    platform.ok("run", image, "--name", name, "--", *SLEEP)
    platform.ok("rm", name, "--yes")


# ------------------------------------------------------------------------------- parts that are killed


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("part", PARTS)
def test_a_part_killed_during_a_deploy(
    platform: Platform, image_test: str, part: str, full_size: bool, record: Record
) -> None:
    # Eight of each of five parts: the supervisor waits longer before each next start of a part that falls again and again.
    delays_s = [step * 0.25 for step in range(8)] if full_size else [0.05]
    slowest_s = 0.0
    for delay_s in delays_s:
        slowest_s = max(slowest_s, _deploy_and_kill(platform, image_test, part, delay_s))
    record(
        f"kill -9 of {part} during a deploy",
        f"{len(delays_s)} kills, {delays_s[0]:.2f} to {delays_s[-1]:.2f} s after the request: each deploy succeeded with one container; "
        f"slowest {slowest_s:.1f} s",
    )


def _deploy_and_kill(platform: Platform, image: str, part: str, delay_s: float) -> float:
    name = f"hit-{secrets.token_hex(3)}"
    before = platform.lives()
    with platform.rest() as rest:
        operation = post(rest, "/v1/workloads", sleeper(name, image))["operation"]
    began_s = time.monotonic()
    time.sleep(delay_s)  # the moment of the kill is what is varied
    pid = platform.kill(part)
    ended = platform.ended(operation["id"])
    took_s = time.monotonic() - began_s
    assert ended["state"] == "succeeded", ended
    assert datetime.fromisoformat(ended["ended_at"]) <= datetime.fromisoformat(ended["deadline"])
    platform.until_replaced(part, pid)
    assert platform.container(name)["State"]["Running"]
    assert before.items() <= platform.lives().items(), "no other container was touched"
    platform.ok("rm", name, "--yes")
    return took_s


def test_the_bus_killed_while_everything_runs(platform: Platform, image_test: str) -> None:
    before = platform.lives()
    pid = platform.kill("nats")
    platform.until_replaced("nats", pid)
    platform.until_state("first", "running")
    works(platform, image_test)
    assert platform.lives() == before


def test_the_database_killed_while_everything_runs(platform: Platform, image_test: str) -> None:
    """Meanwhile the API says in its own form that a part is away; it never breaks and never lies."""
    before = platform.lives()
    answers: list[httpx.Response] = []
    with platform.rest() as rest:
        for _ in range(3):  # each restart comes a little later, so that there is a time without a database
            pid = platform.kill("postgres")
            answers += _answers_until_back(rest)
            platform.until_replaced("postgres", pid)
    refused = [each for each in answers if each.status_code != 200]
    assert refused, "the database was away"
    for each in refused:
        assert (each.status_code, each.headers["content-type"]) == (503, "application/problem+json")
        assert each.headers["retry-after"] and each.json()["request_id"]
    works(platform, image_test)
    assert platform.lives() == before


def _answers_until_back(rest: httpx.Client) -> list[httpx.Response]:
    """What the API answers from now on, up to the first good answer after a refusal."""
    answers: list[httpx.Response] = []

    def back() -> bool:
        answers.append(rest.get("/v1/workloads"))
        return answers[-1].status_code == 200 and (len(answers) > 1 and answers[-2].status_code != 200)

    until(back, what="the API answering again")
    return answers


# ----------------------------------------------------------------------------- a platform that was away


def test_an_erased_bus_comes_back_from_the_database(platform: Platform, image_test: str) -> None:
    before, shown = platform.lives(), platform.json("ps")["items"]
    events = platform.json("events", "first")["items"]
    platform.down()
    shutil.rmtree(platform.root / "nats" / "jetstream")
    platform.up()
    works(platform, image_test)
    assert platform.lives() == before
    assert [each["id"] for each in platform.json("ps")["items"]] == [each["id"] for each in shown]
    kept = {each["seq"] for each in platform.json("events", "first")["items"]}
    assert {each["seq"] for each in events} <= kept
    platform.ok("restart", "first")
    assert platform.container("first")["State"]["Running"], "orders reach the node under their old numbers"


# ------------------------------------------------------------------------------------- the node away


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_many_changes_while_the_node_is_away_are_one_apply(
    platform: Platform, full_size: bool, record: Record
) -> None:
    count = 500 if full_size else 40
    before, generation = platform.lives(), journalled(platform).generation
    pid = platform.kill("agent", signal.SIGSTOP)
    taken = len(documents_taken(platform))
    with platform.rest() as rest:
        for number in range(count):
            verb = "start" if number % 2 else "stop"  # the last word is `start`
            post(rest, f"/v1/workloads/first/{verb}")
        post(rest, "/v1/workloads/second/stop")
    until(lambda: node_state(platform) == "unreachable", timeout_s=60)
    assert platform.lives() == before, "nobody but its agent touches a node's containers"
    platform.kill("agent")
    platform.until_replaced("agent", pid)
    platform.until_state("second", "stopped")
    platform.until_state("first", "running")
    after = documents_taken(platform)[taken:]
    assert len(after) == 1, after
    wanted = journalled(platform).generation - generation
    assert wanted > 1, "several documents were missed, not one"
    first = platform.container("first")
    assert before[first["Name"]] == platform.lives()[first["Name"]], (
        "stopped and started again: nothing to do"
    )
    platform.ok("start", "second")
    record(
        "changes while the node is away",
        f"{count + 1} changes of its workloads became {wanted} documents; 1 was applied at its return",
    )


def journalled(platform: Platform) -> DesiredDocument:
    """The document that the agent keeps."""
    content = (platform.root / "agent" / "journal" / DOCUMENT).read_bytes()
    return DesiredDocument.model_validate_json(content)


def documents_taken(platform: Platform) -> list[str]:
    """What the agent says each time it acts on a new document."""
    messages = [str(line["message"]) for line in platform.log("agent")]
    return [each for each in messages if each.startswith("document ") and each.endswith(" taken")]


def node_state(platform: Platform) -> str:
    return str(platform.json("node", "ls")["items"][0]["state"])


# ------------------------------------------------------------------------ messages again, late, forged


async def test_orders_that_come_again_or_late_have_no_effect(platform: Platform, image_test: str) -> None:
    old = journalled(platform)
    platform.ok("run", image_test, "--name", "third", "--", *SLEEP)
    newest, before = journalled(platform), platform.lives()
    assert newest.order > old.order
    taken = documents_taken(platform)
    foreign = newest.model_copy(update={"cluster_id": "elsewher"})
    async with NatsBus(platform.bus_settings("registry"), identity="registry") as bus:
        for document in (newest, old, old, newest, old, foreign):
            await bus.append(DESIRED_DOCUMENT, document, msg_id=new_id("dd"), node_id=newest.node_id)
    # The last of them was heard, so all before it were.
    until(lambda: any("of cluster elsewher" in str(line["message"]) for line in platform.log("agent")))
    assert documents_taken(platform) == taken
    assert platform.lives() == before
    platform.ok("rm", "third", "--yes")
    assert len(documents_taken(platform)) > len(taken), "a newer one is acted on"
    works(platform, image_test)


async def test_reports_that_come_again_or_late_have_no_effect(platform: Platform) -> None:
    store = IdentityStore(platform.root / "agent" / "identity")
    credentials = store.credentials
    assert credentials is not None
    now = await newest_heartbeat(platform, journalled(platform).node_id)
    false = false_report(platform, "first", now)
    earlier = [
        false.model_copy(update={"counter": 1}),  # an earlier one of this run
        false.model_copy(update={"boot_id": "0" * 16, "session": now.session - 1}),  # of the run before
        false.model_copy(update={"boot_id": "0" * 16, "session": 1}),  # of the first run of all
    ]
    async with NatsBus(store.bus_settings(credentials), identity=now.node_id) as bus:
        for report in (*earlier, *earlier):
            await bus.append(STATUS, report, msg_id=new_id("ob"), node_id=now.node_id)
        platform.ok("stop", "second")  # done when a later report was read, so those were
        platform.ok("start", "second")
        assert platform.json("show", "first")["state"] == "running"
        # The same words in their right place are believed: what was refused was their order.
        await bus.append(STATUS, false, msg_id=new_id("ob"), node_id=now.node_id)
        assert platform.until_state("first", "failed")["instances"][0]["reason"] == FALSE
    platform.until_replaced("agent", platform.kill("agent"))
    platform.until_state("first", "running")


FALSE = "this is not so"


async def newest_heartbeat(platform: Platform, node_id: str) -> Heartbeat:
    """What the node says of itself now."""
    heard: asyncio.Queue[Heartbeat] = asyncio.Queue()

    async def hear(received: Received[Heartbeat]) -> None:
        heard.put_nowait(received.message)

    async with NatsBus(platform.bus_settings("registry"), identity="registry") as bus:
        await bus.subscribe(HEARTBEAT, hear, node_id=node_id)
        return await asyncio.wait_for(heard.get(), 20)


def false_report(platform: Platform, workload: str, now: Heartbeat) -> ObservedDocument:
    """A report of this run of the agent, newer than all of them, that says that a workload failed."""
    shown = platform.json("show", workload)
    instance = shown["instances"][0]
    key = ContainerKey(workload_id=shown["id"], slot=instance["slot"], epoch=instance["epoch"])
    failed = ObservedContainer(
        key=key, instance_id=instance["id"], phase=Phase.FAILED, reason=FALSE, exit_code=9
    )
    order = journalled(platform).order
    return ObservedDocument(
        node_id=now.node_id,
        boot_id=now.boot_id,
        session=now.session,
        counter=1_000_000,
        era=order[0],
        generation=order[1],
        complete=True,
        containers=(failed,),
    )


# --------------------------------------------------------------------------------------- read your write


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_what_was_written_is_there_when_it_is_read(
    platform: Platform, image_test: str, full_size: bool, record: Record
) -> None:
    count = 1000 if full_size else 100
    project = f"many-{secrets.token_hex(3)}"
    platform.ok("project", "create", project)
    with platform.rest() as rest:
        began_s = time.monotonic()
        for number in range(count):
            name = f"w{number:04d}"
            body = sleeper(name, image_test, replicas=0)
            made = post(rest, f"/v1/workloads?project={project}", body)["workload"]
            seen = rest.get(f"/v1/workloads/{name}?project={project}")
            assert (seen.status_code, seen.json()["id"]) == (200, made["id"])
        took_s = time.monotonic() - began_s
        for number in range(count):
            assert rest.delete(f"/v1/workloads/w{number:04d}?project={project}").status_code == 202
    record("write, then read", f"{count} of {count} found at once; {count / took_s:.0f} pairs/s")
