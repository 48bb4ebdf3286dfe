"""The CLI as a process against a gateway over HTTPS: what it asks, prints and returns, for workloads and what belongs to them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.fixtures import cli_answers as answers
from tests.fixtures.cli_gateway import Answer, Request, StubGateway, problem

if TYPE_CHECKING:
    from tests.fixtures.cli_run import Cli

pytest_plugins = ["tests.fixtures.cli_run"]

TIMEOUT_S = 60
WORKLOADS = "/v1/workloads"
ORDERS = "/v1/workloads/orders-db"
REFUSAL = problem(409, "conflict", "Conflict", "There is a workload of this name. Choose another.")


def deploys(
    gateway: StubGateway, *operations: dict[str, Any], workload: dict[str, Any] | None = None
) -> None:
    """A deploy is accepted and then goes through these states."""
    shown = workload or answers.workload()
    gateway.on("POST", WORKLOADS, answers.accepted(), status=202)
    gateway.on("GET", "/v1/operations/op-1", *(operations or (answers.operation(),)))
    gateway.on("GET", ORDERS, shown)
    gateway.on("GET", "/v1/workloads/wl-orders-db", shown)
    gateway.on("GET", "/v1/templates", answers.listing(answers.template()))


# ---------------------------------------------------------------- deploy, run, apply


def test_deploy_waits_and_prints_the_address_and_what_to_do_next(cli: Cli, gateway: StubGateway) -> None:
    deploys(
        gateway, answers.operation("running", progress="pulling postgres:16", percent=40), answers.operation()
    )
    ran = cli("deploy", "postgres", "--name", "orders-db", "--set", "version=16", "--set", "env.TZ=UTC")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines() == [
        "orders-db is running on attic.",
        "https://orders-db--default.127-0-0-1.sslip.io:8443",
    ]
    assert "Deploying orders-db: pulling postgres:16: 40 %" in ran.err
    assert "Next: lattice credentials orders-db" in ran.err
    (sent,) = gateway.asked("POST", WORKLOADS)
    assert sent.json == {
        "name": "orders-db",
        "template": "postgres",
        "values": {"version": "16"},
        "env": {"TZ": "UTC"},
    }
    assert sent.query == {"project": "default"}
    assert sent.headers["authorization"] == "Bearer lat_test"
    assert sent.headers["idempotency-key"]


def test_deploy_in_json_prints_the_workload_and_nothing_else(cli: Cli, gateway: StubGateway) -> None:
    deploys(gateway)
    ran = cli("-o", "json", "deploy", "postgres", "--name", "orders-db", "--project", "shop")
    assert ran.json == answers.workload()
    assert gateway.asked("POST", WORKLOADS)[0].query == {"project": "shop"}


def test_deploy_without_waiting_prints_what_was_accepted(cli: Cli, gateway: StubGateway) -> None:
    deploys(gateway)
    ran = cli("deploy", "postgres", "--name", "orders-db", "--no-wait", "-o", "json")
    assert ran.json == answers.accepted()
    assert gateway.asked("GET", "/v1/operations/op-1") == []


def test_deploy_quietly_prints_the_name_alone(cli: Cli, gateway: StubGateway) -> None:
    deploys(gateway)
    ran = cli("deploy", "postgres", "--name", "orders-db", "-q")
    assert (ran.code, ran.out, ran.err) == (0, "orders-db\n", "")


def test_a_refused_deploy_says_why_and_returns_1(cli: Cli, gateway: StubGateway) -> None:
    gateway.on("POST", WORKLOADS, REFUSAL)
    ran = cli("deploy", "postgres", "--name", "orders-db")
    assert (ran.code, ran.out) == (1, "")
    assert "There is a workload of this name. Choose another." in ran.err
    assert ran.err.splitlines()[-1] == "  Request: rq-test"


def test_a_deploy_that_fails_shows_the_reason_and_the_last_log_lines(cli: Cli, gateway: StubGateway) -> None:
    crashed = answers.instance(state="failed", last_log=["FATAL: no password\x1b]0;owned\x07"])
    failed = answers.operation("failed", problem={"code": "crashed", "detail": "the container exits with 1"})
    deploys(gateway, failed, workload=answers.workload(state="failed", instances=[crashed]))
    ran = cli("deploy", "postgres", "--name", "orders-db")
    assert ran.code == 1
    assert "Why: the container exits with 1" in ran.err
    assert "FATAL: no password\n" in ran.err
    assert "owned" not in ran.err


def test_a_deploy_that_takes_too_long_returns_3_and_names_the_operation(
    cli: Cli, gateway: StubGateway
) -> None:
    deploys(gateway, answers.operation("running"), workload=answers.unplaced_workload())
    started = time.monotonic()
    ran = cli("deploy", "postgres", "--name", "orders-db", "--timeout", "1s", "-o", "json")
    assert time.monotonic() - started < 20
    assert ran.code == 3
    assert ran.json["state"] == "running"
    assert "no place yet: no node fits" in ran.err
    assert "attic: needs 8 GiB" in ran.err
    assert "lattice op wait op-1" in ran.err


def test_a_platform_that_is_away_for_a_moment_is_waited_for(cli: Cli, gateway: StubGateway) -> None:
    away = problem(503, "temporary", "Temporarily unavailable", "the registry is away")
    deploys(gateway)
    gateway.on("GET", "/v1/operations/op-1", away, away, away, answers.operation())
    ran = cli("deploy", "postgres", "--name", "orders-db")
    assert ran.code == 0, ran.err
    assert "the registry is away" in ran.err


def test_ctrl_c_stops_the_waiting_and_not_the_work(cli: Cli, gateway: StubGateway) -> None:
    deploys(gateway, answers.operation("running"))
    process = cli.start("deploy", "postgres", "--name", "orders-db")
    _until(lambda: len(gateway.asked("GET", "/v1/operations/op-1")) > 1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, out) == (130, b"")
    assert b"lattice op wait op-1" in err
    assert gateway.asked("POST", "/v1/operations/op-1/cancel") == []


def _until(condition: Any) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    "arguments",
    [
        ("deploy", "postgres"),
        ("deploy", "postgres", "--name", "a1", "--timeout", "soon"),
        ("deploy", "postgres", "--name", "a1", "--set", "verison=16"),
        ("deploy", "mysql", "--name", "a1", "--set", "version=16"),
        ("run", "nginx", "--name", "web", "-p", "8080:80"),
        ("run", "nginx", "--name", "web", "--health-http", "80/"),
        ("apply", "-f", "/nowhere.yaml"),
        ("ps", "-o", "xml"),
        ("rm", "orders-db"),
        ("logs", "orders-db", "-n", "many"),
        ("logs", "orders-db", "-f", "--until", "1h"),
        ("exec", "orders-db"),
        ("exec", "orders-db", "-i", "-t", "--", "sh"),
        ("frobnicate",),
    ],
)
def test_wrong_usage_returns_2_and_changes_nothing(
    cli: Cli, gateway: StubGateway, arguments: tuple[str, ...]
) -> None:
    gateway.on("GET", "/v1/templates", answers.listing(answers.template()))
    ran = cli(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "Error" in ran.err
    assert {request.method for request in gateway.requests} <= {"GET"}


def test_run_sends_what_its_options_say(cli: Cli, gateway: StubGateway) -> None:
    deploys(gateway)
    options = [
        "-p",
        "8080",
        "-p",
        "5432/tcp",
        "-e",
        "TZ=UTC",
        "--secret",
        "KEY=api-key",
        "--volume",
        "data:/data:5Gi",
    ]
    options += [
        "--cpu",
        "0.5",
        "--memory",
        "512Mi",
        "--health-http",
        "8080/up",
        "--pull",
        "always",
        "--public",
    ]
    ran = cli("run", "nginx:1.27", "--name", "orders-db", *options, "--", "serve", "--port", "8080", "-q")
    assert ran.code == 0, ran.err
    assert gateway.asked("POST", WORKLOADS)[0].json == {
        "name": "orders-db",
        "image": "nginx:1.27",
        "command": ["serve", "--port", "8080", "-q"],
        "ports": [
            {"name": "http", "port": 8080, "protocol": "http", "public": True},
            {"name": "tcp", "port": 5432, "protocol": "tcp", "public": True},
        ],
        "env": {"TZ": "UTC"},
        "secrets": {"KEY": {"from": "api-key"}},
        "volumes": [{"name": "data", "path": "/data", "size": "5Gi"}],
        "resources": {"cpu": 0.5, "memory": "512Mi"},
        "health": {"http": {"port": "http", "path": "/up"}},
        "pull": "always",
    }


def test_apply_reads_yaml_from_a_file_or_stdin(cli: Cli, gateway: StubGateway, tmp_path: Path) -> None:
    deploys(gateway)
    text = "name: orders-db\nproject: shop\nimage: nginx\nenv: {ON: 'no', DAY: '2026-01-01'}\ncommand: [no, 2026-01-01]\n"
    (tmp_path / "w.yaml").write_text(text)
    missing = problem(404, "not_found", "Not found", "There is no such workload.")
    gateway.on("GET", ORDERS, missing, answers.workload(), missing, answers.workload())
    for arguments, stdin in ((("-f", str(tmp_path / "w.yaml")), ""), (("-f", "-"), text)):
        assert cli("apply", *arguments, stdin=stdin).code == 0
    for sent in gateway.asked("POST", WORKLOADS):
        assert sent.query == {"project": "shop"}
        assert sent.json["command"] == ["no", "2026-01-01"]
        assert "project" not in sent.json


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("services: {web: {image: nginx}}\n", "app needs a name"),
        ("a: [", "not valid YAML"),
        ("name: a1\nname: b1\n", "given twice"),
        ("- 1\n", "exactly one workload"),
        ("name: a\n---\nname: b\n", "exactly one workload"),
    ],
)
def test_a_file_that_cannot_be_applied_says_why(cli: Cli, gateway: StubGateway, text: str, said: str) -> None:
    ran = cli("apply", "-f", "-", stdin=text)
    assert ran.code in (1, 2)
    assert said in ran.err
    assert gateway.requests == []


# ---------------------------------------------------------------- looking


def test_ps_lists_in_every_format(cli: Cli, gateway: StubGateway) -> None:
    first, second = answers.workload("orders-db"), answers.workload("web")
    gateway.on("GET", WORKLOADS, lambda request: Answer(_page(request, first, second)))
    assert cli("ps", "-o", "json").json == answers.listing(first, second)
    assert yaml.safe_load(cli("ps", "-o", "yaml").out) == answers.listing(first, second)
    assert cli("ps", "-q").out == "orders-db\nweb\n"
    table = cli("ps").out.splitlines()
    assert table[0].split() == ["NAME", "STATE", "READY", "FROM", "NODE", "AGE", "URL"]
    assert table[1].split()[:6] == ["orders-db", "running", "1/1", "postgres", "attic", "3h"]
    assert "\x1b" not in "".join(table)


def _page(request: Request, *pages: dict[str, Any]) -> dict[str, Any]:
    """One item per page."""
    number = int(request.query.get("page_token", "0"))
    following = str(number + 1) if number + 1 < len(pages) else None
    return answers.listing(pages[number], token=following)


def test_ps_of_an_empty_project_says_what_to_try(cli: Cli, gateway: StubGateway) -> None:
    gateway.on("GET", WORKLOADS, answers.listing())
    ran = cli("ps")
    assert (ran.code, ran.out) == (0, "")
    assert "lattice deploy" in ran.err
    assert cli("ps", "-o", "json").json == answers.listing()


@pytest.mark.parametrize("columns", [80, 140])
def test_tables_fit_the_terminal(cli: Cli, gateway: StubGateway, columns: int) -> None:
    gateway.on("GET", WORKLOADS, answers.listing(answers.workload(), answers.unplaced_workload("billing")))
    terminal = cli.on_terminal("ps", columns=columns, NO_COLOR="1")
    assert terminal.end() == 0
    lines = terminal.seen.replace("\r", "").splitlines()
    assert max(map(len, lines)) <= columns
    assert "https://orders-db--default.127-0-0-1.sslip.io:8443" in terminal.seen
    assert ("FROM" in lines[0]) == (columns == 140)


def test_a_terminal_gets_colour_unless_no_color(cli: Cli, gateway: StubGateway) -> None:
    gateway.on("GET", WORKLOADS, answers.listing(answers.workload()))
    coloured, plain = cli.on_terminal("ps"), cli.on_terminal("ps", NO_COLOR="1")
    assert (coloured.end(), plain.end()) == (0, 0)
    assert "\x1b[32mrunning" in coloured.seen
    assert "\x1b[3" not in plain.seen


def test_show_explains_why_there_is_no_place(cli: Cli, gateway: StubGateway) -> None:
    gateway.on("GET", ORDERS, answers.unplaced_workload())
    ran = cli("show", "orders-db")
    assert ran.code == 0, ran.err
    assert "Slot 0 has no node: no node fits: 1 memory, 1 cordon" in ran.out
    assert "attic  memory  needs 8 GiB, 2 GiB are free" in ran.out
    assert cli("show", "orders-db", "-o", "json").json == answers.unplaced_workload()


def test_show_of_what_is_not_there_returns_1(cli: Cli) -> None:
    ran = cli("show", "nothing")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("Error: Not found: There is no /v1/workloads/nothing.")


def test_events_of_a_workload_and_of_the_project(cli: Cli, gateway: StubGateway) -> None:
    gateway.on("GET", ORDERS, answers.workload())
    gateway.on("GET", f"{ORDERS}/events", answers.listing(answers.fact(9, verb="running"), answers.fact(4)))
    ran = cli("events", "orders-db", "-o", "json")
    assert [fact["seq"] for fact in ran.json["items"]] == [4, 9]
    gateway.on(
        "GET",
        "/v1/events",
        {**answers.listing(), "head": 500},
        {**answers.listing(answers.fact(450)), "head": 500},
    )
    table = cli("events").out
    assert "workload created" in table
    assert [request.query["after"] for request in gateway.asked("GET", "/v1/events")] == [str(2**53), "300"]


def test_events_are_followed_from_the_newest_on(cli: Cli, gateway: StubGateway) -> None:
    stream = [
        answers.server_event(answers.fact(seq, entity_id=of), name="workload.x")
        for seq, of in ((8, "wl-other"), (9, "wl-orders-db"))
    ]
    gateway.on("GET", ORDERS, answers.workload())
    gateway.on("GET", f"{ORDERS}/events", answers.listing(answers.fact(4)))
    gateway.on(
        "GET",
        "/v1/events",
        {**answers.listing(), "head": 7},
        Answer(stream, media_type="text/event-stream", hangs=True),
    )
    process = cli.start("events", "orders-db", "-f", "-o", "json")
    assert [json.loads(_line(process))["seq"] for _ in range(2)] == [4, 9]
    _interrupt(process)
    assert gateway.asked("GET", "/v1/events")[1].headers["last-event-id"] == "7"


def _line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130


# ---------------------------------------------------------------- stop, start, restart, rm, credentials


@pytest.mark.parametrize("verb", ["stop", "start", "restart"])
def test_a_command_is_waited_for(cli: Cli, gateway: StubGateway, verb: str) -> None:
    gateway.on("POST", f"{ORDERS}/{verb}", answers.accepted(kind=verb), status=202)
    gateway.on("GET", "/v1/operations/op-1", answers.operation())
    gateway.on("GET", ORDERS, answers.workload(state="stopped"))
    ran = cli(verb, "orders-db")
    assert (ran.code, ran.out) == (0, "orders-db is stopped.\n"), ran.err
    assert cli(verb, "orders-db", "--no-wait", "-o", "name").out == "orders-db\n"


def test_several_are_asked_at_once_and_each_is_told(cli: Cli, gateway: StubGateway) -> None:
    for name in ("orders-db", "cache"):
        gateway.on("POST", f"/v1/workloads/{name}/start", answers.accepted(kind="start"), status=202)
        gateway.on("GET", f"/v1/workloads/{name}", {**answers.workload(state="running"), "name": name})
    gateway.on("GET", "/v1/operations/op-1", answers.operation())
    ran = cli("start", "orders-db", "cache")
    assert (ran.code, ran.out) == (0, "orders-db is running.\ncache is running.\n"), ran.err
    items = json.loads(cli("start", "orders-db", "cache", "-o", "json").out)["items"]
    assert [item["name"] for item in items] == ["orders-db", "cache"]


def test_a_command_on_what_is_not_there_returns_1(cli: Cli) -> None:
    assert cli("stop", "nothing").code == 1


def test_rm_waits_and_tells_what_is_left(cli: Cli, gateway: StubGateway) -> None:
    gateway.on("DELETE", ORDERS, answers.accepted(kind="delete"), status=202)
    gateway.on("GET", "/v1/operations/op-1", answers.operation(result={"pending_nodes": ["shed"]}))
    ran = cli("rm", "orders-db", "--yes")
    assert (ran.code, ran.out) == (0, "orders-db is removed.\n"), ran.err
    assert "containers on shed" in ran.err
    assert "lattice volume ls" in ran.err
    assert cli("rm", "orders-db", "--volumes", "-y", "-o", "json").json["id"] == "op-1"
    assert [request.query.get("volumes") for request in gateway.asked("DELETE", ORDERS)] == [None, "true"]


def test_rm_on_a_terminal_asks_for_the_name(cli: Cli, gateway: StubGateway) -> None:
    terminal = cli.on_terminal("rm", "orders-db")
    terminal.read_until("Type orders-db to go on")
    terminal.type("web\n")
    assert terminal.end() == 1
    assert "Nothing was changed" in terminal.seen
    assert gateway.requests == []


def test_credentials_in_parts(cli: Cli, gateway: StubGateway) -> None:
    gateway.on("GET", f"{ORDERS}/credentials", answers.credentials())
    uri = answers.credentials()["uri"]
    assert cli("credentials", "orders-db").out.splitlines()[0] == uri
    assert cli("credentials", "orders-db", "--field", "uri").out == f"{uri}\n"
    assert cli("credentials", "orders-db", "-q").out == f"{uri}\n"
    assert cli("credentials", "orders-db", "--field", "ca").out == answers.credentials()["ca"]
    assert cli("credentials", "orders-db", "-o", "json").json == answers.credentials()
    assert cli("credentials", "orders-db", "--field", "nothing").code == 1


# ---------------------------------------------------------------- logs


def serves_logs(gateway: StubGateway, lines: list[dict[str, Any]]) -> None:
    """The newest lines before the page's place, as the platform answers them."""

    def answer(request: Request) -> Answer:
        end = int(request.query.get("page_token", len(lines)))
        begin = max(0, end - int(request.query["limit"]))
        more = {"Next-Page-Token": str(begin)} if begin else {}
        return Answer([answers.ndjson(*lines[begin:end])], media_type="application/x-ndjson", headers=more)

    gateway.on("GET", f"{ORDERS}/logs", answer)


