"""How facts look to people, and how they are followed: past ones in pages, new ones from a stream that survives a broken connection."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cli.client_paths import path_of
from cli.errors import Unreachable
from cli.output import OutputFormat, to_json
from cli.sanitize import clean_line
from cli.session import Session
from cli.tables import Column, field
from cli.times import ago

Json = Mapping[str, Any]
_RECONNECT_S = 1.0
PAGE_FACTS = 1000
_BEYOND_ALL = 2**53

COLUMNS = (
    field("SEQ", "seq", right=True, leave_out=2),
    Column("AGE", lambda f, now: ago(f.get("at"), now=now)),
    Column("EVENT", lambda f, _now: f"{f['entity']} {f['verb']}", whole=True),
    Column("NAME", lambda f, _now: f.get("entity_name") or f.get("entity_id")),
    field("BY", "actor", leave_out=1),
    Column("CAUSE", lambda f, _now: cause(f)),
)


def cause(fact: Json) -> str:
    """Why it happened, or what was seen: what a node tells has its words in the data."""
    data = fact.get("data") or {}
    return str(fact.get("cause") or data.get("detail") or data.get("reason") or "")


def head(session: Session) -> int:
    """The newest `seq` so far: from there new facts are followed."""
    page = session.client.get(path_of("events"), after=_BEYOND_ALL, limit=1, project=session.project)
    return int(page["head"])


def since(session: Session, after: int) -> dict[str, Any]:
    """The project's facts after a `seq`."""
    items: list[Json] = []
    while True:
        page = session.client.get(path_of("events"), after=after, limit=PAGE_FACTS, project=session.project)
        items += page["items"]
        if not page.get("next_page_token"):
            return {"items": items, "next_page_token": None}
        after = page["items"][-1]["seq"]


def of_one(session: Session, kind: str, name: str, *, count: int) -> dict[str, Any]:
    """The newest facts of a workload or a node (`kind`), oldest first."""
    project = session.project if kind == "workloads" else None
    page = session.client.get(path_of(kind, name, "events"), limit=min(count, PAGE_FACTS), project=project)
    return {"items": sorted(page["items"], key=lambda fact: fact["seq"]), "next_page_token": None}


def print_past(session: Session, facts: Json, *, follow: bool) -> None:
    """Past facts; when new ones follow, each on a line of its own also in JSON."""
    if follow and not session.screen.for_people:
        for fact in facts["items"]:
            print_fact(session, fact)
        return
    session.screen.listing(facts, COLUMNS, empty="Nothing has happened yet.")


def follow(session: Session, *, after: int, workload_id: str | None) -> None:
    """Prints facts as they come, until the person stops it."""
    seen = after
    while True:
        try:
            for event in session.client.events(
                path_of("events"), last_id=str(seen), after=seen, follow=True, project=session.project
            ):
                fact = json.loads(event.data)
                seen = max(seen, fact["seq"])
                if workload_id is None or concerns(fact, workload_id):
                    print_fact(session, fact)
        except Unreachable as error:
            session.screen.note(f"{clean_line(error.what)} Trying again.")
        time.sleep(_RECONNECT_S)


def concerns(fact: Json, workload_id: str) -> bool:
    """Whether a fact is about the workload, or about an instance or an operation of it."""
    return (
        workload_id in (fact.get("entity_id"), fact.get("workload_id"))
        or (fact.get("data") or {}).get("workload_id") == workload_id
    )


def print_fact(session: Session, fact: Json) -> None:
    screen = session.screen
    if screen.output is OutputFormat.TABLE:
        screen.say(clean_line(line_of(fact, now=screen.now())))
    elif screen.output is OutputFormat.JSON:
        screen.write(to_json(fact, indent=None))
    elif not screen.data(fact):
        raise AssertionError("a machine's format prints data")
    screen.flush()


def line_of(fact: Json, *, now: datetime) -> str:
    name = fact.get("entity_name") or fact.get("entity_id") or ""
    why = f": {cause(fact)}" if cause(fact) else ""
    return f"{ago(fact.get('at'), now=now):>4} ago  {fact['entity']} {fact['verb']} {name}{why}"
