"""What the platform's commands decide from what they find: states, findings, leftovers, what belongs to whom."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lattice.errors import Conflict, Invalid, LatticeError, NotFound, Temporary
from lattice.runtime import EngineAway, EngineInfo
from services.gateway.tokens import read_token
from standalone import doctor_checks as checks
from standalone.announcement import (
    Announcement,
    announce,
    ensure_bootstrap_secret,
    read_announcement,
    renew_operator_token,
    withdraw,
)
from standalone.child import ProcessStatus
from standalone.credentials import credential_files, ensure_authorities, issue_all
from standalone.data_dir import DataDir, open_data_dir
from standalone.demo import about_image
from standalone.doctor import lines
from standalone.doctor_checks import Finding
from standalone.leftovers import end_leftovers, find_leftovers, stop_supervisor
from standalone.own_node import own_node_id
from standalone.preparation import Options, prepare
from standalone.processes import look_up
from standalone.reports import Kind, News, read_news, teller
from standalone.reset import Belongings, insist, remove_data_dir, remove_memory
from standalone.settings import StandaloneSettings
from standalone.status import elapsed, process_view, state_of
from standalone.stopping import words_on_running
from standalone.supervisor import SupervisorStatus

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    return open_data_dir(tmp_path / "data", choose_id=lambda: "abcd1234")


# --- how to reach it ---------------------------------------------------------------------------------------


def test_the_operators_token_changes_and_its_id_stays(data_dir: DataDir) -> None:
    first, second = renew_operator_token(data_dir), renew_operator_token(data_dir)
    assert first.row_id == second.row_id and first.text != second.text
    assert read_token((data_dir.keys / "operator-token").read_text()).sha256 == second.sha256


def test_a_damaged_token_file_is_replaced(data_dir: DataDir) -> None:
    (data_dir.keys / "operator-token").write_text("half a tok")
    assert read_token(renew_operator_token(data_dir).text).row_id.startswith("tk-")


def test_the_first_admins_secret_is_made_once(data_dir: DataDir) -> None:
    ensure_bootstrap_secret(data_dir)
    made = (data_dir.keys / "setup-secret").read_text()
    ensure_bootstrap_secret(data_dir)
    assert (data_dir.keys / "setup-secret").read_text() == made and len(made) >= 32


def test_an_announcement_is_there_only_while_it_holds(data_dir: DataDir) -> None:
    said = Announcement(
        url="https://h:1",
        console="https://h:1",
        ca=data_dir.pki / "ca.pem",
        token="t",
        data_dir=data_dir.root,
    )
    assert read_announcement(data_dir) is None
    announce(data_dir, said)
    assert read_announcement(data_dir) == said and "token" not in repr(said)
    withdraw(data_dir)
    withdraw(data_dir)
    assert read_announcement(data_dir) is None


def test_news_cross_a_pipe() -> None:
    pipe = io.StringIO()
    teller(pipe)(News(kind=Kind.PROGRESS, text="nats is ready"))
    assert read_news(pipe.getvalue()) == News(kind=Kind.PROGRESS, text="nats is ready")
    assert read_news("a stray line\n") is None


def test_nobody_listening_is_no_failure() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    tell = teller(os.fdopen(writer, "w"))
    for _ in range(3):
        tell(News(kind=Kind.READY))


# --- leftovers ---------------------------------------------------------------------------------------------


def started(code: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-I", "-S", "-u", "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"up\n"
    return process


@pytest.fixture
def polite() -> Iterator[subprocess.Popen[bytes]]:
    process = started("import signal; print('up', flush=True); signal.pause()")
    yield process
    process.kill()
    process.communicate()


def status_naming(process: subprocess.Popen[bytes], *, ticks_off: int = 0) -> SupervisorStatus:
    """A status of a dead supervisor with one process."""
    state = look_up(process.pid)
    assert state is not None
    ticks = state.identity.started_ticks + ticks_off
    named = ProcessStatus(name="registry", pid=process.pid, started_ticks=ticks)
    return SupervisorStatus(pid=2**22 - 1, started_ticks=1, processes=(named,))


async def test_a_leftover_is_asked_to_end(polite: subprocess.Popen[bytes]) -> None:
    status = status_naming(polite)
    assert [each.name for each in find_leftovers(status)] == ["registry"]
    await end_leftovers(status)
    assert polite.wait(5) == -signal.SIGTERM and find_leftovers(status) == []


async def test_a_stranger_with_the_same_pid_is_left_alone(polite: subprocess.Popen[bytes]) -> None:
    await end_leftovers(status_naming(polite, ticks_off=-1))
    assert polite.poll() is None


async def test_a_living_supervisor_is_asked_first(polite: subprocess.Popen[bytes]) -> None:
    state = look_up(polite.pid)
    assert state is not None
    status = SupervisorStatus(pid=polite.pid, started_ticks=state.identity.started_ticks)
    await stop_supervisor(status)
    assert polite.wait(5) == -signal.SIGTERM


async def test_nothing_was_ever_started() -> None:
    await end_leftovers(None)
    assert find_leftovers(None) == []


# --- status ------------------------------------------------------------------------------------------------


def test_what_runs_on_without_its_platform_is_told() -> None:
    assert words_on_running(1).startswith("1 container runs on without it;")
    assert (
        words_on_running(2)
        == "2 containers run on without it; `lattice down --workloads` stops workloads, too."
    )


@pytest.mark.parametrize(
    ("ready", "last_exit", "runs", "supervised", "state"),
    [
        (True, None, True, True, "ready"),
        (False, None, True, True, "starting"),
        (False, "killed by signal 9", True, True, "starting"),
        (False, None, False, True, "starting"),
        (False, "killed by signal 9", False, True, "restarting"),
        (True, None, True, False, "unsupervised"),
        (True, None, False, False, "stopped"),
    ],
)
def test_the_state_of_a_process(
    *, ready: bool, last_exit: str | None, runs: bool, supervised: bool, state: str
) -> None:
    process = ProcessStatus(name="x", ready=ready, last_exit=last_exit)
    assert state_of(process, runs=runs, supervised=supervised) == state


def test_a_process_is_measured(polite: subprocess.Popen[bytes]) -> None:
    found = status_naming(polite).processes[0]
    shown = process_view(found, supervised=True)
    assert shown["pid"] == polite.pid and shown["memory_bytes"] > 2**20


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7300, "2 h"), (90_000, "1 d"), (-5, "0 s")],
)
def test_how_long_ago(seconds: int, said: str) -> None:
    assert elapsed(NOW.isoformat(), NOW + timedelta(seconds=seconds)) == said


# --- the doctor --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "ok"), [("20.10.24+dfsg1", True), ("28.2.2", True), ("19.03.1", False), ("strange", False)]
)
def test_how_old_an_engine_may_be(version: str, *, ok: bool) -> None:
    info = EngineInfo(version=version, arch="amd64", os="", kernel="", cpus=1, memory_bytes=1)
    assert checks.check_engine_info(info).ok is ok


def test_open_folders_are_named(data_dir: DataDir) -> None:
    assert checks.check_permissions(data_dir.root, uid=os.geteuid()).ok
    data_dir.keys.chmod(0o750)
    found = checks.check_permissions(data_dir.root, uid=os.geteuid())
    assert found.ok is False and str(data_dir.keys) in found.detail
    assert checks.check_permissions(data_dir.root, uid=os.geteuid() + 1).ok is False
    assert checks.check_permissions(data_dir.root / "none", uid=0).ok is None


def test_an_image_counts_under_its_official_and_its_local_name() -> None:
    wanted = {"postgres": ("postgres:16", "lattice.local/postgres"), "custom": ()}
    for present in ("postgres:16", "lattice.local/postgres:15.20"):
        assert checks.check_images(wanted, frozenset({present})).ok
    missing = checks.check_images(wanted, frozenset({"postgres:12"}))
    assert missing.ok is False and "postgres" in missing.detail


def test_certificates_run_out(data_dir: DataDir) -> None:
    files = credential_files(data_dir)
    assert checks.check_certificates(files, now=NOW).ok is None
    authorities = ensure_authorities(data_dir, first_start=True, now=NOW)
    issue_all(
        files,
        authorities,
        gateway_names=(),
        bus_names=(),
        ingress_names=(),
        apps_domain="apps.localhost",
        now=NOW,
        lifetime=timedelta(hours=24),
    )
    assert "24.0 h" in checks.check_certificates(files, now=NOW).detail
    assert checks.check_certificates(files, now=NOW + timedelta(hours=25)).ok is False


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"apps_key_file": "/no/web.key"}, "LATTICE_APPS_KEY_FILE is set without LATTICE_APPS_CERT_FILE"),
        ({"apps_cert_file": "/no/web.pem"}, "Visitors cannot be shown the certificate /no/web.pem"),
        ({"apps_cert_file": "web.pem"}, "give web.pem with its whole path"),
    ],
)
def test_a_certificate_of_ones_own_that_cannot_be_used_is_refused_before_anything_starts(
    data_dir: DataDir, given: dict[str, str], said: str
) -> None:
    settings = StandaloneSettings.model_validate(given)
    with pytest.raises(Invalid, match=said):
        prepare(data_dir, Options(data_dir.root), settings, ambient={}, now=NOW)
    assert not data_dir.ports_file.exists()


def test_a_clock_that_went_back(data_dir: DataDir) -> None:
    files = credential_files(data_dir)
    assert checks.check_clock(files, now=NOW).ok is None
    ensure_authorities(data_dir, first_start=True, now=NOW)
    assert checks.check_clock(files, now=NOW).ok
    assert checks.check_clock(files, now=NOW - timedelta(days=30)).ok is False


async def test_a_server_that_is_away() -> None:
    found = await checks.check_http("NATS", "http://127.0.0.1:1/healthz")
    assert found.ok is False and "does not answer" in found.detail and found.remedy


def test_findings_are_numbered_with_remedies() -> None:
    said = lines(
        [Finding("a", True, "fine"), Finding("b", False, "broken", "mend it"), Finding("c", None, "?")]
    )
    assert said == [
        " 1. ✓ a: fine",
        " 2. ✗ b: broken",
        "      → mend it",
        " 3. - c: ?",
        "1 of 3 need attention.",
    ]


# --- reset, node, demo -------------------------------------------------------------------------------------


def test_only_what_lattice_made_is_removed(data_dir: DataDir) -> None:
    (data_dir.root / "ports.json").write_text("{}")
    (data_dir.logs / "x.log").write_text("x")
    foreign = data_dir.root / "thesis.txt"
    foreign.write_text("do not lose me")
    assert remove_data_dir(data_dir) == [foreign] and list(data_dir.root.iterdir()) == [foreign]


def test_a_link_to_elsewhere_is_not_followed(data_dir: DataDir, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    data_dir.logs.rmdir()
    data_dir.logs.symlink_to(elsewhere)
    assert remove_data_dir(data_dir) == []
    assert (elsewhere / "kept").exists() and not data_dir.root.exists()


def test_the_files_of_another_platform_in_memory_stay(tmp_path: Path) -> None:
    memory = tmp_path / "run"
    for cluster in ("abcd1234", "other567"):
        (memory / cluster / "in-1").mkdir(parents=True)
    remove_memory(memory, "abcd1234")
    assert [path.name for path in memory.iterdir()] == ["other567"]
    remove_memory(memory, "other567")
    remove_memory(memory, "never")
    assert not memory.exists()


def test_belongings_are_listed_by_kind() -> None:
    found = Belongings(containers=("c1",), volumes=("v1",), folders=(Path("/d"),))
    assert [line.split()[0] for line in found.lines()] == ["container", "volume", "folder"]


async def test_a_removal_that_the_engine_fails_at_is_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    answers: list[Exception | None] = [Temporary("removing c1: device or resource busy."), None]

    async def remove() -> None:
        if (answer := answers.pop(0)) is not None:
            raise answer

    await insist(remove)
    assert answers == [] and "device or resource busy. Trying again" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [EngineAway("away"), Conflict("not ours")], ids=["the Engine is away", "it is refused"]
)
async def test_what_does_not_pass_is_told_at_once(error: LatticeError) -> None:
    calls = 0

    async def remove() -> None:
        nonlocal calls
        calls += 1
        raise error

    with pytest.raises(type(error)):
        await insist(remove)
    assert calls == 1


async def test_at_last_it_is_given_up(capsys: pytest.CaptureFixture[str]) -> None:
    async def remove() -> None:
        raise Temporary("busy")

    with pytest.raises(Temporary, match="busy"):
        await insist(remove, timeout_s=0.5)


def test_a_machine_that_never_joined(data_dir: DataDir) -> None:
    with pytest.raises(NotFound):
        own_node_id(data_dir.agent)


def test_the_demo_says_which_image_runs() -> None:
    assert about_image("postgres:16@sha256:1") == "postgres:16@sha256:1"
    assert "packages" in about_image("lattice.local/postgres:15.20")