def test_logs_show_the_newest_lines(cli: Cli, gateway: StubGateway) -> None:
    serves_logs(gateway, [answers.log_line(number) for number in range(20)])
    assert cli("logs", "orders-db", "-n", "2").out == "abcdef │ line 18\nabcdef │ line 19\n"
    as_json = cli("logs", "orders-db", "-n", "3", "-o", "json").out.splitlines()
    assert [json.loads(line)["number"] for line in as_json] == [17, 18, 19]
    ran = cli("logs", "orders-db", "--since", "1h", "--until", "2026-01-01T00:00:00Z", "--grep", "x")
    query = gateway.requests[-1].query
    assert ran.code == 0
    assert (query["grep"], query["until"]) == ("x", "2026-01-01T00:00:00Z")
    assert query["since"].endswith("Z")


def test_logs_have_no_ceiling(cli: Cli, gateway: StubGateway) -> None:
    lines = [answers.log_line(number) for number in range(25_000)]
    serves_logs(gateway, lines)
    shown = cli("logs", "orders-db", "-n", "all", "-o", "json").out.splitlines()
    assert [json.loads(line)["number"] for line in shown] == [line["number"] for line in lines]
    assert len(cli("logs", "orders-db", "-n", "15000").out.splitlines()) == 15_000


def test_logs_cannot_steer_the_terminal(cli: Cli, gateway: StubGateway) -> None:
    serves_logs(gateway, [answers.log_line(1, "\x1b[2J\x1b]0;owned\x07hel\x00lo\r\x9b1m\tü")])
    terminal = cli.on_terminal("logs", "orders-db", NO_COLOR="1")
    assert terminal.end() == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", terminal.seen)  # our own bold and dim
    assert "│ hello" in plain
    assert "owned" not in plain
    assert not {c for c in plain if ord(c) < 0x20 and c not in "\r\n\t"}
    assert cli("logs", "orders-db").out == "abcdef │ hello\tü\n"


