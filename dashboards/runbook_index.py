"""The index of the runbooks, by what an alert is about.  Pure."""

from __future__ import annotations

from collections.abc import Iterator

from dashboards.alert_rules import OF_ALERT
from lattice.alerts import ALERTS, BY_NAME, AlertSpec
from lattice.contracts.messages import AlertSource

_HEAD = """# Runbooks

Written by `python -m dashboards --write` from `lattice/alerts`; the pages themselves are written by hand.

One page for each alert: what it means, how to look, what to do, how it ends. An alert names its page (`lattice alerts show`, messages, the
annotation `runbook_url`). *Opened by*: the platform by itself, out of what the registry says; or a Prometheus with the
[rules](../../infra/prometheus/rules/lattice-alerts.yaml), out of what is measured. How alerts reach people: [alerts](../alerts.md).
"""
_HEADLINES = {
    AlertSource.NODE: "Nodes",
    AlertSource.WORKLOAD: "Workloads",
    AlertSource.SERVICE: "Services of the platform",
    AlertSource.PLATFORM: "The platform",
}


def as_markdown() -> str:
    """The document."""
    return "\n".join([_HEAD, *(line for source in _HEADLINES for line in _section(source))])


def _section(source: AlertSource) -> Iterator[str]:
    yield from (
        f"## {_HEADLINES[source]}",
        "",
        "| alert | severity | opened by | after | |",
        "|---|---|---|---|---|",
    )
    yield from (_row(spec) for spec in BY_NAME.values() if spec.source is source)
    yield ""


def _row(spec: AlertSpec) -> str:
    witnesses = [
        *(["the platform"] if spec in ALERTS else []),
        *(["Prometheus"] if spec.name in OF_ALERT else []),
    ]
    after = f"{spec.opens_after_s:g} s" if spec.opens_after_s else "at once"
    page = f"[{spec.name}]({spec.runbook}.md)"
    return f"| {page} | {spec.severity} | {', '.join(witnesses)} | {after} | {spec.summary} |"
