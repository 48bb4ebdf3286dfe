"""How alerts look to people, and how they are followed."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cli.client_paths import path_of
from cli.errors import Unreachable
from cli.output import OutputFormat, Screen, to_json
from cli.sanitize import clean_line
from cli.session import Session
from cli.tables import Column, field
from cli.times import ago, to_the_second

Json = Mapping[str, Any]
_RECONNECT_S = 1.0
_PLATFORM = "_platform"

COLUMNS = (
    field("ID", "id", leave_out=4, whole=True),
    field("SEVERITY", "severity", whole=True),
    Column("STATE", lambda alert, now: state(alert, now=now), whole=True),
    field("ALERT", "name", whole=True),
    Column("OF", lambda alert, _now: subject(alert)),
    Column("AGE", lambda alert, now: ago(alert.get("opened_at"), now=now)),
    Column("WHAT", lambda alert, _now: alert.get("description") or alert.get("summary"), leave_out=1),
)

SILENCE_COLUMNS = (
    field("ID", "id", whole=True),
    Column("OF", lambda silence, _now: matchers(silence["matchers"])),
    Column("FROM", lambda silence, _now: to_the_second(silence["starts_at"]), leave_out=2),
    Column("UNTIL", lambda silence, _now: to_the_second(silence["ends_at"])),
    Column("STATE", lambda silence, _now: "active" if silence["active"] else "announced", whole=True),
    field("BY", "created_by", leave_out=3),
    field("WHY", "reason", leave_out=1),
)

SINK_COLUMNS = (
    field("NAME", "name", whole=True),
    field("KIND", "kind", whole=True),
    field("WHERE", "target", leave_out=3),
    field("FROM", "min_severity", whole=True),
    Column("ALERTS OF", lambda sink, _now: sink.get("project") or "every project", leave_out=2),
    Column("LAST TOLD", lambda sink, now: ago(sink.get("last_sent_at"), now=now)),
    field("PROBLEM", "problem", leave_out=1),
)

DELIVERY_COLUMNS = (
    Column("AGE", lambda delivery, now: ago(delivery["created_at"], now=now)),
    field("SINK", "sink", whole=True),
    field("ALERT", "alert"),
    field("CHANGE", "change", whole=True),
    field("STATE", "state", whole=True),
    field("TRIES", "attempts", right=True, leave_out=2),
    field("PROBLEM", "problem", leave_out=1),
)


def subject(alert: Json) -> str:
    """What it is about: `node hydra`, `workload shop/web`."""
    project = "" if alert["project"] == _PLATFORM else f"{alert['project']}/"
    return f"{alert['source']} {project}{alert['entity_name']}"


def state(alert: Json, *, now: datetime) -> str:
    """The state's word; of a silenced one for how much longer."""
    until = alert.get("silenced_until")
    if alert["state"] != "silenced" or not until:
        return str(alert["state"])
    return f"silenced {ago(until, now=now)}"


def matchers(given: Json) -> str:
    """What a silence is for: `entity=hydra severity=warning`."""
    return " ".join(f"{name}={value}" for name, value in given.items() if value)


def show(screen: Screen, alert: Json) -> None:
    """One alert with all that is known of it."""
    now = screen.now()
    over = alert.get("resolved_at")
    by = alert.get("resolved_by") or "itself"
    screen.fields(
        (
            ("Alert", alert["name"]),
            ("Id", alert["id"]),
            ("Severity", alert["severity"]),
            ("State", state(alert, now=now)),
            ("Of", subject(alert)),
            ("Summary", alert["summary"]),
            ("What", alert.get("description")),
            ("Opened", f"{ago(alert['opened_at'], now=now)} ago"),
            ("Came back", f"{alert['occurrences'] - 1} times" if alert["occurrences"] > 1 else ""),
            ("Looked after by", alert.get("acknowledged_by")),
            ("Note", alert.get("note")),
            ("Silenced until", alert.get("silenced_until")),
            ("Over", f"{ago(over, now=now)} ago, by {by}" if over else ""),
            ("What to do", alert.get("runbook_url")),
            ("Dashboard", alert.get("dashboard_url")),
        )
    )


def watch(session: Session, project: str) -> None:
    """Prints what is not over, then each change as it comes, until the person stops it."""
    told: dict[str, int] = {}
    while True:
        try:
            for event in session.client.events(path_of("alerts"), follow=True, project=project):
                alert = json.loads(event.data)
                if told.get(alert["id"], 0) < alert["number"]:
                    told[alert["id"]] = alert["number"]
                    _print(session, alert)
        except Unreachable as error:
            session.screen.note(f"{clean_line(error.what)} Trying again.")
        time.sleep(_RECONNECT_S)


def _print(session: Session, alert: Json) -> None:
    screen = session.screen
    if screen.output is OutputFormat.TABLE:
        screen.say(clean_line(line_of(alert)))
    elif screen.output is OutputFormat.JSON:
        screen.write(to_json(alert, indent=None))
    elif not screen.data(alert):
        raise AssertionError("a machine's format prints data")
    screen.flush()


def line_of(alert: Json) -> str:
    """One change of an alert on one line."""
    what = alert.get("description") or alert["summary"]
    time_ = to_the_second(alert["changed_at"])
    return (
        f"{time_}  {alert['severity']:<8}  {alert['change']:<12}  {alert['name']}  {subject(alert)}: {what}"
    )
