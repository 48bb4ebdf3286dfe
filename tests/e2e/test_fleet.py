"""Three nodes with an Engine each: work is spread, moved off nodes that are drained or lost, stays where only the Engine is away, and is exact
again when all return."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from tests.fixtures.fleet import Fleet, Member, running_fleet
from tests.fixtures.load import under_load
from tests.fixtures.platform import until

SLEEP = ("--", "sleep", "86400")
# What moves, moves after three seconds.
SOON = ("--set", "on_node_loss.lost_after=3s")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, image_test: str) -> Iterator[Fleet]:
    """The machines of these tests; each test leaves them ready and empty."""
    with running_fleet(tmp_path_factory.mktemp("fleet"), image_test) as fleet:
        yield fleet


def run(fleet: Fleet, image: str, name: str, *options: str, on: str | None = None, wait: bool = True) -> None:
    options = options if wait else (*options, "--no-wait")
    place = ("--set", f'placement.constraints=["node == {on}"]') if on else ()
    fleet.platform.ok("run", image, "--name", name, "--memory", "16Mi", *SOON, *place, *options, *SLEEP)


@pytest.fixture
def clean(fleet: Fleet) -> Iterator[None]:
    """Everything ready and nothing running, after the test as before it."""
    yield
    for member in fleet.members.values():
        member.engine.ensure_running()
        member.ensure_running()
    for workload in fleet.platform.json("ps")["items"]:
        fleet.platform.ok("rm", workload["name"], "--volumes", "--yes")
    for name in ("one", "two", "three"):
        fleet.platform.run("node", "uncordon", name)
        fleet.until_node(name, "ready")


pytestmark = pytest.mark.usefixtures("clean")


def test_replicas_are_spread(fleet: Fleet, image_test: str) -> None:
    run(fleet, image_test, "web", "--replicas", "3")
    assert fleet.where("web") == [("one", "running"), ("three", "running"), ("two", "running")]
    assert [len(fleet[name].containers("web")) for name in ("two", "three")] == [1, 1]


def test_rules_decide_and_what_waits_is_placed_when_a_node_becomes_right(
    fleet: Fleet, image_test: str
) -> None:
    """Nothing that runs moves for a label; who has to be near another follows it."""
    run(fleet, image_test, "db", "--set", 'placement.constraints=["label.zone == attic"]', "--no-wait")
    near = 'placement.affinity=[{"workload": "db", "topology": "node"}]'
    run(fleet, image_test, "web", "--set", near, "--no-wait")
    until(lambda: "do not meet" in fleet.platform.ok("show", "db"), what="the reason")
    until(lambda: "have no instance of db" in fleet.platform.ok("show", "web"), what="the reason")
    fleet.platform.ok("node", "label", "two", "zone=attic")
    fleet.until_where("db", ("two", "running"))
    fleet.until_where("web", ("two", "running"))
    fleet.platform.ok("node", "label", "two", "zone-")
    assert fleet.where("db") == [("two", "running")]


def test_a_drain_moves_work_without_a_gap(fleet: Fleet, image_test: str) -> None:
    run(fleet, image_test, "web", "--replicas", "3")
    said = fleet.platform.ok("node", "drain", "two")
    assert "two is drained: 1 moved" in said
    assert fleet["two"].containers("web") == [] and fleet.node("two")["state"] == "draining"
    states = fleet.where("web")
    assert len(states) == 3 and "two" not in {node for node, _ in states}
    verbs = [verb for verb, _ in fleet.events("web")]
    assert verbs.index("removed") > verbs.index("displaced")
    assert verbs[: verbs.index("displaced")].count("ready") == 4, (
        "the new one served before the old one was told to go"
    )


def test_data_blocks_a_drain_and_is_named(fleet: Fleet, image_test: str) -> None:
    run(fleet, image_test, "keeper", "--volume", "data:/data", on="two")
    (before,) = fleet["two"].containers("keeper")
    said = fleet.platform.refused("node", "drain", "two")
    assert "keeper cannot" in said and "the data is on this node" in said
    (after,) = fleet["two"].containers("keeper")
    assert after["State"] == before["State"]


def test_a_drained_node_that_nothing_fits_elsewhere_goes_on_serving(fleet: Fleet, image_test: str) -> None:
    run(fleet, image_test, "web", on="two")
    before = fleet["two"].containers("web")
    said = fleet.platform.refused("node", "drain", "two", "--deadline", "3s")
    assert "1 still to move: web (no node fits: " in said
    assert fleet["two"].containers("web")[0]["State"] == before[0]["State"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["agent-killed", "cut-off"])
def test_work_of_a_lost_node_moves_and_the_node_returns_to_the_exact_count(
    fleet: Fleet, image_test: str, how: signal.Signals
) -> None:
    """Cut off: its agent hears nothing and says nothing, while its containers run on, as on the far side of a broken network."""
    run(fleet, image_test, "web", "--replicas", "3")
    run(fleet, image_test, "keeper", "--volume", "data:/data", on="two")
    two, before = fleet["two"], fleet["two"].containers("web")
    kept = two.containers("keeper")
    two.send(how)
    fleet.until_node("two", "unreachable")
    until(lambda: [s for _, s in fleet.where("web")].count("running") == 3, what="three serving elsewhere")
    assert ("two", "stopping") in fleet.where("web"), "shown as going with its node"
    assert fleet.where("keeper") == [("two", "held")]
    assert two.containers("web")[0]["State"] == before[0]["State"], (
        "nothing that fails elsewhere stops a container"
    )
    if how is signal.SIGKILL:
        two.start()
    else:
        two.send(signal.SIGCONT)
    fleet.until_node("two", "ready")
    until(lambda: len(fleet.where("web")) == 3 and not two.containers("web"), what="the exact count")
    assert two.containers("keeper")[0]["State"] == kept[0]["State"]
    assert fleet.where("keeper") == [("two", "running")]


def test_a_node_that_reboots_has_its_work_again(fleet: Fleet, image_test: str) -> None:
    fleet.platform.ok("run", image_test, "--name", "web", "--memory", "16Mi", "--replicas", "3", *SLEEP)
    two = fleet["two"]
    two.kill()
    two.engine.docker("kill", *two.engine.docker("ps", "--quiet").split())
    two.engine.end(signal.SIGKILL)
    fleet.until_node("two", "unreachable")
    two.engine.start()
    two.start()
    fleet.until_where("web", ("one", "running"), ("two", "running"), ("three", "running"))
    assert len(two.containers("web")) == 1


def test_when_most_nodes_vanish_nothing_moves_until_people_say_so(fleet: Fleet, image_test: str) -> None:
    run(fleet, image_test, "web", "--replicas", "3")
    for name in ("two", "three"):
        fleet[name].kill()
    for name in ("two", "three"):
        fleet.until_node(name, "unreachable")
    until(lambda: _away_s(fleet, "three") > 6, what="twice the time after which work moves")
    assert {node for node, _ in fleet.where("web")} == {"one", "two", "three"}, (
        "held: our own fault is likelier"
    )
    assert "mass_node_loss" in {
        fact["verb"] for fact in fleet.platform.json("events", "--project", "*")["items"]
    }
    fleet.platform.ok("node", "confirm-lost", "three")
    until(lambda: fleet.where("web").count(("one", "running")) == 2, what="the work of three on one")
    assert ("two", "lost") in fleet.where("web")
    for name in ("two", "three"):
        fleet[name].start()
    for name in ("two", "three"):
        fleet.until_node(name, "ready")
    until(lambda: [s for _, s in fleet.where("web")] == ["running"] * 3, what="the exact count")


def _away_s(fleet: Fleet, name: str) -> float:
    since = fleet.node(name)["lost_since"]
    return (datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds() if since else 0.0


def test_what_keeps_failing_on_a_node_is_tried_on_another(fleet: Fleet, image_test: str) -> None:
    for name in ("one", "three"):
        fleet.platform.ok("node", "cordon", name)
    quick = ("--set", "restart.reschedule_after=4s", "--set", "restart.backoff.max=0.5")
    run(fleet, image_test, "web", *quick)
    for name in ("one", "three"):
        fleet.platform.ok("node", "uncordon", name)
    two = fleet["two"]

    def moved() -> bool:
        """Whatever runs on `two` is killed, as by a fault of that machine."""
        for each in two.containers("web"):
            if each["State"]["Running"]:
                with suppress(subprocess.CalledProcessError):  # it has just been stopped
                    two.engine.docker("kill", each["Id"])
        return [(node != "two", state) for node, state in fleet.where("web")] == [(True, "running")]

    until(moved, what="web running elsewhere alone")
    assert two.containers("web") == [], "the old one is removed"
    (instance,) = fleet.platform.json("show", "web")["instances"]
    assert instance["last_exit"]["node"] == "two", instance["last_exit"]
    assert instance["last_exit"]["reason"] == "exited with 137 (SIGKILL)"
    told = [fact for fact in fleet.platform.json("events", "web")["items"] if fact["verb"] == "rescheduled"]
    assert len(told) == 1 and told[0]["cause"].startswith("it kept failing on node two for ")


def test_a_constraint_keeps_work_where_it_belongs(fleet: Fleet, image_test: str) -> None:
    run(fleet, image_test, "web", on="three")
    assert fleet.where("web") == [("three", "running")]


def test_what_the_owner_of_a_machine_does_not_allow_runs_elsewhere(fleet: Fleet, image_test: str) -> None:
    file = fleet["two"].folder / "agent" / "policy.yaml"
    file.write_text("images: [docker.io/library/*]\nresources: {memory: 64Mi}\n")
    until(lambda: fleet.node("two")["policy"], what="the policy of two being known")
    assert fleet.node("two")["capacity"]["memory_bytes"] == 64 * 2**20
    shown = fleet.platform.ok("node", "show", "two")
    assert "What its owner allows here:" in shown and "docker.io/library/*" in shown
    run(fleet, image_test, "web", "--replicas", "3")
    assert "two" not in {node for node, _ in fleet.where("web")}
    rejected = fleet.platform.json("show", "web")["placement"][0]["rejected"]
    assert [each["reason"] for each in rejected if each["node"] == "two"] == [
        "two is not open to it: its owner allows only images docker.io/library/*"
    ]
    file.write_text("imagse: []\n")
    until(lambda: fleet.node("two")["policy"]["problem"], what="the mistake being told")
    assert "line 1: imagse: there is no such rule; the node takes no new work" in fleet.platform.ok(
        "node", "show", "two"
    )
    file.unlink()
    until(lambda: fleet.node("two")["policy"] is None, what="the policy of two being gone")


def lives(member: Member, workload: str) -> list[tuple[str, str]]:
    """Which containers of a workload run there, and since when."""
    return [
        (each["Id"], each["State"]["StartedAt"])
        for each in member.containers(workload)
        if each["State"]["Running"]
    ]


def why_not(fleet: Fleet, workload: str, node: str) -> str:
    """Why an instance of it was not placed there, as people are told."""
    (placement,) = fleet.platform.json("show", workload)["placement"]
    return "; ".join(each["reason"] for each in placement["rejected"] if each["node"] == node)


SERVE = ("sh", "-c", "echo $V > /tmp/index.html; exec httpd -f -p 8080 -h /tmp")


def test_a_failed_rollout_costs_no_request_on_any_node(fleet: Fleet, image_test: str) -> None:
    options = (
        "--replicas",
        "3",
        "-p",
        "8080",
        "-e",
        "V=1",
        "--set",
        "health.exec.command=[wget, -qO, /dev/null, http://127.0.0.1:8080/index.html]",
        "--memory",
        "16Mi",
    )
    fleet.platform.ok("run", image_test, "--name", "web", *options, "--", *SERVE)
    until(lambda: all(state == "running" for _, state in fleet.where("web")), what="all serving")
    ports = {
        each["node"]: each["ports"][0]["host_port"]
        for each in fleet.platform.json("show", "web")["instances"]
    }
    before = {name: lives(fleet[name], "web") for name in ("two", "three")}
    with (
        under_load(f"http://127.0.0.1:{ports['two']}/", inside=fleet["two"].engine.prefix) as two,
        under_load(f"http://127.0.0.1:{ports['three']}/", inside=fleet["three"].engine.prefix) as three,
    ):
        said = fleet.platform.refused(
            "update", "web", "--set", "command=[sh, -c, 'exit 3']", "--set", "update.healthy_deadline=5s"
        )
    assert "exited with 3" in said and "the earlier revision serves" in said
    for load in (two, three):
        assert load.failures == [] and len(load.answers) > 20 and set(load.answers) == {"1"}
    assert {name: lives(fleet[name], "web") for name in ("two", "three")} == before


@pytest.mark.parametrize("live_restore", [False, True], ids=["stops-with-docker", "live-restore"])
def test_work_stays_on_a_node_whose_engine_is_killed_and_new_work_goes_elsewhere(
    fleet: Fleet, image_test: str, live_restore: bool
) -> None:
    """Its agent is there, so the node is: longer than it takes to move work off a lost node, nothing moves.  A restart of Docker moves nothing
    either, whether or not its containers go on meanwhile."""
    two, options = fleet["two"], ("--live-restore",) if live_restore else ()
    if live_restore:
        two.engine.end(signal.SIGTERM)
        until(lambda: fleet.node("two")["reason"], what="the Engine's end being noticed")
        two.engine.start(*options)
        until(lambda: not fleet.node("two")["reason"], what="the Engine being back")
        run(fleet, image_test, "first", on="two")  # its next report may still be of before
    run(fleet, image_test, "web", "--replicas", "3")
    fleet.until_where("web", ("one", "running"), ("three", "running"), ("two", "running"))
    (before,) = lives(two, "web")
    two.engine.end(signal.SIGTERM)
    two.engine.start(*options)
    until(lambda: len(lives(two, "web")) == 1, what="its container running after the restart")
    fleet.until_where("web", ("one", "running"), ("three", "running"), ("two", "running"))
    (restarted,) = lives(two, "web")
    assert restarted[0] == before[0] and (restarted == before) is live_restore
    until(
        lambda: fleet.node("two")["reason"] == "", what="the restart being over, for those who look as well"
    )
    (before,) = lives(two, "web")
    two.engine.end(signal.SIGKILL)
    away_since_s = time.monotonic()
    until(
        lambda: "Docker Engine cannot be used" in fleet.node("two")["reason"], what="the problem being shown"
    )
    assert fleet.node("two")["state"] == "ready"
    run(fleet, image_test, "new", "--replicas", "2")
    assert {node for node, _ in fleet.where("new")} == {"one", "three"}
    run(fleet, image_test, "pinned", on="two", wait=False)
    until(lambda: "Docker Engine" in why_not(fleet, "pinned", "two"), what="why it has no place")
    until(
        lambda: time.monotonic() - away_since_s > 9,
        what="more than the time after which work of a lost node moves",
    )
    two.engine.start(*options)
    until(lambda: fleet.node("two")["reason"] == "", what="the problem being over")
    fleet.until_where("web", ("one", "running"), ("three", "running"), ("two", "running"))
    until(lambda: len(lives(two, "web")) == 1, what="one container of web on two")
    (after,) = lives(two, "web")
    assert after[0] == before[0] and (after == before) is live_restore
    fleet.until_where("pinned", ("two", "running"))
    assert "displaced" not in {verb for verb, _ in fleet.events("web")}


def test_a_node_cut_off_during_a_deploy_ends_with_the_exact_count(fleet: Fleet, image_test: str) -> None:
    """It has its order and cannot be heard; or it gets the order only when another node has done the work."""
    two = fleet["two"]
    run(fleet, image_test, "web", "--replicas", "3", wait=False)
    two.send(signal.SIGSTOP)
    until(lambda: [s for _, s in fleet.where("web")].count("running") == 3, what="three serving elsewhere")
    two.send(signal.SIGCONT)
    fleet.until_node("two", "ready")
    until(lambda: len(fleet.where("web")) == 3, what="the exact count")
    until(lambda: fleet.where("web") == fleet.running("web"), what="the Engines being as shown")


def test_a_cancelled_deploy_leaves_nothing_on_its_node(fleet: Fleet, image_test: str) -> None:
    two = fleet["two"]
    never = ("--set", 'health.exec.command=["false"]')
    run(fleet, image_test, "web", *never, on="two", wait=False)
    until(lambda: len(lives(two, "web")) == 1, what="its container running")
    operations = fleet.platform.json("op", "ls")["items"]
    (operation,) = [each for each in operations if each["state"] in ("pending", "running")]
    fleet.platform.ok("op", "cancel", operation["id"])
    until(lambda: lives(two, "web") == [], what="the container being stopped on its node")


def test_what_is_removed_while_its_node_is_away_goes_when_it_returns(fleet: Fleet, image_test: str) -> None:
    two = fleet["two"]
    run(fleet, image_test, "web", on="two")
    two.kill()
    fleet.until_node("two", "unreachable")
    said = fleet.platform.run("rm", "web", "--yes")
    assert said.code == 0 and "go as soon as those nodes are back" in said.out + said.err
    assert len(lives(two, "web")) == 1, "nothing that happens elsewhere stops a container"
    two.start()
    until(lambda: two.containers("web") == [], what="the container being gone")
