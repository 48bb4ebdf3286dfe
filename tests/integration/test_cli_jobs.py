"""`job run`, `job runs`, `job logs`, and how jobs look in `ps` and `show`: what the CLI asks, prints and returns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lattice.contracts import messages, views
from tests.fixtures import cli_answers as answers
from tests.fixtures.cli_gateway import Answer, StubGateway, problem

if TYPE_CHECKING:
    from tests.fixtures.cli_run import Cli

pytest_plugins = ["tests.fixtures.cli_run"]

REPORT = "/v1/workloads/report"
RUNS = f"{REPORT}/runs"


def run(number: int, **more: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "id": f"jr-{number}",
        "workload": "report",
        "state": "succeeded",
        "trigger": "schedule",
        "scheduled_at": answers.NOW,
        "started_at": answers.NOW,
        "finished_at": answers.NOW,
        "exit_code": 0,
        "attempts": 1,
        "revision": 1,
        "node": "one",
        "container_id": f"c{number}",
    }
    return answers.plain(views.JobRunView(**{**known, **more}))


def report(**more: Any) -> dict[str, Any]:
    spec = {
        "name": "report",
        "kind": "job",
        "image": "busybox:1",
        "schedule": {"cron": "0 3 * * *", "timezone": "Europe/Berlin"},
    }
    return answers.workload(name="report", state="stopped", spec=spec, routes=(), **more)


@pytest.fixture
def jobs(gateway: StubGateway) -> StubGateway:
    gateway.on("POST", RUNS, run(3, state="pending", trigger="manual", started_at=None), status=202)
    gateway.on("GET", RUNS, answers.listing(run(3, trigger="manual"), run(2, state="failed", exit_code=7)))
    return gateway


def test_run_now_waits_for_the_end_of_that_run(cli: Cli, jobs: StubGateway) -> None:
    ran = cli("job", "run", "report")
    assert (ran.code, ran.out) == (0, "Run jr-3 of report succeeded.\n"), ran.err
    assert "lattice job logs report jr-3" in ran.err


def test_run_now_fails_as_the_run_does(cli: Cli, jobs: StubGateway) -> None:
    failed = run(3, state="failed", exit_code=7, reason="exited with 7", last_log=("no such table",))
    jobs.on("GET", RUNS, answers.listing(failed))
    ran = cli("job", "run", "report")
    assert ran.code == 1 and "exited with 7" in ran.err and "no such table" in ran.err


def test_a_run_that_goes_on_is_left_to_itself(cli: Cli, jobs: StubGateway) -> None:
    jobs.on("GET", RUNS, answers.listing(run(3, state="running", finished_at=None)))
    ran = cli("job", "run", "report", "--timeout", "1s")
    assert ran.code == 3 and "it goes on" in ran.err
    ran = cli("job", "run", "report", "--no-wait")
    assert (ran.code, ran.out) == (0, "Run jr-3 of report was accepted.\n")


def test_the_runs_are_listed(cli: Cli, jobs: StubGateway) -> None:
    skipped = run(1, state="skipped", reason="the run before was still under way", duplicate=True)
    jobs.on("GET", RUNS, answers.listing(run(2, state="failed", exit_code=7), skipped))
    ran = cli("job", "runs", "report")
    lines = ran.out.splitlines()
    assert lines[0].split()[:3] == ["RUN", "STATE", "TRIGGER"] and lines[1].split()[:2] == ["jr-2", "failed"]
    assert "still under way; duplicate" in lines[2]


def test_the_log_is_that_of_one_run(cli: Cli, jobs: StubGateway) -> None:
    line = {"time": answers.NOW, "node": "one", "workload": "report", "instance": "in-1", "stream": "stdout"}
    lines = answers.ndjson(answers.plain(messages.LogLine(**line, message="done")))
    jobs.on("GET", f"{REPORT}/logs", Answer([lines], media_type="application/x-ndjson"))
    assert "done" in cli("job", "logs", "report").out
    assert "done" in cli("job", "logs", "report", "jr-2").out
    assert [r.query["source"] for r in jobs.asked("GET", f"{REPORT}/logs")] == ["c3", "c2"]
    assert cli("job", "logs", "report", "jr-9").code == 1


def test_a_job_that_is_deployed_says_when_it_will_run(cli: Cli, gateway: StubGateway, tmp_path: Path) -> None:
    shown = report(next_run_at="2999-01-01T02:00:00Z")
    gateway.on("GET", REPORT, problem(404, "not_found", "Not found", "none yet"), shown)
    gateway.on("POST", "/v1/workloads", answers.accepted(), status=202)
    gateway.on("GET", "/v1/operations/op-1", answers.operation())
    file = tmp_path / "report.yaml"
    file.write_text("{name: report, kind: job, image: busybox, schedule: {cron: '@daily'}}")
    ran = cli("apply", "-f", str(file))
    assert ran.code == 0 and "it runs next at 2999-01-01T02:00:00Z" in ran.out, ran.err


def test_a_job_says_when_it_runs(cli: Cli, gateway: StubGateway) -> None:
    last = run(2, state="failed", exit_code=7, reason="exited with 7")
    shown = report(next_run_at="2999-01-01T02:00:00Z", last_run=last)
    gateway.on("GET", REPORT, shown)
    gateway.on("GET", "/v1/workloads", answers.listing(shown))
    page = cli("show", "report").out
    assert "0 3 * * * (Europe/Berlin)" in page and "2999-01-01T02:00:00Z" in page
    assert "failed" in page and "exited with 7" in page
    table = cli("ps").out.splitlines()
    assert "NEXT" in table[0].split() and " - " in table[1]
