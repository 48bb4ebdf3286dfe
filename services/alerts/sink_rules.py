"""Who is told of what, in which words, and how often it is tried.  Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from lattice.contracts.messages import Alert, AlertChange, AlertState, Severity, SinkKind

_GRAVITY = (Severity.CRITICAL, Severity.WARNING, Severity.INFO)
_TOLD = (AlertChange.OPENED, AlertChange.CHANGED, AlertChange.UNSILENCED, AlertChange.RESOLVED)
# Alerts that come together are told together.
GROUP_WAIT = timedelta(seconds=5)
MOST_IN_A_GROUP = 50
_LINES_SHOWN = 20
_NAMES_SHOWN = 3
# After each failure; a day in all.
_PAUSES_S = (5.0, 30.0, 120.0, 600.0, *(3600.0 for _ in range(24)))
# The services that Apprise may speak to.  It knows some that act on this very machine, and plugins that run programs: those are not among them.
_SCHEMES = """
    discord slack msteams workflows tgram matrix matrixs mmost mmosts rocket rockets gchat zulip wxteams guilded ntfy ntfys gotify gotifys
    pover pushover pbul pagerduty opsgenie splunk victorops signal signals twilio sns ses mailto mailtos mailgun sendgrid json jsons form
    forms xml xmls pagertree squadcast spugpush lark feishu dingtalk wecombot line mastodon mastodons revolt
"""
MESSAGE_SCHEMES = frozenset(_SCHEMES.split())
_HTTP = frozenset({"http", "https"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """What decides whether a sink is told."""

    kind: SinkKind
    min_severity: Severity
    project: str | None = None


def wants(sink: Sink, alert: Alert) -> bool:
    """Whether this change is told there: news to people, nothing silenced, grave enough, of its project."""
    return (
        sink.kind is SinkKind.MESSAGES
        and alert.change in _TOLD
        and alert.state is not AlertState.SILENCED
        and concerns(sink, alert)
    )


def concerns(sink: Sink, alert: Alert) -> bool:
    """Whether an alert is grave enough for a sink, and of its project."""
    grave = _GRAVITY.index(alert.severity) <= _GRAVITY.index(sink.min_severity)
    return grave and sink.project in (None, alert.project)


def pause_after(attempts: int) -> timedelta | None:
    """How long to wait after so many failures; None: it is given up."""
    return timedelta(seconds=_PAUSES_S[attempts - 1]) if attempts <= len(_PAUSES_S) else None


# --- the words ---------------------------------------------------------------------------------------------


def title(alerts: Sequence[Alert]) -> str:
    """One line for a group: `[critical] LatticeNodeUnreachable: hydra`, or how many there are of which."""
    if len(alerts) == 1:
        return f"[{_word(alerts[0])}] {alerts[0].name}: {alerts[0].entity_name}"
    names = Counter(alert.name for alert in alerts)
    shown = ", ".join(name if count == 1 else f"{name} ({count})" for name, count in _most(names))
    worst = min((alert.severity for alert in alerts), key=_GRAVITY.index)
    more = ", …" if len(names) > _NAMES_SHOWN else ""
    return f"[{worst.value}] {len(alerts)} alerts: {shown}{more}"


def text_of(alerts: Sequence[Alert]) -> tuple[str, str]:
    """Title and body of a group."""
    return title(alerts), body(alerts)


TEST_TEXT = ("[test] Lattice alerts", "This is a test: alerts of Lattice arrive here. Nothing is wrong.")


def _most(names: Counter[str]) -> list[tuple[str, int]]:
    return names.most_common(_NAMES_SHOWN)


def _word(alert: Alert) -> str:
    return "over" if alert.change is AlertChange.RESOLVED else alert.severity.value


def body(alerts: Sequence[Alert]) -> str:
    """What is known of each, and where to read on."""
    lines = [line for alert in alerts[:_LINES_SHOWN] for line in _lines(alert)]
    more = len(alerts) - _LINES_SHOWN
    return "\n".join([*lines, *([f"… and {more} more"] if more > 0 else [])])


def _lines(alert: Alert) -> Iterable[str]:
    project = "" if alert.project.startswith("_") else f"{alert.project}/"
    what = alert.description or alert.summary
    yield f"[{_word(alert)}] {alert.source.value} {project}{alert.entity_name}: {alert.summary}"
    if what != alert.summary and alert.change is not AlertChange.RESOLVED:
        yield f"  {what}"
    if alert.runbook_url and alert.change is not AlertChange.RESOLVED:
        yield f"  {alert.runbook_url}"


def for_alertmanager(alert: Alert, *, now: datetime, holds: timedelta) -> dict[str, Any]:
    """An alert as Alertmanager's API takes it (v2); one that is not over is sent again before `holds` has passed."""
    ends_at = alert.resolved_at or now + holds
    return {
        "labels": {
            **alert.labels,
            "alertname": alert.name,
            "severity": alert.severity.value,
            "lattice_alert": alert.id,
        },
        "annotations": {
            "summary": alert.summary,
            "description": alert.description,
            "runbook_url": alert.runbook_url,
            "dashboard_url": alert.dashboard_url,
        },
        "startsAt": alert.opened_at.isoformat(),
        "endsAt": ends_at.isoformat(),
    }


# --- addresses ---------------------------------------------------------------------------------------------


def wrong_address(kind: SinkKind, url: str) -> str:
    """Why an address cannot be used; empty where it can."""
    scheme = urlsplit(url).scheme.lower()
    if kind is SinkKind.MESSAGES:
        known = ", ".join(("mailto", "slack", "discord", "ntfy", "tgram", "msteams", "json (a webhook)"))
        return (
            ""
            if scheme in MESSAGE_SCHEMES
            else f"give an address of Apprise, such as {known}; not {scheme!r}"
        )
    return "" if scheme in _HTTP and urlsplit(url).hostname else "give a URL that begins with https://"


def target_of(url: str) -> str:
    """What may be shown of an address: how, and where it has a plain host, where; the rest may be a token."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}" if parts.scheme in _HTTP else f"{parts.scheme}://…"
