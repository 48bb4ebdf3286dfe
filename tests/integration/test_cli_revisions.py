"""`update`, `scale`, `history`, `diff`, `rollback`, and `apply` of what is there: what the CLI asks, prints and returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lattice.contracts import views
from tests.fixtures import cli_answers as answers
from tests.fixtures.cli_gateway import StubGateway, problem

if TYPE_CHECKING:
    from tests.fixtures.cli_run import Cli

pytest_plugins = ["tests.fixtures.cli_run"]

ORDERS = "/v1/workloads/orders-db"


def rollout(state: str = "succeeded", **more: Any) -> dict[str, Any]:
    known = {"from_revision": 1, "to_revision": 2, "order": "start-first", "started_at": answers.NOW}
    return answers.plain(views.RolloutView(state=state, **{**known, **more}))


def revision(number: int, **more: Any) -> dict[str, Any]:
    known = {
        "number": number,
        "spec": {"name": "orders-db", "image": "app:1", "env": {"V": str(number)}},
        "image": "app@sha256:1",
        "created_at": answers.NOW,
        "created_by": "user:ada",
    }
    return answers.plain(views.RevisionView(**{**known, **more}))


@pytest.fixture
def orders(gateway: StubGateway) -> StubGateway:
    """A workload that takes whatever it is told."""
    gateway.on("GET", ORDERS, answers.workload(revision=2))
    gateway.on("PUT", ORDERS, answers.accepted(kind="update"), status=202)
    for verb in ("scale", "rollback"):
        gateway.on("POST", f"{ORDERS}/{verb}", answers.accepted(kind=verb), status=202)
    gateway.on("GET", "/v1/operations/op-1", answers.operation())
    gateway.on("GET", "/v1/templates", answers.listing(answers.template()))
    return gateway


def test_an_update_changes_what_was_seen_and_nothing_newer(cli: Cli, orders: StubGateway) -> None:
    ran = cli("update", "orders-db", "--set", "resources.memory=1Gi", "--set", "version=16")
    assert (ran.code, ran.out) == (0, "orders-db is at revision 2: 1/1 ready.\n"), ran.err
    (sent,) = orders.asked("PUT", ORDERS)
    assert sent.headers["if-match"] == '"3"'
    assert sent.json["resources"]["memory"] == "1Gi" and sent.json["values"] == {"version": "16"}
    assert "lattice history orders-db" in ran.err


def test_an_update_needs_a_change(cli: Cli) -> None:
    ran = cli("update", "orders-db")
    assert ran.code == 2 and "--set" in ran.err


def test_why_the_order_is_another_is_said_first(cli: Cli, orders: StubGateway) -> None:
    reason = "stop-first, because no two instances may use its volume at once"
    answer = answers.accepted(kind="update")
    answer["workload"]["rollout"] = rollout("running", order="stop-first", reason=reason)
    orders.on("PUT", ORDERS, answer, status=202)
    assert f"Updating {reason}." in cli("update", "orders-db", "--set", "env.A=1").err


def test_an_update_that_went_back_is_a_failure_with_its_reason(cli: Cli, orders: StubGateway) -> None:
    why = "exited with 1; the earlier revision serves"
    failed = answers.operation("failed", kind="update", problem={"code": "rolled_back", "detail": why})
    orders.on("GET", "/v1/operations/op-1", failed)
    ran = cli("update", "orders-db", "--set", "env.A=1")
    assert ran.code == 1 and "Updating orders-db failed." in ran.err and why in ran.err


def test_an_update_that_changes_nothing_says_so(cli: Cli, orders: StubGateway) -> None:
    orders.on("GET", "/v1/operations/op-1", answers.operation(result={"instances": 1, "changed": False}))
    assert "is as asked for already" in cli("update", "orders-db", "--set", "env.A=1").out


def test_scale_and_rollback_say_what_they_are_told(cli: Cli, orders: StubGateway) -> None:
    assert cli("scale", "orders-db", "3").code == 0
    assert orders.asked("POST", f"{ORDERS}/scale")[0].json == {"replicas": 3}
    assert cli("rollback", "orders-db").code == 0
    assert cli("rollback", "orders-db", "1", "--no-wait").out.startswith("Accepted")
    first, second = orders.asked("POST", f"{ORDERS}/rollback")
    assert first.body == b"" and second.json == {"revision": 1}


def test_history_shows_what_became_of_each(cli: Cli, orders: StubGateway) -> None:
    failed = revision(2, rollout=rollout("rolled_back", reason="exited with 1"))
    orders.on("GET", f"{ORDERS}/revisions", answers.listing(failed, revision(1, current=True)))
    lines = cli("history", "orders-db").out.splitlines()
    assert "rolled back: exited with 1" in lines[1] and "●" in lines[2]


def test_diff_shows_what_changed(cli: Cli, orders: StubGateway) -> None:
    orders.on("GET", f"{ORDERS}/revisions", answers.listing(revision(2), revision(1)))
    out = cli("diff", "orders-db", "1", "2").out
    assert "-  V: '1'" in out and "+  V: '2'" in out
    assert cli("diff", "orders-db", "1", "1").out == "Revisions 1 and 1 are the same.\n"
    ran = cli("diff", "orders-db", "1", "9")
    assert ran.code == 1 and "it has 1, 2" in ran.err


def test_show_says_why_an_update_did_not_last(cli: Cli, orders: StubGateway) -> None:
    failed = rollout("rolled_back", reason="exited with 1")
    orders.on("GET", ORDERS, answers.workload(rollout=failed))
    assert "rolled back (revision 2): exited with 1" in cli("show", "orders-db").out
    orders.on("GET", ORDERS, answers.workload(rollout=rollout()))
    assert "Update:" not in cli("show", "orders-db").out


def planned(**more: Any) -> dict[str, Any]:
    change = views.FieldChange(path="resources.memory", before=536870912, after=1073741824)
    known: dict[str, Any] = {
        "name": "orders-db",
        "project": "default",
        "action": "update",
        "version": 3,
        "revision": 2,
        "changes": (change,),
        "spec": {"name": "orders-db", "template": "postgres"},
        "image": "postgres:16",
        "image_before": "postgres:16",
        "order": "stop-first",
        "order_reason": "stop-first, because no two instances may use its volume at once",
        "replaced": 1,
        "placements": (views.PlannedPlacement(slot=0, node="attic", reason="the only node that fits"),),
    }
    return answers.plain(views.PlanView(**known | more))


def test_a_plan_shows_what_would_change_and_how_to_do_just_that(cli: Cli, orders: StubGateway) -> None:
    text = "name: orders-db\ntemplate: postgres\n"
    orders.on("POST", "/v1/workloads/plan", planned())
    ran = cli("plan", "-f", "-", "--set", "resources.memory=1Gi", stdin=text)
    assert ran.code == 0, ran.err
    assert "orders-db would change (now revision 2, version 3)." in ran.out
    assert "resources.memory  536870912  1073741824" in ran.out
    assert "1 instance is replaced." in ran.out
    assert "Order: stop-first, because no two instances may use its volume at once." in ran.out
    assert "attic" in ran.out and "the only node that fits" in ran.out
    assert "lattice apply -f - --set resources.memory=1Gi --if-match 3" in ran.err
    assert orders.asked("POST", "/v1/workloads/plan")[0].json["resources"] == {"memory": "1Gi"}
    assert not orders.asked("PUT", ORDERS)
    assert '"action": "update"' in cli("plan", "-f", "-", "-o", "json", stdin=text).out


def test_a_plan_of_nothing_and_of_something_new(cli: Cli, orders: StubGateway) -> None:
    text = "name: orders-db\ntemplate: postgres\n"
    same: dict[str, Any] = {"changes": (), "order": None, "order_reason": "", "replaced": 0, "placements": ()}
    said = {"action": "nothing", "reason": "it is as described already"}
    orders.on("POST", "/v1/workloads/plan", planned(**same, **said))
    assert (
        cli("plan", "-f", "-", stdin=text).out == "orders-db would not change: it is as described already.\n"
    )
    no_place = views.PlannedPlacement(
        slot=0,
        reason="no node fits: 1 node is cordoned",
        rejected=(views.RejectedNodeView(node="attic", filter="state", reason="attic is cordoned"),),
    )
    new = same | {"action": "create", "version": 0, "revision": None, "added": 1, "placements": (no_place,)}
    orders.on("POST", "/v1/workloads/plan", planned(**new))
    ran = cli("plan", "-f", "-", stdin=text)
    assert "orders-db is new." in ran.out and "1 instance is added." in ran.out
    assert "no node fits" in ran.out and "attic is cordoned" in ran.out
    assert "--if-match 0" in ran.err


def test_apply_of_a_plan_for_something_new_updates_nothing_that_came_meanwhile(
    cli: Cli, orders: StubGateway
) -> None:
    text = "name: orders-db\ntemplate: postgres\n"
    orders.on("PUT", ORDERS, problem(412, "stale", "Changed meanwhile", "It is at version 3."))
    assert cli("apply", "-f", "-", "--if-match", "0", stdin=text).code == 1
    assert orders.asked("PUT", ORDERS)[0].headers["if-match"] == '"0"'


def test_apply_updates_what_is_there(cli: Cli, orders: StubGateway) -> None:
    text = "name: orders-db\ntemplate: postgres\n"
    assert cli("apply", "-f", "-", stdin=text).code == 0
    assert orders.asked("PUT", ORDERS)[0].json == {"name": "orders-db", "template": "postgres"}
    orders.on("PUT", ORDERS, problem(412, "stale", "Changed meanwhile", "It is at version 9."))
    ran = cli("apply", "-f", "-", "--if-match", "3", stdin=text)
    assert ran.code == 1 and "version 9" in ran.err
    assert orders.asked("PUT", ORDERS)[1].headers["if-match"] == '"3"'
