"""Times, tables, options of `run`, streams, frames, waiting: what the CLI decides without asking anybody."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from cli import exec_frames, node_text, run_options, waiting, workload_text
from cli.commands.exec import tty_and_stdin
from cli.commands.nodes import with_labels
from cli.commands.people import read_roles
from cli.commands.templates import value_rows
from cli.errors import CliError, ExitCode, Unreachable, from_problem
from cli.output import names_of
from cli.streams import byte_lines, server_events
from cli.tables import Column, cells, field, fit, padded
from cli.times import ago, moment, parse_duration_s, short_duration
from lattice.contracts.nouns import OwnerPolicy, PortRange
from services.gateway import exec_frames as gateway_frames
from tests.fixtures import cli_answers as answers

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


# ---------------------------------------------------------------- times


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("2m", 120), ("1h30m", 5400), ("7d", 604_800), ("90", 90), ("0.5s", 0.5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "5 m", "-1s", "1m2h"])
def test_a_wrong_duration_is_a_usage_error(text: str) -> None:
    with pytest.raises(CliError) as caught:
        parse_duration_s(text)
    assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1h", "2026-03-01T11:00:00Z"),
        ("2026-02-28T23:00:00Z", "2026-02-28T23:00:00Z"),
        ("2026-02-28T23:00:00+01:00", "2026-02-28T22:00:00Z"),
        ("2026-02-28", "2026-02-28T00:00:00Z"),
    ],
)
def test_a_moment_is_a_time_or_so_long_ago(text: str, expected: str) -> None:
    assert moment(text, now=NOW) == expected


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59, "59s"), (60, "1m"), (7199, "119m"), (7200, "2h"), (200_000, "2d")]
)
def test_short_durations(seconds: int, text: str) -> None:
    assert short_duration(seconds) == text


def test_ago_shows_what_it_cannot_read() -> None:
    assert ago("2026-03-01T11:57:00Z", now=NOW) == "3m"
    assert ago(None, now=NOW) == "-"
    assert ago("soon", now=NOW) == "soon"


# ---------------------------------------------------------------- tables

COLUMNS = (field("NAME", "name", whole=True), field("WHY", "why"), field("EXTRA", "extra", leave_out=1))
ROW = {"name": "orders-db", "why": "a reason that takes some space", "extra": "not so important"}


def shown(width: int | None) -> list[str]:
    rows = cells(COLUMNS, [ROW], now=NOW)
    widths = fit(COLUMNS, rows, width)
    return ["  ".join(padded(COLUMNS, row, widths)).rstrip() for row in rows]


def test_where_there_is_room_everything_is_shown() -> None:
    assert shown(None)[1] == "orders-db  a reason that takes some space  not so important"


def test_the_least_important_column_goes_first_then_cells_are_cut() -> None:
    assert shown(45)[1] == "orders-db  a reason that takes some space"
    assert shown(25)[1] == "orders-db  a reason that…"


@given(st.lists(st.text(max_size=40), min_size=3, max_size=3), st.integers(32, 200))
def test_a_row_fits_unless_what_must_stay_whole_does_not(texts: list[str], width: int) -> None:
    item = dict(zip(("name", "why", "extra"), texts, strict=True))
    rows = cells(COLUMNS, [item], now=NOW)
    widths = fit(COLUMNS, rows, width)
    for row in rows:
        line = "  ".join(padded(COLUMNS, row, widths)).rstrip()
        assert cell_len(line) <= max(width, cell_len(rows[1][0]) + 2 + 10)
        assert "\n" not in line


def test_columns_name_fields_that_the_answers_have() -> None:
    """A renamed field of a view would silently become an empty column."""
    _all_cells(workload_text.COLUMNS, answers.workload())
    _all_cells(node_text.COLUMNS[:-1], answers.node())


def test_the_owners_policy_is_shown_rule_by_rule() -> None:
    policy = OwnerPolicy(
        file="/etc/lattice/node-policy.yaml",
        images=("docker.io/library/*",),
        memory_bytes=4 * 2**30,
        hours="sat sun 00:00-24:00 (Europe/Berlin)",
        open_now=False,
        host_ports=(PortRange(first=8000, last=8099),),
    )
    shown = dict(node_text.owner_fields(policy.model_dump(mode="json")))
    assert {name: text for name, text in shown.items() if text} == {
        "File": "/etc/lattice/node-policy.yaml",
        "Memory": "4 GiB",
        "Hours": "sat sun 00:00-24:00 (Europe/Berlin); closed now",
        "Images": "docker.io/library/*",
        "Host ports": "8000-8099",
    }
    bad = OwnerPolicy(file="f", problem="line 1: imagse: there is no such rule").model_dump(mode="json")
    assert dict(node_text.owner_fields(bad))["Problem"].endswith("; the node takes no new work")


def _all_cells(columns: tuple[Column, ...], item: Mapping[str, Any]) -> None:
    for column, cell in zip(columns, cells(columns, [item], now=datetime.now(UTC))[1], strict=True):
        assert cell != "-", column.title


# ---------------------------------------------------------------- options of run


def test_ports_are_named_after_their_protocol() -> None:
    ports = run_options.read_ports(["8080", "5432/tcp", "web:9000", "9001"])
    assert [(p["name"], p["port"], p["protocol"]) for p in ports] == [
        ("http-8080", 8080, "http"),
        ("tcp", 5432, "tcp"),
        ("web", 9000, "http"),
        ("http-9001", 9001, "http"),
    ]


@pytest.mark.parametrize("text", ["", "http", "80/udp", "80:", "8080:80", "127.0.0.1:80:80"])
def test_a_wrong_port_is_a_usage_error(text: str) -> None:
    with pytest.raises(CliError) as caught:
        run_options.read_ports([text])
    assert caught.value.exit_code == ExitCode.USAGE


def test_a_docker_style_port_is_answered_with_the_right_one() -> None:
    with pytest.raises(CliError) as caught:
        run_options.read_ports(["8080:80"])
    assert "-p 80" in caught.value.todo


def test_volumes() -> None:
    assert run_options.read_volume("data:/d") == {"name": "data", "path": "/d"}
    assert run_options.read_volume("data:/d:5Gi") == {"name": "data", "path": "/d", "size": "5Gi"}
    for wrong in ("data", "data:d", ":/d", ":"):
        with pytest.raises(CliError):
            run_options.read_volume(wrong)


def test_health_names_a_port_that_is_there() -> None:
    ports = run_options.read_ports(["8080"])
    assert run_options.read_check("health", http="8080/up", tcp=None, ports=ports) == {
        "http": {"port": "http", "path": "/up"}
    }
    assert run_options.read_check("health", http="http", tcp=None, ports=ports) == {
        "http": {"port": "http", "path": "/"}
    }
    assert run_options.read_check("health", http=None, tcp="8080", ports=ports) == {"tcp": {"port": "http"}}
    assert run_options.read_check("health", http=None, tcp=None, ports=ports) is None
    for http, tcp in (("81/up", None), (None, "81"), ("8080/", "8080")):
        with pytest.raises(CliError):
            run_options.read_check("health", http=http, tcp=tcp, ports=ports)
    assert run_options.read_check("liveness", http="8080/live", tcp=None, ports=ports) == {
        "http": {"port": "http", "path": "/live"}
    }
    with pytest.raises(CliError, match="--liveness-tcp names port '81'"):
        run_options.read_check("liveness", http=None, tcp="81", ports=ports)


def test_pairs() -> None:
    assert run_options.read_pairs(["A=1", "B=", "C=x=y"], option="-e") == {"A": "1", "B": "", "C": "x=y"}
    for wrong in (["A"], ["=1"], ["A=1", "A=2"]):
        with pytest.raises(CliError):
            run_options.read_pairs(wrong, option="-e")


def test_labels_are_added_and_taken_away() -> None:
    assert with_labels({"a": "1", "b": "2"}, ["b-", "c=3", "a=x-"]) == {"a": "x-", "c": "3"}


def test_template_values_show_type_and_default() -> None:
    rows = value_rows(answers.template()["values_schema"])
    assert [(row["VALUE"], row["TYPE"], row["DEFAULT"]) for row in rows] == [
        ("version", "15 | 16", "16"),
        ("database", "string", "app"),
        ("connections", "integer", 100),
    ]


# ---------------------------------------------------------------- streams and frames


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r"))), st.integers(1, 7))
def test_lines_are_the_same_however_they_are_cut(lines: list[str], size: int) -> None:
    whole = "".join(line + "\n" for line in lines).encode()
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    assert [line.decode() for line in byte_lines(pieces)] == lines


def test_a_line_separator_inside_json_is_no_end_of_line() -> None:
    assert list(byte_lines(['{"a":"x\u2028y\x85z"}'.encode()])) == ['{"a":"x\u2028y\x85z"}'.encode()]


def test_server_events() -> None:
    stream = b': still here\n\nid: 7\nevent: line\ndata: {"a":\ndata: 1}\n\ndata: plain\r\n\r\ndata: cut off'
    first, second = server_events([stream])
    assert (first.id, first.event, json.loads(first.data)) == ("7", "line", {"a": 1})
    assert (second.id, second.event, second.data) == ("", "message", "plain")


def test_frames_are_the_ones_that_the_gateway_reads() -> None:
    request = exec_frames.Request(("sh", "-c", "ls"), tty=True, stdin=True, rows=40, columns=120)
    start = gateway_frames.read_start(request.to_json())
    assert (start.argv, start.tty, start.stdin, start.rows, start.columns, start.slot) == (
        ("sh", "-c", "ls"), True, True, 40, 120, None,
    )  # fmt: skip
    assert gateway_frames.read_bytes(exec_frames.stdin_frame(b"\x00hi")).data == b"\x00hi"
    size = gateway_frames.read_control(exec_frames.resize(rows=3, columns=4)).size
    assert size is not None
    assert (size.rows, size.columns) == (3, 4)
    assert gateway_frames.read_control(exec_frames.stdin_closed()).kind == "stdin-closed"


def test_frames_from_the_gateway_are_understood_and_others_passed_over() -> None:
    failed = gateway_frames.failed("conflict", "it does not run")
    assert exec_frames.read(b"\x01out") == exec_frames.Output(exec_frames.Kind.STDOUT, b"out")
    assert exec_frames.read(b"\x02err") == exec_frames.Output(exec_frames.Kind.STDERR, b"err")
    assert exec_frames.read('{"type": "exit", "exit_code": 3, "error": ""}') == exec_frames.Ended(3)
    assert exec_frames.read(failed) == exec_frames.Ended(None, "it does not run")
    for unknown in (b"", b"\x09x", "", "[]", "nonsense", gateway_frames.started("ex-1")):
        assert exec_frames.read(unknown) is None


@pytest.mark.parametrize(
    ("tty", "stdin", "here", "expected"),
    [
        (None, None, True, (True, True)),
        (None, None, False, (False, False)),
        (None, True, False, (False, True)),
        (True, None, False, (True, False)),
        (False, None, True, (False, False)),
        (None, False, True, (False, False)),
    ],
)
def test_a_terminal_and_input_are_there_when_asked_for_or_natural(
    tty: bool | None, stdin: bool | None, here: bool, expected: tuple[bool, bool]
) -> None:
    assert tty_and_stdin(tty=tty, stdin=stdin, here=here, stdin_is_tty=here) == expected


def test_a_terminal_for_piped_input_is_refused() -> None:
    with pytest.raises(CliError):
        tty_and_stdin(tty=True, stdin=True, here=False, stdin_is_tty=False)


# ---------------------------------------------------------------- waiting


def test_progress_says_what_happens() -> None:
    running = answers.operation("running")
    pulling = answers.instance(state="pulling", progress="pulling postgres:16: 41 %")
    many = [answers.instance(), answers.instance(state="starting"), answers.instance(state="starting")]
    assert waiting.describe(running, None) == "running"
    assert waiting.describe(running, answers.workload(instances=[pulling])) == "pulling postgres:16: 41 %"
    assert waiting.describe(running, answers.workload(instances=many)) == "1 of 3 running, 2 starting"
    stated = answers.operation("running", progress="pulling", percent=7)
    assert waiting.describe(stated, None) == "pulling: 7 %"
    assert waiting.describe({**stated, "percent": 0}, None) == "pulling"
    assert (
        waiting.describe(stated, answers.unplaced_workload())
        == "no place yet: no node fits: 1 memory, 1 cordon"
    )


def test_a_new_line_is_printed_for_a_new_step_only() -> None:
    assert waiting.step_of("pulling x: 41 %") == waiting.step_of("pulling x: 42.5 %")
    assert waiting.step_of("pulling") != waiting.step_of("starting")


def test_ps_says_why_only_where_there_is_something_to_say() -> None:
    fine, bad = answers.workload(), answers.workload(reason="exited with 137 (SIGKILL); restarting after 2 s")
    assert "WHY" not in [column.title for column in workload_text.columns_of([fine])]
    shown = workload_text.columns_of([fine, bad])
    assert [column.title for column in shown[-2:]] == ["WHY", "URL"]
    assert shown[-2].cell(bad, NOW) == "exited with 137 (SIGKILL)"


def test_how_it_ended_last_is_one_line() -> None:
    last = {
        "at": (NOW - timedelta(minutes=2)).isoformat(),
        "reason": "exited with 137 (SIGKILL)",
        "node": "attic",
    }
    own = answers.instance()
    assert workload_text.last_end(own, {**last, "instance_id": own["id"]}, now=NOW) == (
        "Slot 0 ended 2m ago on node attic: exited with 137 (SIGKILL)"
    )
    assert "(instance in-other, before this one)" in workload_text.last_end(
        own, {**last, "instance_id": "in-other"}, now=NOW
    )


def test_a_failure_tells_why_and_shows_the_last_log_lines() -> None:
    crashed = answers.instance(state="failed", last_log=["booting", "no such file \x1b[31mconfig"])
    failed = answers.operation("failed", problem={"code": "crashed", "detail": "it exits with 1"})
    error = waiting.failure(
        failed, answers.workload(state="failed", instances=[crashed]), what="Deploying orders-db"
    )
    lines = error.lines()
    assert lines[0] == "Error: Deploying orders-db failed."
    assert "  Why: it exits with 1" in lines
    assert any(line.endswith("no such file config") for line in lines)


def test_a_timeout_tells_which_nodes_refuse() -> None:
    error = waiting.still_working(
        answers.operation("running"), answers.unplaced_workload(), what="Deploying orders-db", timeout_s=30
    )
    assert error.exit_code == ExitCode.TIMED_OUT
    assert "  attic: needs 8 GiB, 2 GiB are free" in error.lines()
    assert "op wait op-1" in error.todo


@given(st.floats(0, 10_000))
def test_polling_is_never_frantic_nor_asleep(waited_s: float) -> None:
    assert 0.1 <= waiting.poll_pause_s(waited_s) <= 1


# ---------------------------------------------------------------- errors and names


def test_a_problem_becomes_what_why_and_what_to_do() -> None:
    body = {
        "title": "Invalid request",
        "detail": "see /ports/0/port",
        "code": "invalid",
        "request_id": "rq-1",
        "errors": [{"pointer": "/ports/0/port", "detail": "too large"}],
    }
    assert from_problem(422, body, url="https://x").lines() == [
        "Error: Invalid request: see /ports/0/port",
        "  ports.0.port: too large",
        "  Request: rq-1",
    ]


def test_a_field_that_says_no_more_than_the_sentence_is_left_out() -> None:
    away = "image nope:1 cannot be used: its registry did not answer"
    body = {
        "title": "Invalid request",
        "detail": f"{away}.",
        "errors": [{"pointer": "/image", "detail": away}],
    }
    assert from_problem(422, body, url="https://x").lines() == [f"Error: Invalid request: {away}."]


def test_a_role_without_a_project_is_explained() -> None:
    assert read_roles(["default=viewer", "*=admin"]) == {"default": "viewer", "*": "admin"}
    with pytest.raises(CliError) as caught:
        read_roles(["viewer"])
    assert caught.value.exit_code == ExitCode.USAGE
    assert caught.value.todo == "write --role default=viewer, or --role '*=viewer' for the whole platform"


def test_an_answer_of_something_else_says_so() -> None:
    assert "not how a Lattice gateway answers" in from_problem(404, {}, url="https://x").why


@pytest.mark.parametrize(
    ("status", "away"), [(503, True), (504, True), (502, True), (500, False), (404, False)]
)
def test_an_absence_is_told_from_a_refusal(status: int, away: bool) -> None:
    assert isinstance(from_problem(status, {"title": "x"}, url=""), Unreachable) is away


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ({"items": [{"name": "a"}, {"username": "b"}, {"id": "c"}]}, ["a", "b", "c"]),
        ({"operation": {"id": "op-1"}, "workload": {"name": "a"}}, ["a"]),
        ({"operation": {"id": "op-1"}, "workload": None}, ["op-1"]),
        ({"items": []}, []),
    ],
)
def test_names(data: dict[str, Any], names: list[str]) -> None:
    assert names_of(data) == names


def test_the_address_over_https_is_shown_with_where_its_ca_is() -> None:
    route = {"url": "http://web:8080", "secure_url": "https://web:8446", "public": True}
    header = workload_text.header(answers.workload(routes=()) | {"routes": [route]}, now=NOW)
    assert [line for line in header if line[0] in ("Public URL", "With HTTPS")] == [
        ("Public URL", "http://web:8080"),
        ("With HTTPS", "https://web:8446 (its CA: lattice ca)"),
    ]
