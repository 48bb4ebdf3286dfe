"""The rules as files of Prometheus: one of what is computed ahead, one of objectives, one of alerts.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from dashboards.alert_rules import RULES, AlertRule
from dashboards.recording_rules import OF_SLOS, PAGES, PLAIN, RecordingRule
from lattice.alerts import AlertSpec
from lattice.contracts.messages import AlertSource

_HEAD = "# Written by `python -m dashboards --write`; change dashboards/{source} instead.\n"
_WIDTH = 150
# Where pages are is said once for all rules and dashboards: in the labels of a series (infra/prometheus/lattice-pages.yaml).
_DOCS = f'{{{{ with query "{PAGES}" }}}}{{{{ . | first | label "docs" }}}}{{{{ else }}}}docs{{{{ end }}}}'
_GRAFANA = f'{{{{ with query "{PAGES}" }}}}{{{{ . | first | label "grafana" }}}}/d/%s{{{{ end }}}}'
_SHOWN = {
    AlertSource.NODE: "?var-node={{ $labels.node }}",
    AlertSource.WORKLOAD: "?var-project={{ $labels.project }}&var-workload={{ $labels.workload }}",
}


def rule_files() -> dict[str, str]:
    """Each file by its name."""
    return {
        "lattice-recording.yaml": _file("recording_rules.py", "lattice-recording", map(_recording, PLAIN)),
        "lattice-slos.yaml": _file("slos.py", "lattice-slos", map(_recording, OF_SLOS)),
        "lattice-alerts.yaml": _file("alert_rules.py", "lattice-alerts", map(_alert, RULES)),
    }


def _file(source: str, group: str, rules: Iterable[Mapping[str, Any]]) -> str:
    document = {"groups": [{"name": group, "rules": list(rules)}]}
    return _HEAD.format(source=source) + yaml.safe_dump(document, sort_keys=False, width=_WIDTH)


def _recording(rule: RecordingRule) -> dict[str, Any]:
    labels = {"labels": dict(rule.labels)} if rule.labels else {}
    return {"record": rule.record, "expr": rule.expr, **labels}


def _alert(rule: AlertRule) -> dict[str, Any]:
    waits = {"for": f"{rule.spec.opens_after_s:g}s"} if rule.spec.opens_after_s else {}
    return {
        "alert": rule.spec.name,
        "expr": rule.expr,
        **waits,
        "labels": rule.all_labels,
        "annotations": {
            "summary": rule.spec.summary,
            "description": rule.description,
            "runbook_url": f"{_DOCS}/runbooks/{rule.spec.runbook}.md",
            "dashboard_url": _GRAFANA % _dashboard(rule.spec),
        },
    }


def _dashboard(spec: AlertSpec) -> str:
    return f"{spec.seen_on}{_SHOWN.get(spec.source, '')}"
