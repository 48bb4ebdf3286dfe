"""How a plan looks to people: what would change, what restarts, where it would go.  Pure but for the printing at the end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cli.output import Screen
from cli.tables import Column, field

Json = Mapping[str, Any]
_ORDERS = {
    "start-first": "start-first: a new instance starts beside the old ones, an old one goes when a new one serves",
    "stop-first": "stop-first: an old instance is gone before its new one starts",
}
_CHANGES = (
    field("FIELD", "path", whole=True),
    Column("NOW", lambda change, _now: written(change.get("before"))),
    Column("THEN", lambda change, _now: written(change.get("after"))),
)
_PLACES = (
    field("SLOT", "slot", right=True),
    Column("NODE", lambda place, _now: place.get("node") or "none", whole=True),
    field("WHY", "reason"),
)
_REJECTED = (
    field("NODE", "node", whole=True),
    field("FILTER", "filter", leave_out=1),
    field("REASON", "reason"),
)


def written(value: Any) -> str:
    """A value of a spec on one line."""
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def headline(plan: Json) -> str:
    """What it comes to."""
    name = plan["name"]
    if plan["action"] == "create":
        return f"{name} is new."
    if plan["action"] == "nothing":
        return f"{name} would not change: {plan['reason']}."
    return f"{name} would change (now revision {plan['revision']}, version {plan['version']})."


def consequences(plan: Json) -> list[str]:
    """What happens to containers, why where the spec does not say it, and in which order."""
    if plan["action"] == "nothing":
        return []
    counts = [_counted(plan[word], word) for word in ("replaced", "added", "removed") if plan.get(word)]
    if not plan.get("replaced") and plan["action"] == "update":
        counts.append("no container is replaced")
    why = f"Because {plan['reason']}." if plan.get("reason") else ""
    order = plan.get("order_reason") or _ORDERS.get(plan.get("order") or "", "")
    lines = (f"{', '.join(counts)}.".capitalize() if counts else "", why, f"Order: {order}." if order else "")
    return [line for line in lines if line]


def _counted(count: int, word: str) -> str:
    return f"{count} {'instance is' if count == 1 else 'instances are'} {word}"


def show(screen: Screen, plan: Json) -> None:
    """The page about a plan."""
    screen.say(headline(plan))
    if plan.get("changes"):
        screen.say("")
        screen.table(_CHANGES, plan["changes"])
        screen.say("")
    if plan["image"] != plan.get("image_before"):
        screen.say(f"Image: {plan['image']}")
    for line in consequences(plan):
        screen.say(line)
    _show_places(screen, plan)


def _show_places(screen: Screen, plan: Json) -> None:
    if plan.get("placements_missing"):
        screen.say(f"Where: unknown, {plan['placements_missing']}")
    if not plan.get("placements"):
        return
    screen.say("")
    screen.table(_PLACES, plan["placements"])
    unplaced = next((place for place in plan["placements"] if not place.get("node")), None)
    if unplaced is not None and unplaced.get("rejected"):
        screen.say("")
        screen.table(_REJECTED, unplaced["rejected"])
