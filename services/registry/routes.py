"""Public names: claimed by a workload's revision, told to the ingresses whenever something changes, kept for its name after their release."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from loguru import logger

from lattice.contracts.catalogue import ROUTE
from lattice.contracts.messages import RouteCommand, RouteDocument
from lattice.contracts.spec import PortProtocol, PortSpec, WorkloadSpec
from lattice.contracts.views import RouteView
from lattice.errors import Conflict, FieldError, Invalid, NotFound
from lattice.messaging import Bus
from lattice.storage import Not, Transaction
from services.registry import domains
from services.registry.change import Change, Deps
from services.registry.domain_rules import DomainState
from services.registry.node_rows import members_of
from services.registry.route_documents import free_port, public_hosts, route_document, route_view
from services.registry.tables import ClusterRow, DomainRow, InstanceRow, RevisionRow, RouteRow, WorkloadRow
from services.registry.told import note_told

_LONGEST_LABEL = 63
PORTS_LOCK = "public-ports"


async def claim(change: Change, workload: WorkloadRow, revision: RevisionRow) -> None:
    """Have the public names that this revision asks for, and no others.  The caller holds the workload's lock, or has just made it."""
    spec, guards = WorkloadSpec.model_validate(revision.spec), (revision.access or {}).get("guards", {})
    wanted = public_hosts(workload.name, workload.project, spec.ports)
    check(change, workload, spec)
    known = {row.host: row for row in await change.tx.find(RouteRow, workload_id=workload.id, lock=True)}
    for host, port in wanted.items():
        row = (
            known.get(host)
            or await _released(change.tx, host)
            or change.tx.add(_new(change, workload, host, port))
        )
        lease = await _lease(change, row) if port.protocol is PortProtocol.TCP else None
        change.tx.update(
            row,
            workload_id=workload.id,
            port_name=port.name,
            protocol=port.protocol,
            plaintext=port.plaintext,
            guard=guards.get(port.name),
            port=lease,
            released_at=None,
        )
        await change.tx.flush()
    for host, row in known.items():
        if host not in wanted and row.released_at is None:
            change.tx.update(row, released_at=change.now)
    if wanted or known:
        await change.tx.flush()
        rows = await change.tx.find(RouteRow, workload_id=workload.id, lock=True)
        await domains.claim(change, wanted, rows)
        await refresh(change, workload)


def check(change: Change, workload: WorkloadRow, spec: WorkloadSpec) -> None:
    """Raises Invalid for a spec whose public names cannot be had: said when it is asked for, and not when its update is through."""
    wanted = public_hosts(workload.name, workload.project, spec.ports)
    _check_lengths(wanted)
    domains.check(wanted, change.places.apps_domain)


def _check_lengths(hosts: Iterable[str]) -> None:
    """DNS (RFC 1035, 2.3.4) allows 63 characters between two dots."""
    for host in hosts:
        if len(host) > _LONGEST_LABEL:
            detail = f"its public name {host} would have {len(host)} characters, and a host name may have {_LONGEST_LABEL}: choose shorter names"
            raise Invalid(detail, errors=[FieldError(pointer="/ports", detail=detail)])


async def _released(tx: Transaction, host: str) -> RouteRow | None:
    """The name as an earlier workload of the same name had it."""
    rows = await tx.find(RouteRow, host=host, lock=True)
    return rows[0] if rows else None


async def _lease(change: Change, row: RouteRow) -> int:
    """A port of the ingresses: the one that it has, a free one, or the one of whoever gave it up first.  Raises Conflict."""
    if row.port is not None:
        return row.port
    await change.tx.lock(PORTS_LOCK)
    others = [each for each in await change.tx.find(RouteRow, port=Not(None)) if each.id != row.id]
    port = free_port(change.places.tcp_ports, {each.port for each in others if each.port is not None})
    if port is not None:
        return port
    released = sorted(
        (each for each in others if each.released_at is not None),
        key=lambda each: each.released_at or change.now,
    )
    if not released:
        raise Conflict(
            f"all {len(change.places.tcp_ports)} public ports of this platform are taken; `lattice routes ls` shows by what. "
            "Make one of them private, or give the platform more (LATTICE_REGISTRY_TCP_PORTS)"
        )
    taken = released[0].port
    change.tx.update(released[0], port=None)
    await change.tx.flush()
    assert taken is not None
    return taken


def _new(change: Change, workload: WorkloadRow, host: str, port: PortSpec) -> RouteRow:
    return RouteRow(
        id=change.new_id("rt"),
        project=workload.project,
        workload_id=workload.id,
        workload_name=workload.name,
        port_name=port.name,
        protocol=port.protocol,
        host=host,
        created_at=change.now,
    )


