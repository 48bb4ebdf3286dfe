"""How a workload looks to people: its row in `ps`, its page in `show`.  Pure but for the printing at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from cli import job_text, waiting
from cli.output import Screen
from cli.tables import Column, field
from cli.times import ago

Json = Mapping[str, Any]


def ready(workload: Json) -> str:
    """`2/3`: how many of the wanted instances run; a job that rests is as wanted."""
    if job_text.is_job(workload) and workload["state"] == "stopped":
        return "-"
    wanted = workload["spec"].get("replicas", 1)
    running = sum(1 for instance in workload.get("instances") or () if instance["state"] == "running")
    return f"{running}/{wanted}"


def nodes_of(workload: Json) -> str:
    """The nodes it runs on, each once."""
    return ", ".join(dict.fromkeys(i["node"] for i in workload.get("instances") or () if i.get("node")))


def source(workload: Json) -> str:
    """What it was made from, as written: the template or the image."""
    spec = workload["spec"]
    return str(spec.get("template") or spec.get("image") or workload.get("image") or "")


def why(workload: Json) -> str:
    """The first part of the reason: a row has little room, and `show` tells the rest."""
    return str(workload.get("reason") or "").partition("; ")[0][:_WHY_WIDTH]


def next_run(workload: Json, *, now: datetime) -> str:
    """When a job's schedule is due next: `in 3h`."""
    at = workload.get("next_run_at")
    return f"in {ago(at, now=now)}" if at else ""


def first_url(workload: Json) -> str:
    routes = workload.get("routes") or ()
    return str(routes[0]["url"]) if routes else ""


COLUMNS = (
    field("NAME", "name", whole=True),
    field("STATE", "state", whole=True),
    Column("READY", lambda w, _now: ready(w), leave_out=1, right=True),
    Column("FROM", lambda w, _now: source(w), leave_out=4),
    Column("NODE", lambda w, _now: nodes_of(w), leave_out=2),
    Column("AGE", lambda w, now: ago(w.get("created_at"), now=now), leave_out=3),
    Column("URL", lambda w, _now: first_url(w), whole=True),
)

_WHY_WIDTH = 60
_PLACES_SHOWN = 10
_WHY = Column("WHY", lambda w, _now: why(w))
_NEXT = Column("NEXT", lambda w, now: next_run(w, now=now), leave_out=5)


def columns_of(workloads: Sequence[Json]) -> Sequence[Column]:
    """The columns of `ps`; when jobs run next, and why something is not as wanted, are told where there is such a one."""
    jobs = (_NEXT,) if any(each.get("next_run_at") for each in workloads) else ()
    reasons = (_WHY,) if any(why(each) for each in workloads) else ()
    return (*COLUMNS[:-1], *jobs, *reasons, COLUMNS[-1])


_INSTANCES = (
    field("SLOT", "slot", right=True, leave_out=3),
    field("INSTANCE", "id", leave_out=2),
    field("NODE", "node"),
    field("STATE", "state", whole=True),
    field("HEALTH", "health", leave_out=1),
    field("RESTARTS", "restarts", right=True, leave_out=4),
    Column("UP", lambda i, now: ago(i.get("started_at"), now=now), leave_out=5),
    Column("WHY", lambda i, _now: i.get("progress") or i.get("reason")),
)
_REJECTED = (
    field("NODE", "node", whole=True),
    field("FILTER", "filter", leave_out=1),
    field("REASON", "reason"),
)
_BAD = ("failed", "unhealthy", "lost", "held")


def show(screen: Screen, workload: Json, *, now: datetime) -> None:
    """The page about one workload: what an operator asks first, in that order."""
    screen.fields(header(workload, now=now))
    if workload.get("instances"):
        screen.say("")
        screen.table(_INSTANCES, workload["instances"])
    for place in waiting.unplaced(workload):
        _show_unplaced(screen, place)
    _show_placed(screen, workload)
    for instance in workload.get("instances") or ():
        _show_last_end(screen, instance, now=now)