def test_logs_are_followed_over_a_broken_stream_without_repeating_a_line(
    cli: Cli, gateway: StubGateway
) -> None:
    line = [answers.log_line(number) for number in range(5)]

    def stream(*numbers: int, hangs: bool) -> Answer:
        events = [answers.server_event(line[number]) for number in numbers]
        return Answer([b": still here\n\n", *events], media_type="text/event-stream", hangs=hangs)

    past = Answer([answers.ndjson(line[0], line[1])], media_type="application/x-ndjson")
    gateway.on("GET", f"{ORDERS}/logs", past, stream(1, 2, hangs=False), stream(2, 3, 4, hangs=True))
    process = cli.start("logs", "orders-db", "-f", "-o", "json")
    assert [json.loads(_line(process))["number"] for _ in range(5)] == [0, 1, 2, 3, 4]
    _interrupt(process)
    first, second, third = gateway.asked("GET", f"{ORDERS}/logs")
    assert "follow" not in first.query
    assert (second.query["follow"], second.query["since"]) == ("true", line[1]["time"])
    assert third.query["since"] == line[2]["time"]


def test_logs_into_a_closed_pipe_end_quietly(cli: Cli, gateway: StubGateway) -> None:
    serves_logs(gateway, [answers.log_line(number, "x" * 200) for number in range(9_000)])
    process = cli.start("logs", "orders-db", "-n", "all")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(TIMEOUT_S) == 1


def test_logs_of_what_is_not_there_return_1(cli: Cli) -> None:
    assert cli("logs", "nothing").code == 1