async def take_route_down(deps: Deps, request: RouteCommand) -> RouteView:
    """Let nobody in by this name from now on, whoever has it: a workload of the same name does not open it again."""
    return await _switch(deps, request, taken_down=request.reason or "no reason was given", verb="taken_down")


async def restore_route(deps: Deps, request: RouteCommand) -> RouteView:
    """Let visitors in again."""
    return await _switch(deps, request, taken_down="", verb="restored")


async def _switch(deps: Deps, request: RouteCommand, *, taken_down: str, verb: str) -> RouteView:
    async with deps.change(request.caller, action=f"route.{verb}") as change:
        found = await _find(change.tx, request.route)
        workload = await change.tx.get(WorkloadRow, found.workload_id, lock=True)
        row = await change.tx.get(RouteRow, found.id, lock=True)
        if row is None or workload is None or row.workload_id != workload.id:
            raise NotFound(f"the workload of {found.host} is gone")
        change.audit(
            "route",
            row.id,
            entity_name=row.host,
            project=row.project,
            before={"taken_down": row.taken_down},
            after={"taken_down": taken_down},
        )
        change.fact(
            "route",
            verb,
            entity_id=row.id,
            entity_name=row.host,
            workload_id=row.workload_id,
            project=row.project,
            cause=request.reason,
        )
        row = change.tx.update(row, taken_down=taken_down)
        await refresh(change, workload)
        return route_view(row, change.places)


async def _find(tx: Transaction, ref: str) -> RouteRow:
    rows = await tx.find(RouteRow, host=ref) or await tx.find(RouteRow, id=ref)
    if not rows:
        raise NotFound(f"there is no public address {ref!r}; `lattice routes ls` shows all")
    return rows[0]


async def release(change: Change, workload: WorkloadRow) -> None:
    """A workload that is being removed is not led to any more."""
    for row in await change.tx.find(RouteRow, workload_id=workload.id, released_at=None, lock=True):
        change.tx.update(row, released_at=change.now)
    for domain in await change.tx.find(DomainRow, workload_id=workload.id, lock=True):
        change.tx.delete(domain)
    await refresh(change, workload)


async def refresh(change: Change, workload: WorkloadRow) -> None:
    """Write what the ingresses are to be told now, if that is anything new.  The caller holds the workload's lock."""
    await change.tx.flush()
    rows = await change.tx.find(RouteRow, workload_id=workload.id, lock=True)
    if not rows:
        return
    instances = await change.tx.find(InstanceRow, workload_id=workload.id, gone_at=None)
    members = await members_of(change.tx, instances)
    instances = [row for row in instances if row.node_id is None or row.node_id in members]
    cluster = await change.tx.get(ClusterRow, 1)
    era = cluster.era if cluster is not None else 0
    verified = await change.tx.find(DomainRow, workload_id=workload.id, state=DomainState.VERIFIED)
    for row in rows:
        names = tuple(sorted(domain.name for domain in verified if domain.route_id == row.id))
        document = route_document(row, workload, instances, domains=names, era=era, number=row.number + 1)
        if not _says_the_same(row, document):
            change.tx.update(
                row, document=document.model_dump(mode="json"), number=document.number, unpublished=True
            )


def _says_the_same(row: RouteRow, document: RouteDocument) -> bool:
    if row.document is None:
        return False
    return (
        RouteDocument.model_validate(row.document).model_copy(update={"number": document.number}) == document
    )


@dataclass(frozen=True, slots=True)
class RoutePublisher:
    """Tells the ingresses; only the relay runs it.  The bus keeps the newest document of each route."""

    deps: Deps
    bus: Bus

    async def publish_new(self, *, limit: int) -> int:
        """Publish what was not published yet; returns how many."""
        async with self.deps.store.transaction() as tx:
            rows = await tx.find(RouteRow, unpublished=True, limit=limit)
        for row in rows:
            await self._publish(row)
        return len(rows)

    async def publish_all(self) -> None:
        """Publish every route again: the bus may have lost what it had."""
        async with self.deps.store.transaction() as tx:
            rows = await tx.find(RouteRow)
        for row in rows:
            await self._publish(row)
        logger.info("published {} routes again", len(rows))

    async def _publish(self, row: RouteRow) -> None:
        if row.document is None:
            return
        document = RouteDocument.model_validate(row.document)
        await self.bus.append_newest(ROUTE, document, order=lambda it: it.order, route_id=row.id)
        await note_told(self.deps, row)