def header(workload: Json, *, now: datetime) -> Sequence[tuple[str, Any]]:
    routes = workload.get("routes") or ()
    return (
        ("Name", workload["name"]),
        ("Id", workload.get("id")),
        ("Project", workload.get("project")),
        ("App", workload.get("app")),
        ("State", workload["state"]),
        ("Reason", workload.get("reason")),
        ("Ready", ready(workload)),
        ("Revision", workload.get("revision")),
        ("Update", update_line(workload)),
        ("Schedule", job_text.schedule_line(workload)),
        ("Next run", job_text.next_line(workload, now=now)),
        ("Last run", job_text.last_line(workload, now=now)),
        ("Template", workload["spec"].get("template")),
        ("Image", workload.get("image") or workload["spec"].get("image")),
        *(line for route in routes for line in _addresses(route)),
        *(("Link", link_line(link)) for link in workload.get("links") or ()),
        ("Created", f"{ago(workload.get('created_at'), now=now)} ago"),
        ("Updated", f"{ago(workload.get('updated_at'), now=now)} ago"),
    )


def _addresses(route: Json) -> Iterator[tuple[str, str]]:
    if not route.get("public"):
        yield "URL", route["url"]
        return
    yield "Public URL", f"{route['url']}{' (not encrypted)' if route.get('plaintext') else ''}"
    if route.get("secure_url"):
        yield "With HTTPS", f"{route['secure_url']} (its CA: lattice ca)"
    for domain in route.get("domains") or ():
        yield "Domain", domain_line(domain)


def link_line(link: Json) -> str:
    """A name inside its containers, where it leads, and why nobody answers there."""
    ports = ", ".join(map(str, link["ports"]))
    why = f" (nobody answers: {link['reason']})" if link.get("reason") else ""
    return f"{link['host']}:{ports} leads to {link['workload']}{why}"


def domain_line(domain: Json) -> str:
    """A domain of somebody's own, and what is missing where it does not lead here yet."""
    if domain.get("verified"):
        return f"{domain['name']}{' (about to be lost: ' + domain['reason'] + ')' if domain.get('reason') else ''}"
    return f"{domain['name']} (not yet: {domain.get('reason') or 'it is being looked up'})"


def update_line(workload: Json) -> str:
    """How the newest update is getting on, or why it did not last; nothing once it has succeeded."""
    rollout = workload.get("rollout") or {}
    state = str(rollout.get("state") or "").replace("_", " ")
    if state in ("", "succeeded", "superseded"):
        return ""
    why = f": {rollout['reason']}" if rollout.get("reason") else ""
    return f"{state} (revision {rollout['to_revision']}){why}"


def _show_unplaced(screen: Screen, place: Json) -> None:
    screen.say("")
    screen.say(f"Slot {place.get('slot', '?')} has no node: {place.get('reason') or 'no reason given'}")
    if place.get("rejected"):
        screen.table(_REJECTED, place["rejected"], indent=2)


def _show_placed(screen: Screen, workload: Json) -> None:
    placed = [place for place in workload.get("placement") or () if place.get("node")]
    if placed:
        screen.say("")
    for place in placed[:_PLACES_SHOWN]:
        screen.say(f"Slot {place['slot']} is on node {place['node']}: {place['reason']}")


def _show_last_end(screen: Screen, instance: Json, *, now: datetime) -> None:
    """How its container ended last, also while it runs again or has been replaced; and what it printed."""
    last: Json = instance.get("last_exit") or {}
    log = instance.get("last_log") if instance["state"] in _BAD else ()
    if last:
        screen.say("")
        screen.say(last_end(instance, last, now=now))
        log = log or last.get("log")
    elif log:
        screen.say("")
        screen.say(f"Last log lines of {instance['id']}:")
    for line in log or ():
        screen.say(f"  {line}")


def last_end(instance: Json, last: Json, *, now: datetime) -> str:
    """`Slot 0 ended 2m ago on node attic (instance in-…, before this one): exited with 137 (SIGKILL)`."""
    where = f" on node {last['node']}" if last.get("node") else ""
    other = last.get("instance_id") not in ("", None, instance["id"])
    whose = f" (instance {last['instance_id']}, before this one)" if other else ""
    return f"Slot {instance['slot']} ended {ago(last.get('at'), now=now)} ago{where}{whose}: {last['reason']}"
