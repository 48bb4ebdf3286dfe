"""Alerts that an Alertmanager brings: told on the same subjects, looked after and silenced in the same way, ended by the one who brought them.

What we sent there ourselves comes back with our own label, and a Prometheus gives it to what we open as well: both are left aside.
"""

from __future__ import annotations

import re

from lattice.contracts.messages import (
    PLATFORM,
    AlertChange,
    AlertSource,
    AlertsReceived,
    AlertState,
    ForeignAlert,
    ReceiveAlerts,
    Severity,
)
from services.alerts.change import Change, Deps
from services.alerts.tables import AlertRow

OUR_LABEL = "lattice_alert"
_NOT_IN_A_TOKEN = re.compile(r"[^A-Za-z0-9_-]")
_MOST_LETTERS = 64
_PROJECT = re.compile(r"[a-z][a-z0-9-]{1,27}")
# The first of these labels that an alert has says what it is about.
_ENTITIES = ("instance", "node", "workload", "service", "pod", "job")
_SEVERITIES = {
    "page": Severity.CRITICAL,
    "error": Severity.CRITICAL,
    "none": Severity.INFO,
    **{each.value: each for each in Severity},
}


async def receive_alerts(deps: Deps, request: ReceiveAlerts) -> AlertsReceived:
    """Open what fires and is not known, end what is over."""
    opened = resolved = 0
    theirs = [alert for alert in request.alerts if OUR_LABEL not in alert.labels]
    async with deps.change() as change:
        for alert in theirs:
            living = await change.tx.find(
                AlertRow, fingerprint=fingerprint_of(alert), resolved_at=None, lock=True, limit=1
            )
            if alert.firing and not living:
                change.open(row_of(alert, change))
                await change.tx.flush()
                opened += 1
            elif not alert.firing and living:
                end = {"state": AlertState.RESOLVED.value, "resolved_at": change.now}
                change.write(living[0], AlertChange.RESOLVED, **end)
                resolved += 1
    deps.look()  # silences may match
    return AlertsReceived(opened=opened, resolved=resolved, ours=len(request.alerts) - len(theirs))


def row_of(alert: ForeignAlert, change: Change) -> AlertRow:
    """A new alert of theirs."""
    entity = next((alert.labels[name] for name in _ENTITIES if alert.labels.get(name)), "")
    return AlertRow(
        id=change.new_id("al"),
        fingerprint=fingerprint_of(alert),
        name=name_of(alert),
        severity=severity_of(alert).value,
        source=AlertSource.ALERTMANAGER.value,
        project=project_of(alert),
        entity_id=alert.fingerprint,
        entity_name=entity or alert.fingerprint,
        detail=alert.annotations.get("description") or alert.annotations.get("summary", ""),
        state=AlertState.OPEN.value,
        change=AlertChange.OPENED.value,
        opened_at=change.now,
        changed_at=change.now,
    )


def fingerprint_of(alert: ForeignAlert) -> str:
    """Theirs, told apart from ours."""
    return f"am-{alert.fingerprint}"


def name_of(alert: ForeignAlert) -> str:
    """Its name as one token of a subject."""
    name = _NOT_IN_A_TOKEN.sub("_", alert.labels.get("alertname", ""))[:_MOST_LETTERS].lstrip("-")
    return name or "Unnamed"


def severity_of(alert: ForeignAlert) -> Severity:
    """Words that others use for the same; a warning where it says nothing that we know."""
    return _SEVERITIES.get(alert.labels.get("severity", "").lower(), Severity.WARNING)


def project_of(alert: ForeignAlert) -> str:
    """The project of its label, where it is one; else the platform."""
    project = alert.labels.get("project", "")
    return project if _PROJECT.fullmatch(project) else PLATFORM
