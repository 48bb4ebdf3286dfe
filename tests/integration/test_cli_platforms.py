"""Signing in, contexts, nodes, people, storage, operations, raw requests, and the platform's own commands."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.fixtures import cli_answers as answers
from tests.fixtures.cli_gateway import Answer, StubGateway, problem

if TYPE_CHECKING:
    from tests.fixtures.cli_run import Cli

pytest_plugins = ["tests.fixtures.cli_run"]

ME = {
    "id": "us-1",
    "username": "ada",
    "roles": {"*": "admin"},
    "credential": "tk-1",
    "expires_at": answers.NOW.isoformat(),
}
NODE = "/v1/nodes/attic"
USER = {
    "id": "us-2",
    "username": "bob",
    "roles": {"shop": "deployer"},
    "managed": False,
    "created_at": answers.NOW.isoformat(),
    "version": 1,
}
TOKEN: dict[str, Any] = {
    "id": "tk-9",
    "name": "ci",
    "user": "ada",
    "role": "deployer",
    "project": None,
    "created_at": answers.NOW.isoformat(),
}
TOKEN |= {"expires_at": answers.NOW.isoformat(), "last_used_at": None, "last_used_from": ""}


# ---------------------------------------------------------------- login and contexts


def lets_in(gateway: StubGateway) -> None:
    gateway.on("GET", "/v1/ca", Answer([gateway.ca_file.read_bytes()], media_type="application/x-pem-file"))
    gateway.on(
        "POST",
        "/v1/auth/login",
        {"token": "lat_session", "expires_at": answers.NOW.isoformat(), "user": USER},
    )
    gateway.on("GET", "/v1/me", ME)
    gateway.on("GET", "/v1/workloads", answers.listing())


def test_login_with_a_token_and_a_ca_file_is_remembered(cli: Cli, gateway: StubGateway) -> None:
    lets_in(gateway)
    cli.variables = {}
    ran = cli(
        "login",
        gateway.url,
        "--ca",
        str(gateway.ca_file),
        "--token",
        "-",
        "--name",
        "home",
        stdin="lat_typed\n",
    )
    assert (ran.code, ran.out) == (0, f"Signed in to {gateway.url} as ada; context home.\n"), ran.err
    stored = cli.home / "config/lattice/contexts.json"
    assert stat.S_IMODE(stored.stat().st_mode) == 0o600
    assert cli("ps").code == 0
    assert gateway.requests[-1].headers["authorization"] == "Bearer lat_typed"
    assert cli("ctx", "ls", "-o", "json").json["items"][0]["name"] == "home"


def test_login_pins_the_ca_with_the_given_fingerprint(cli: Cli, gateway: StubGateway) -> None:
    lets_in(gateway)
    cli.variables = {}
    ran = cli("login", gateway.url, "--fingerprint", gateway.fingerprint, "--user", "ada", stdin="secret\n")
    assert ran.code == 0, ran.err
    assert gateway.asked("POST", "/v1/auth/login")[0].json == {"username": "ada", "password": "secret"}
    assert cli("ps").code == 0
    assert gateway.requests[-1].headers["authorization"] == "Bearer lat_session"


def test_the_ca_is_printed_as_programs_take_it(cli: Cli, gateway: StubGateway) -> None:
    lets_in(gateway)
    pem = gateway.ca_file.read_text()
    ran = cli("ca")
    assert (ran.code, ran.out) == (0, pem), ran.err
    assert cli("ca", "-o", "json").json == {"ca": pem}


def test_login_with_another_fingerprint_sends_nothing(cli: Cli, gateway: StubGateway) -> None:
    lets_in(gateway)
    cli.variables = {}
    ran = cli("login", gateway.url, "--fingerprint", "0" * 64, "--user", "ada", stdin="secret\n")
    assert ran.code == 1
    assert "another fingerprint" in ran.err
    assert [request.path for request in gateway.requests] == ["/v1/ca"]
    assert not (cli.home / "config").exists()


def test_login_without_a_person_does_not_trust_an_unknown_ca(cli: Cli, gateway: StubGateway) -> None:
    lets_in(gateway)
    cli.variables = {}
    ran = cli("login", gateway.url, "--user", "ada", stdin="secret\n")
    assert ran.code == 2
    assert "--fingerprint" in ran.err
    assert gateway.asked("POST", "/v1/auth/login") == []


def test_login_on_a_terminal_shows_the_fingerprint_and_hides_the_password(
    cli: Cli, gateway: StubGateway
) -> None:
    lets_in(gateway)
    cli.variables = {}
    terminal = cli.on_terminal("login", gateway.url, columns=200)
    shown = terminal.read_until("Is this the fingerprint").replace("-", "")
    assert gateway.fingerprint in shown
    terminal.type("y\n")
    terminal.read_until("User")
    terminal.type("ada\n")
    terminal.read_until("Password: ")
    terminal.type("hunter2\n")
    assert terminal.end() == 0
    assert "hunter2" not in terminal.seen
    assert gateway.asked("POST", "/v1/auth/login")[0].json["password"] == "hunter2"


def test_a_wrong_password_returns_1(cli: Cli, gateway: StubGateway) -> None:
    gateway.on(
        "POST", "/v1/auth/login", problem(401, "unauthenticated", "Not signed in", "Wrong name or password.")
    )
    ran = cli("login", gateway.url, "--user", "ada", stdin="wrong\n")
    assert ran.code == 1
    assert "Wrong name or password" in ran.err


def test_contexts_are_chosen_and_forgotten(cli: Cli, gateway: StubGateway) -> None:
    lets_in(gateway)
    for name in ("one", "two"):
        assert cli("login", gateway.url, "--token", f"lat_{name}", "--name", name).code == 0
    cli.variables = {}
    assert cli("ctx", "use", "one").code == 0
    assert cli("ps").code == 0
    assert gateway.requests[-1].headers["authorization"] == "Bearer lat_one"
    assert cli("ctx", "rm", "two").code == 0
    assert cli("ctx", "ls", "-q").out == "one\n"
    assert cli("ctx", "use", "two").code == 1


def test_the_local_platform_is_used_when_no_other_is_known(cli: Cli, gateway: StubGateway) -> None:
    lets_in(gateway)
    run = cli.home / "data" / "run"
    run.mkdir(parents=True)
    stored = {
        "url": gateway.url,
        "console": gateway.url,
        "ca": str(gateway.ca_file),
        "token": "lat_local",
        "data_dir": str(run.parent),
    }
    (run / "platform.json").write_text(json.dumps(stored))
    cli.variables = {"LATTICE_DATA_DIR": str(run.parent)}
    assert cli("ps").code == 0
    assert gateway.requests[-1].headers["authorization"] == "Bearer lat_local"
    assert cli("ps", LATTICE_DATA_DIR=str(cli.home / "other")).code == 1


def test_an_untrusted_certificate_is_refused_before_the_token_is_sent(cli: Cli, gateway: StubGateway) -> None:
    cli.variables.pop("LATTICE_CA")
    ran = cli("ps")
    assert ran.code == 1
    assert "is not trusted" in ran.err
    assert "lattice login" in ran.err
    assert gateway.requests == []


def test_a_platform_that_is_not_there(cli: Cli) -> None:
    ran = cli("ps", LATTICE_URL="https://127.0.0.1:1")
    assert ran.code == 1
    assert "Cannot reach the platform at https://127.0.0.1:1" in ran.err


def test_a_busy_platform_is_asked_again(cli: Cli, gateway: StubGateway) -> None:
    busy = Answer({"title": "Too many requests"}, 429, "application/problem+json", {"Retry-After": "0"})
    gateway.on("GET", "/v1/workloads", busy, answers.listing())
    assert cli("ps").code == 0
    assert len(gateway.requests) == 2


def test_a_repeated_command_carries_the_same_key(cli: Cli, gateway: StubGateway) -> None:
    away = problem(503, "temporary", "Temporarily unavailable", "the registry is away")
    gateway.on(
        "POST", "/v1/projects", away, Answer({"name": "shop", "created_at": answers.NOW.isoformat()}, 201)
    )
    assert cli("project", "create", "shop").code == 0
    first, second = gateway.asked("POST", "/v1/projects")
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]


def test_an_answer_of_something_else_is_no_traceback(cli: Cli, gateway: StubGateway) -> None:
    page = Answer([b"<html>hello</html>"], media_type="text/html")
    gateway.on("GET", "/v1/workloads", page, Answer([b"<html>no</html>"], 404, "text/html"))
    for _ in range(2):
        ran = cli("ps")
        assert ran.code == 1
        assert "not how a Lattice gateway answers" in ran.err


# ---------------------------------------------------------------- nodes


def test_nodes_are_listed_and_shown(cli: Cli, gateway: StubGateway) -> None:
    pending = answers.node("shed", "pending", last_seen=None)
    gateway.on("GET", "/v1/nodes", answers.listing(answers.node(), pending))
    gateway.on("GET", NODE, answers.node())
    ran = cli("node", "ls")
    assert [line.split()[:2] for line in ran.out.splitlines()] == [
        ["NAME", "STATE"],
        ["attic", "ready"],
        ["shed", "pending"],
    ]
    assert "lattice node approve shed" in ran.err
    assert cli("node", "ls", "--state", "ready", "-o", "json").json["items"][0]["name"] == "attic"
    assert "1f3a-99c0" in cli("node", "show", "attic").out
    assert cli("node", "show", "nothing").code == 1
    left = {"workload": "orders-db", "reason": "its data is on this node"}
    gateway.on("GET", "/v1/nodes/attic", answers.node(state="draining", blockers=[left]))
    assert "its data is on this node" in cli("node", "show", "attic").out
    gateway.on(
        "GET", "/v1/nodes/attic/events", answers.listing(answers.fact(1, verb="exit", cause="exited with 1"))
    )
    assert "exited with 1" in cli("node", "events", "attic").out


def test_a_join_token_comes_with_the_command_to_run(cli: Cli, gateway: StubGateway) -> None:
    made = {
        "id": "jt-1",
        "token": "lattice-join.abc",
        "expires_at": "2026-03-01T12:00:00.123Z",
        "ca_fingerprint": "ab",
    }
    gateway.on(
        "POST", "/v1/join-tokens", {**made, "command": "lattice node join lattice-join.abc"}, status=201
    )
    ran = cli("node", "token", "--pool", "edge", "--label", "zone=home", "--ttl", "1h")
    assert ran.out == "lattice node join lattice-join.abc\n"
    assert "2026-03-01T12:00:00Z" in ran.err
    body = {"pool": "edge", "labels": {"zone": "home"}, "ttl_s": 3600.0, "auto_approve": False}
    assert gateway.requests[0].json == body
    assert cli("node", "token", "-q").out == "lattice-join.abc\n"


def test_approve_compares_the_fingerprint_and_waits_for_the_node(cli: Cli, gateway: StubGateway) -> None:
    gateway.on("GET", NODE, answers.node(state="pending"))
    gateway.on("POST", "/v1/nodes/nd-attic/approve", answers.node(state="joining"))
    gateway.on("GET", "/v1/nodes/nd-attic", answers.node(state="joining"), answers.node())
    assert cli("node", "approve", "attic", "--fingerprint", "ffff").code == 1
    assert gateway.asked("POST", "/v1/nodes/nd-attic/approve") == []
    fingerprint = answers.node()["fingerprint"].replace("-", "").upper()
    ran = cli("node", "approve", "attic", "--fingerprint", fingerprint, "--wait", "-o", "json")
    assert (ran.code, ran.json["state"]) == (0, "ready"), ran.err


def test_a_node_that_does_not_get_ready_returns_3(cli: Cli, gateway: StubGateway) -> None:
    gateway.on("GET", NODE, answers.node(state="pending"))
    gateway.on("POST", "/v1/nodes/nd-attic/approve", answers.node(state="joining"))
    gateway.on("GET", "/v1/nodes/nd-attic", answers.node(state="joining"))
    assert cli("node", "approve", "attic", "--wait", "--timeout", "0.3s").code == 3


@pytest.mark.parametrize(
    ("arguments", "verb", "body"),
    [
        (("reject", "attic", "--reason", "unknown"), "reject", {"reason": "unknown"}),
        (("revoke", "attic", "--yes"), "revoke", {}),
        (("cordon", "attic"), "cordon", {}),
        (("uncordon", "attic"), "uncordon", {}),
    ],
)
def test_node_commands(
    cli: Cli, gateway: StubGateway, arguments: tuple[str, ...], verb: str, body: Any
) -> None:
    gateway.on("POST", f"{NODE}/{verb}", answers.node())
    assert cli("node", *arguments).out.startswith("attic is ")
    assert gateway.requests[0].json == body
    gateway.on(
        "POST", f"{NODE}/{verb}", problem(403, "forbidden", "Not allowed", "This needs the role admin.")
    )
    ran = cli("node", *arguments)
    assert ran.code == 1
    assert "This needs the role admin." in ran.err


def test_labels_are_changed_on_what_was_seen(cli: Cli, gateway: StubGateway) -> None:
    gateway.on("GET", NODE, answers.node(labels={"zone": "home", "old": "1"}))
    gateway.on("PATCH", "/v1/nodes/nd-attic", answers.node(labels={"zone": "work"}))
    assert cli("node", "label", "attic", "zone=work", "old-", "--pool", "edge").out == "attic: zone=work\n"
    (sent,) = gateway.asked("PATCH", "/v1/nodes/nd-attic")
    assert sent.json == {"labels": {"zone": "work"}, "pool": "edge"}
    assert sent.headers["if-match"] == '"7"'
    assert cli("node", "label", "attic").code == 2


def test_node_rm_needs_a_yes(cli: Cli, gateway: StubGateway) -> None:
    gateway.on("DELETE", NODE, Answer(None, 204))
    assert cli("node", "rm", "attic").code == 2
    assert gateway.requests == []
    assert cli("node", "rm", "attic", "--yes").out == "attic is removed.\n"


def agent_package(folder: Path, body: str) -> dict[str, str]:
    """An `agent` that a test wrote, found before the real one."""
    (folder / "agent").mkdir(parents=True)
    (folder / "agent" / "__init__.py").touch()
    (folder / "agent" / "__main__.py").write_text(body)
    return {"PYTHONPATH": f"{folder}:{Path(__file__).resolve().parents[2]}", "PYTHONSAFEPATH": "1"}


def test_join_becomes_the_agent(cli: Cli, tmp_path: Path) -> None:
    body = "import os, sys\nprint(os.environ['LATTICE_AGENT_JOIN_TOKEN'], os.environ['LATTICE_AGENT_NODE_NAME'], sys.argv[1:])\nsys.exit(5)\n"
    ran = cli("node", "join", "lattice-join.x", "--name", "attic", **agent_package(tmp_path / "p", body))
    assert (ran.code, ran.out) == (5, "lattice-join.x attic []\n"), ran.err


def test_join_in_the_background_outlives_the_command(cli: Cli, tmp_path: Path) -> None:
    body = "import os, time\nprint(os.environ['LATTICE_AGENT_DATA_DIR'], flush=True)\ntime.sleep(60)\n"
    data = tmp_path / "data"
    variables = agent_package(tmp_path / "p", body)
    ran = cli(
        "node", "join", "lattice-join.x", "--data-dir", str(data), "--detach", "-o", "json", **variables
    )
    assert ran.code == 0, ran.err
    pid = ran.json["pid"]
    try:
        assert os.getsid(pid) == pid
        assert (data / "agent.log").read_text() == f"{data}\n"
    finally:
        os.kill(pid, signal.SIGKILL)


def test_an_agent_that_cannot_start_says_why(cli: Cli, tmp_path: Path) -> None:
    variables = agent_package(tmp_path / "p", "raise SystemExit('Docker does not answer.')\n")
    ran = cli("node", "join", "x", "--data-dir", str(tmp_path / "data"), "--detach", **variables)
    assert ran.code == 1
    assert "Docker does not answer." in ran.err


def test_the_agents_log_is_told_in_words(cli: Cli, tmp_path: Path) -> None:
    line = '{"level": "error", "message": "agent cannot start: This join token was used."}'
    variables = agent_package(tmp_path / "p", f"raise SystemExit({line!r})\n")
    ran = cli("node", "join", "x", "--data-dir", str(tmp_path / "data"), "--detach", **variables)
    assert "\n  agent cannot start: This join token was used.\n" in ran.err


# ---------------------------------------------------------------- people, storage, operations, audit


def test_users(cli: Cli, gateway: StubGateway) -> None:
    gateway.on("GET", "/v1/users", answers.listing(USER))
    gateway.on("POST", "/v1/users", USER, status=201)
    gateway.on("PATCH", "/v1/users/bob", USER)
    gateway.on("DELETE", "/v1/users/bob", Answer(None, 204))
    gateway.on("GET", "/v1/me", ME)
    assert cli("user", "ls", "-q").out == "bob\n"
    assert (
        "shop=deployer" in cli("user", "create", "bob", "--role", "shop=deployer", stdin="long enough\n").out
    )
    assert gateway.asked("POST", "/v1/users")[0].json == {
        "username": "bob",
        "roles": {"shop": "deployer"},
        "password": "long enough",
    }
    assert cli("user", "create", "bob", "--no-password").code == 0
    assert cli("user", "create", "bob").code == 2
    assert cli("user", "role", "bob", "--role", "*=viewer").code == 0
    assert cli("user", "password", "bob", stdin="another one\n").code == 0
    assert [request.json for request in gateway.asked("PATCH", "/v1/users/bob")] == [
        {"roles": {"*": "viewer"}},
        {"password": "another one"},
    ]
    assert cli("user", "rm", "bob", "-y").out == "User bob is removed.\n"
    assert cli("user", "rm", "eve", "-y").code == 1


def test_tokens(cli: Cli, gateway: StubGateway) -> None:
    gateway.on("GET", "/v1/tokens", answers.listing(TOKEN))
    gateway.on("POST", "/v1/tokens", {**TOKEN, "token": "lat_new"}, status=201)
    gateway.on("DELETE", "/v1/tokens/tk-9", Answer(None, 204))
    assert "ci" in cli("token", "ls", "--everybody").out
    ran = cli("token", "create", "ci", "--role", "deployer", "--days", "7", "--project", "shop")
    assert ran.out == "lat_new\n"
    assert gateway.asked("POST", "/v1/tokens")[0].json == {
        "name": "ci",
        "expires_in_days": 7,
        "role": "deployer",
        "project": "shop",
    }
    assert cli("token", "create", "ci", "-q").out == "lat_new\n"
    assert cli("token", "rm", "tk-9").code == 0
    assert cli("token", "rm", "tk-8").code == 1


def test_projects_and_audit(cli: Cli, gateway: StubGateway) -> None:
    row: dict[str, Any] = {
        "id": "au-1",
        "at": answers.NOW.isoformat(),
        "actor": "user:ada",
        "action": "workload.exec",
        "entity": "workload",
    }
    row |= {"entity_id": "wl-1", "project": "default", "request_id": "rq-1", "before": None, "after": None}
    gateway.on(
        "GET", "/v1/projects", answers.listing({"name": "shop", "created_at": answers.NOW.isoformat()})
    )
    gateway.on("GET", "/v1/audit", answers.listing(row))
    assert cli("project", "ls", "-q").out == "shop\n"
    assert "workload.exec" in cli("audit", "ls", "--actor", "user:ada", "-n", "5").out
    assert cli("project", "create", "shop").code == 1


def test_templates(cli: Cli, gateway: StubGateway) -> None:
    gateway.on("GET", "/v1/templates", answers.listing(answers.template()))
    assert cli("template", "ls", "-q").out == "postgres\n"
    assert re.search(r"version +15 \| 16 +16 +Postgres's version", cli("template", "show", "postgres").out)
    assert cli("template", "show", "mysql").code == 1


def test_secrets_never_stand_in_an_argument(cli: Cli, gateway: StubGateway, tmp_path: Path) -> None:
    gateway.on("PUT", "/v1/secrets/api-key", answers.secret())
    gateway.on("GET", "/v1/secrets", answers.listing(answers.secret()))
    gateway.on("DELETE", "/v1/secrets/api-key", Answer(None, 204))
    (tmp_path / "key").write_text("from file\n")
    assert cli("secret", "set", "api-key", stdin="from stdin\n").out == "api-key is set (version 2).\n"
    assert cli("secret", "set", "api-key", "--from-file", str(tmp_path / "key")).code == 0
    assert [request.json["value"] for request in gateway.asked("PUT", "/v1/secrets/api-key")] == [
        "from stdin",
        "from file\n",
    ]
    assert cli("secret", "set", "api-key", "value").code == 2
    assert cli("secret", "ls", "-q").out == "api-key\n"
    assert cli("secret", "rm", "api-key").code == 0
    assert cli("secret", "rm", "other").code == 1


def test_volumes_are_found_by_id_or_by_a_name_that_is_unique(cli: Cli, gateway: StubGateway) -> None:
    one, two = answers.volume("vo-1"), answers.volume("vo-2", name="cache", workload="web", state="bound")
    gateway.on("GET", "/v1/volumes", answers.listing(one, two))
    gateway.on("DELETE", "/v1/volumes/vo-1", Answer(None, 204))
    assert "(was orders-db)" in cli("volume", "ls").out
    assert "5 GiB" in cli("volume", "show", "data").out
    assert cli("volume", "rm", "data", "--yes").code == 0
    assert cli("volume", "show", "nothing").code == 1
    gateway.on("GET", "/v1/volumes", answers.listing(one, answers.volume("vo-3")))
    ran = cli("volume", "show", "data")
    assert ran.code == 1
    assert "vo-3" in ran.err


def test_operations(cli: Cli, gateway: StubGateway) -> None:
    failed = answers.operation("failed", problem={"code": "crashed", "detail": "it exits with 1"})
    gateway.on("GET", "/v1/operations", answers.listing(answers.operation(), failed))
    gateway.on("GET", "/v1/operations/op-1", answers.operation("running"), answers.operation())
    gateway.on("GET", "/v1/workloads/wl-orders-db", answers.workload(state="failed"))
    gateway.on("POST", "/v1/operations/op-1/cancel", answers.operation("running"))
    assert cli("op", "ls", "-q").out == "op-1\nop-1\n"
    assert "it exits with 1" in cli("op", "ls").out
    assert "State:" in cli("op", "show", "op-1").out
    assert cli("op", "wait", "op-1", "-o", "json").json["state"] == "succeeded"
    assert cli("op", "cancel", "op-1").code == 0
    gateway.on("GET", "/v1/operations/op-1", failed)
    assert cli("op", "wait", "op-1").code == 1
    gateway.on("GET", "/v1/operations/op-1", answers.operation("cancelled"))
    assert "was cancelled" in cli("op", "wait", "op-1").err
    gateway.on("GET", "/v1/operations/op-1", answers.operation("running"))
    assert cli("op", "wait", "op-1", "--timeout", "0.2s").code == 3


# ---------------------------------------------------------------- raw requests


def test_api_prints_the_answer_as_it_is(cli: Cli, gateway: StubGateway) -> None:
    gateway.on("GET", "/v1/nodes", answers.listing(answers.node()))
    gateway.on("POST", "/v1/projects", problem(409, "conflict", "Conflict", "It exists."))
    ran = cli("api", "GET", "/v1/nodes?state=ready")
    assert (ran.code, ran.json) == (0, answers.listing(answers.node()))
    assert gateway.requests[0].query == {"state": "ready"}
    ran = cli("api", "post", "/v1/projects", "-d", '{"name": "shop"}')
    assert (ran.code, ran.json["code"]) == (1, "conflict")
    assert gateway.requests[1].json == {"name": "shop"}
    assert cli("api", "GET", "v1/nodes").code == 2
    assert cli("api", "POST", "/v1/projects", "-d", "{").code == 2


# ---------------------------------------------------------------- the platform's own commands


def standalone_package(folder: Path) -> dict[str, str]:
    """A `standalone` that a test wrote: it prints how it was called and returns 3."""
    (folder / "standalone").mkdir(parents=True)
    (folder / "standalone" / "__init__.py").touch()
    calls = "def {name}(**arguments):\n    print('{name}', {{key: str(value) for key, value in arguments.items()}})\n    return 3\n"
    names = ("up", "down", "status", "doctor", "reset", "support_bundle")
    (folder / "standalone" / "commands.py").write_text("\n".join(calls.format(name=name) for name in names))
    return {"PYTHONPATH": f"{folder}:{Path(__file__).resolve().parents[2]}", "PYTHONSAFEPATH": "1"}


@pytest.mark.parametrize(
    ("arguments", "called"),
    [
        (
            ("up", "--data-dir", "/d", "--port", "8443", "--detach", "--wait", "-o", "json"),
            "up {'data_dir': '/d', 'port': '8443', 'detach': 'True', 'wait': 'True', 'no_agent': 'False', 'output': 'json'}",
        ),
        (("down", "--workloads"), "down {'data_dir': 'None', 'workloads': 'True'}"),
        (("status",), "status {'data_dir': 'None', 'output': 'table'}"),
        (("doctor", "-o", "yaml"), "doctor {'data_dir': 'None', 'output': 'yaml'}"),
        (("reset", "--yes"), "reset {'data_dir': 'None', 'yes': 'True'}"),
        (
            ("support", "bundle", "--to", "/b"),
            "support_bundle {'data_dir': 'None', 'to': '/b', 'output': 'table'}",
        ),
    ],
)
def test_platform_commands_call_the_embedded_platform(
    cli: Cli, tmp_path: Path, arguments: tuple[str, ...], called: str
) -> None:
    ran = cli(*arguments, **standalone_package(tmp_path / "p"))
    assert (ran.code, ran.out) == (3, called + "\n"), ran.err


def test_without_the_embedded_platform_they_say_how_to_get_it(cli: Cli, tmp_path: Path) -> None:
    variables = standalone_package(tmp_path / "p")
    (tmp_path / "p" / "standalone" / "commands.py").write_text("import nats_server_bin_is_missing\n")
    ran = cli("up", **variables)
    assert ran.code == 1
    assert "nats_server_bin_is_missing" in ran.err
    assert "lattice-platform[embedded]" in ran.err


# ---------------------------------------------------------------- the command itself


def test_help_answers_at_once_and_imports_nothing_heavy(cli: Cli) -> None:
    """Measured 0.10 s on two idle cores; the bound leaves room for a busy machine, the list of modules does not."""
    code = (
        "import sys\nsys.argv = ['lattice', '--help']\nfrom cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'httpx', 'rich', 'yaml', 'pydantic', 'fastapi', 'sqlmodel', 'nats', 'asyncio'} & set(sys.modules)), file=sys.stderr)\n"
    )
    fastest_s = 60.0
    for _ in range(5):
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env=cli.environment(),
            check=True,
            timeout=60,
        )
        fastest_s = min(fastest_s, time.monotonic() - started)
    assert done.stderr == "[]\n"
    assert "lattice deploy postgres --name orders-db" in done.stdout
    assert fastest_s < 1.0


def test_a_drain_is_waited_for_and_says_what_it_moved(cli: Cli, gateway: StubGateway) -> None:
    started = {
        "operation": answers.operation("pending", kind="drain"),
        "node": answers.node(),
        "workload": None,
    }
    gateway.on("POST", "/v1/nodes/attic/drain", started, status=202)
    about = {"subject_kind": "node", "subject_name": "attic"}
    gateway.on("GET", "/v1/operations/op-1", answers.operation(result={"moved": 2}, **about))
    ran = cli("node", "drain", "attic", "--deadline", "30m")
    assert (ran.code, ran.out) == (0, "attic is drained: 2 moved. It takes no new work.\n"), ran.err
    assert gateway.asked("POST", "/v1/nodes/attic/drain")[0].json == {"deadline_s": 1800.0, "reason": ""}
    why = "db cannot: the data is on this node"
    failed = answers.operation("failed", problem={"code": "drain_blocked", "detail": why}, **about)
    gateway.on("GET", "/v1/operations/op-1", failed)
    ran = cli("node", "drain", "attic")
    assert ran.code == 1 and why in ran.err and "lattice node show attic" in ran.err


def test_nodes_that_will_not_come_back_are_named(cli: Cli, gateway: StubGateway) -> None:
    for name in ("attic", "shed"):
        gateway.on("POST", f"/v1/nodes/{name}/confirm-lost", answers.node(name, "unreachable"))
    ran = cli("node", "confirm-lost", "attic", "shed")
    assert ran.code == 0 and "attic counts as lost" in ran.out and "shed counts as lost" in ran.out


def test_every_command_explains_itself(cli: Cli) -> None:
    groups = (
        "node",
        "template",
        "volume",
        "secret",
        "op",
        "user",
        "token",
        "project",
        "audit",
        "ctx",
        "support",
    )
    for group in groups:
        assert cli(group, "--help").code == 0
    for command in (("deploy",), ("run",), ("logs",), ("exec",), ("node", "approve")):
        assert cli(*command, "-h").out.split("\n\n")[1].strip().startswith("Example:")


def test_version(cli: Cli) -> None:
    assert re.fullmatch(r"lattice \d+\.\d+\.\d+\n", cli("--version").out)
