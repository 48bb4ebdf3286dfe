"""The rules for Prometheus: made from declarations, sound in promtool's eyes, open when they should and stay quiet when they should."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.__main__ import files, main
from dashboards.alert_rules import OF_ALERT, RULES, AlertRule
from infra.setup.commands import find_program
from lattice.alerts import ALERTS, BY_NAME, MEASURED
from services.alerts.foreign import OUR_LABEL
from tests.fixtures.docker import missing_service
from tests.fixtures.rule_cases import CASES, Series
from tests.house_rules import ROOT

FOLDER = ROOT / "infra" / "prometheus"
# Where the names of computed series come from.
PAGES = 'lattice_pages_info{docs="https://docs.test", grafana="https://grafana.test"}'
COMPUTED = {
    "node:": "lattice-recording.yaml",
    "project_workload:": "lattice-recording.yaml",
    "slo:": "lattice-slos.yaml",
}
RULE_FILES = sorted(str(path) for path in (FOLDER / "rules").glob("*.yaml"))


def run(program: str, *arguments: str) -> str:
    """What a program of Prometheus says; it must say that all is well."""
    if (path := find_program(program)) is None:
        missing_service(program, "it is not installed")
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_files_are_up_to_date_and_left_over_ones_are_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--check"]) == 0, capsys.readouterr().err
    assert main(["--check"], tmp_path) == 1
    assert (
        "lattice-alerts.yaml differs from the declarations: run python -m dashboards --write"
        in capsys.readouterr().err
    )
    assert main(["--write"], tmp_path) == 0
    assert main(["--check"], tmp_path) == 0
    left_over = tmp_path / "infra" / "prometheus" / "rules" / "old.yaml"
    left_over.write_text("")
    assert main(["--check"], tmp_path) == 1
    assert main(["--write"], tmp_path) == 0
    assert not left_over.exists() and len(list(tmp_path.rglob("*.*"))) == len(files())


def test_promtool_finds_nothing_to_say_against_the_rules() -> None:
    run("promtool", "check", "rules", "--lint=all", "--lint-fatal", *RULE_FILES)


def test_every_measured_alert_has_a_rule_and_no_rule_is_of_an_unknown_alert() -> None:
    assert {spec.name for spec in MEASURED} <= OF_ALERT.keys() <= BY_NAME.keys()
    assert len(OF_ALERT) == len(RULES)
    assert CASES.keys() == OF_ALERT.keys()


def test_what_the_platform_tells_too_is_left_aside_when_it_comes_back() -> None:
    ours = {spec.name for spec in ALERTS}
    assert {rule.spec.name for rule in RULES if OUR_LABEL in rule.all_labels} == ours & OF_ALERT.keys()


# --- when they open ----------------------------------------------------------------------------------------


def tried(series: Series, rule: AlertRule, minute: int, expected: list[dict[str, Any]]) -> dict[str, Any]:
    """One group of a test file: what is measured, and which alerts of the rule there are at a minute."""
    return {
        "interval": "1m",
        "input_series": [
            {"series": name, "values": values} for name, values in {**series, PAGES: "1x90"}.items()
        ],
        "alert_rule_test": [
            {"eval_time": f"{minute}m", "alertname": rule.spec.name, "exp_alerts": expected},
        ],
    }


def expected_alert(rule: AlertRule) -> dict[str, Any]:
    case = CASES[rule.spec.name]
    shown = {
        "node": f"?var-node={case.labels.get('node')}",
        "workload": f"?var-project={case.labels.get('project')}&var-workload={case.labels.get('workload')}",
    }.get(rule.spec.source, "")
    return {
        "exp_labels": {**rule.all_labels, **case.labels},
        "exp_annotations": {
            "summary": rule.spec.summary,
            "description": case.text,
            "runbook_url": f"https://docs.test/runbooks/{rule.spec.runbook}.md",
            "dashboard_url": f"https://grafana.test/d/{rule.spec.seen_on}{shown}",
        },
    }


def test_each_alert_opens_when_it_should_and_stays_quiet_when_it_should(tmp_path: Path) -> None:
    """Each with the rules that it needs only: promtool evaluates all that it is given, at every minute."""
    (alerts,) = yaml.safe_load((FOLDER / "rules" / "lattice-alerts.yaml").read_text())["groups"]
    told = {rule["alert"]: rule for rule in alerts["rules"]}
    for name, rule in OF_ALERT.items():
        case = CASES[name]
        groups = [
            tried(case.ill, rule, case.minute, [expected_alert(rule)]),
            tried(case.well, rule, case.minute, []),
        ]
        (tmp_path / f"{name}.rules").write_text(
            yaml.safe_dump({"groups": [{"name": "one", "rules": [told[name]]}]})
        )
        computed = [file for prefix, file in COMPUTED.items() if prefix in rule.expr]
        document = {
            "rule_files": [*(str(FOLDER / "rules" / file) for file in computed), f"{name}.rules"],
            "evaluation_interval": "1m",
            "tests": groups,
        }
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(document))
    run("promtool", "test", "rules", *map(str, sorted(tmp_path.glob("*.yaml"))))


def test_an_objective_that_nobody_asks_for_is_kept(tmp_path: Path) -> None:
    count = "lattice_gateway_request_seconds_count"
    labels = 'job="lattice", instance="gateway", service="gateway", method="GET", path="/", status="200"'
    burnt = 'slo:lattice_error_budget_burn:ratio_rate5m{service="gateway", slo="api-availability"}'
    test = {
        "interval": "1m",
        "input_series": [{"series": f"{count}{{{labels}}}", "values": "5x20"}],
        "promql_expr_test": [
            {"expr": burnt, "eval_time": "10m", "exp_samples": [{"labels": burnt, "value": 0}]}
        ],
    }
    document = {
        "rule_files": [str(FOLDER / "rules" / COMPUTED["slo:"])],
        "evaluation_interval": "1m",
        "tests": [test],
    }
    (tmp_path / "idle.yaml").write_text(yaml.safe_dump(document))
    run("promtool", "test", "rules", str(tmp_path / "idle.yaml"))


# --- configuration -----------------------------------------------------------------------------------------


def test_the_configuration_of_prometheus_is_sound(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "prometheus")
    for name in ("lattice-token", "lattice-ca.pem"):
        (tmp_path / "prometheus" / name).touch()
    assert "SUCCESS: 4 rule files found" in run(
        "promtool", "check", "config", str(tmp_path / "prometheus" / "prometheus.yaml")
    )


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        (["alertname=LatticeLoopFailing", "severity=warning"], "lattice,people"),
        (["alertname=LatticeNodeUnreachable", "lattice_alert=rule"], "people"),
        (["alertname=LatticeJobFailed", "lattice_alert=al-1"], "people"),
    ],
)
def test_an_alertmanager_brings_the_platform_what_it_does_not_know(labels: list[str], receivers: str) -> None:
    config = f"--config.file={FOLDER / 'alertmanager.yaml'}"
    assert "SUCCESS" in run("amtool", "check-config", str(FOLDER / "alertmanager.yaml"))
    assert run("amtool", "config", "routes", "test", config, *labels).strip() == receivers
