"""What set-up installs, how it runs other programs, and that it leaves a machine as it found it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from infra.setup.bytecode import compile_sources
from infra.setup.commands import CommandFailed, SetupError, run
from infra.setup.policy_rc import services_kept_still
from infra.setup.programs import Program, ensure_programs, read_programs
from infra.setup.python_env import Environment


def test_a_list_names_program_package_and_unwanted_service() -> None:
    text = "# comment\n\ndockerd docker.io\nregistry docker-registry registry.service  # port 5000\n"
    assert read_programs(text) == (
        Program("dockerd", "docker.io"),
        Program("registry", "docker-registry", "registry.service"),
    )


def test_programs_that_are_there_are_left_alone(tmp_path: Path) -> None:
    programs = tmp_path / "programs.txt"
    programs.write_text("sh no-such-package\n")
    assert ensure_programs([programs]) == "all there"


def test_where_there_is_no_apt_one_line_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs.txt"
    programs.write_text("no-such-program-1 one\nno-such-program-2 two\n")
    monkeypatch.setattr("infra.setup.programs.find_program", lambda name: None)
    with pytest.raises(SetupError, match=r"^Missing on this machine: one, two .*package manager") as refusal:
        ensure_programs([programs])
    assert "\n" not in str(refusal.value)


def test_a_failed_program_is_named_with_the_end_of_what_it_wrote() -> None:
    with pytest.raises(CommandFailed, match="status 3:\n    what went wrong") as failure:
        run(["sh", "-c", "echo what went wrong >&2; exit 3"])
    assert failure.value.output == "what went wrong\n"


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(SetupError, match="`no-such-program` is not installed"):
        run(["no-such-program"])


def test_a_program_that_takes_too_long_is_ended() -> None:
    with pytest.raises(SetupError, match=r"did not end within 0 s"):
        run(["sleep", "60"], timeout_s=0.1)


def test_services_are_kept_still_only_while_installing(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    with services_kept_still(policy), pytest.raises(CommandFailed, match="status 101"):
        run([str(policy)])
    assert not policy.exists()


def test_the_policy_goes_also_when_the_installation_fails(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    with pytest.raises(SetupError, match="broken"), services_kept_still(policy):
        raise SetupError("broken")
    assert not policy.exists()


def test_a_policy_that_is_already_there_stays_as_it_is(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 0\n")
    with services_kept_still(policy):
        assert policy.read_text() == "#!/bin/sh\nexit 0\n"
    assert policy.read_text() == "#!/bin/sh\nexit 0\n"


def test_a_policy_left_behind_by_an_interrupted_set_up_is_ours_to_remove(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    with services_kept_still(policy):
        left_behind = policy.read_text()
    policy.write_text(left_behind)
    with services_kept_still(policy):
        assert policy.exists()
    assert not policy.exists()


@pytest.mark.parametrize(("source", "said"), [("x = 1", "compiled"), ("x =", "not compiled")])
def test_own_sources_are_compiled_and_a_failure_stops_nothing(tmp_path: Path, source: str, said: str) -> None:
    project = "[tool.hatch.build.targets.wheel]\npackages = ['ours']\n"
    (tmp_path / "pyproject.toml").write_text(project)
    for package in ("ours", "infra", ".venv/bin"):
        (tmp_path / package).mkdir(parents=True)
    (tmp_path / "ours" / "part.py").write_text(source)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    assert compile_sources(Environment(tmp_path)).startswith(said)
    assert any((tmp_path / "ours").glob("__pycache__/part.*.pyc")) is (said == "compiled")
