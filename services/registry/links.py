"""Links between workloads of a project: `links: [{workload: orders-db, as: db}]`.

A link names a workload, whichever has the name at the time; the ports behind it are looked up when a revision is made.  What its containers then
reach is decided per connection: their node asks an ingress, which knows from a document who is ready and which nodes may ask (`link_publishing`).
"""

from __future__ import annotations

from collections.abc import Iterable

from lattice.contracts.link_spec import LinkSpec
from lattice.contracts.messages import RunLink, RunLinkPort, RunPort, RunSpec
from lattice.contracts.spec import WorkloadSpec
from lattice.errors import FieldError, Invalid
from lattice.storage import In, Transaction
from services.registry.change import Change
from services.registry.tables import LinkRow, LinkTargetRow, LinkTouchRow, RevisionRow, WorkloadRow
from services.registry.workload_rows import current_revision


async def resolve(tx: Transaction, project: str, spec: WorkloadSpec) -> tuple[RunLink, ...]:
    """The spec's links with the ports that they lead to now.  Invalid names the one that leads nowhere, or where another is."""
    found: list[RunLink] = []
    taken: dict[int, str] = {}
    for number, link in enumerate(spec.links):
        ports = _chosen(link, await _ports(tx, project, link, number), number)
        for port in ports:
            other = taken.setdefault(port.at, link.host)
            if other != link.host:
                raise _refused(
                    number,
                    f"{other} and {link.host} both have port {port.at}; give one of them another number with "
                    f"`port: {port.container_port}` and `at`",
                )
        # By its own name too: that is the one in its certificate, and in its credentials.
        hosts = tuple(dict.fromkeys((link.host, link.workload)))
        found.append(RunLink(workload=link.workload, hosts=hosts, ports=ports))
    return tuple(found)


async def have_changed(tx: Transaction, project: str, spec: WorkloadSpec, revision: RevisionRow) -> bool:
    """Whether the links lead to other ports by now than when the revision was made; also where one leads nowhere any more."""
    if not spec.links:
        return False
    try:
        links = await resolve(tx, project, spec)
    except Invalid:
        return True  # said to whoever makes the next revision
    return links != RunSpec.model_validate(revision.run).links


async def record(change: Change, workload: WorkloadRow, links: Iterable[RunLink]) -> None:
    """Remember that revisions of this workload have these links."""
    targets = {link.workload for link in links}
    known = {row.target for row in await change.tx.find(LinkRow, workload_id=workload.id)} if targets else ()
    for target in sorted(targets.difference(known)):
        row = LinkRow(
            id=change.new_id("lk"), project=workload.project, workload_id=workload.id, target=target
        )
        change.tx.add(row)


async def touch(change: Change, workload: WorkloadRow) -> None:
    """Something changed of a workload: whoever is told of links to it, or of its own, is told anew."""
    own = {row.target for row in await change.tx.find(LinkRow, workload_id=workload.id)}
    if await change.tx.find(LinkRow, project=workload.project, target=workload.name, limit=1):
        own.add(workload.name)
    touch_names(change, {(workload.project, target) for target in own})


async def touch_linking(change: Change, workload_ids: Iterable[str]) -> None:
    """Instances of these workloads have got a place: their nodes may ask from now on."""
    ids = tuple(sorted(set(workload_ids)))
    rows = await change.tx.find(LinkRow, workload_id=In(ids)) if ids else []
    touch_names(change, {(row.project, row.target) for row in rows})


async def touch_all(change: Change) -> None:
    """Look at all of them: what followed a report may have been lost with the process that had taken it in."""
    found = {(row.project, row.target) for row in await change.tx.find(LinkRow)}
    touch_names(change, found | {(row.project, row.name) for row in await change.tx.find(LinkTargetRow)})


def touch_names(change: Change, targets: Iterable[tuple[str, str]]) -> None:
    """What is told of links to these workloads (project, name) is made anew."""
    for project, target in sorted(targets):
        change.tx.add(LinkTouchRow(id=change.new_id("lt"), project=project, target=target))


async def _ports(tx: Transaction, project: str, link: LinkSpec, number: int) -> tuple[RunPort, ...]:
    await tx.flush()
    rows = await tx.find(WorkloadRow, project=project, name=link.workload, removed_at=None)
    if not rows:
        raise _refused(
            number, f"there is no workload {link.workload!r} in project {project}; `lattice ps` shows all"
        )
    ports = RunSpec.model_validate((await current_revision(tx, rows[0])).run).ports
    if not ports:
        raise _refused(
            number, f"workload {link.workload} has no port, so there is nothing that a link could lead to"
        )
    return ports


def _chosen(link: LinkSpec, ports: Iterable[RunPort], number: int) -> tuple[RunLinkPort, ...]:
    """The port that the link asks for, or all."""
    if link.port is None:
        return tuple(
            RunLinkPort(at=each.container_port, container_port=each.container_port) for each in ports
        )
    known = [*ports]
    for each in known:
        if link.port in (each.name, each.container_port):
            return (RunLinkPort(at=link.at or each.container_port, container_port=each.container_port),)
    names = ", ".join(f"{each.name} ({each.container_port})" for each in known)
    raise _refused(number, f"workload {link.workload} has no port {link.port}; it has {names}")


def _refused(number: int, detail: str) -> Invalid:
    return Invalid(
        f"links.{number}: {detail}", errors=[FieldError(pointer=f"/links/{number}", detail=detail)]
    )
