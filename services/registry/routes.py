"""Public names: claimed by a workload's revision, told to the ingresses whenever something changes, kept for its name after their release."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from loguru import logger

from lattice.contracts.catalogue import ROUTE
from lattice.contracts.messages import RouteDocument
from lattice.contracts.spec import PortProtocol, PortSpec, WorkloadSpec
from lattice.errors import Conflict, FieldError, Invalid
from lattice.messaging import Bus
from lattice.storage import Not, Transaction
from services.registry.change import Change, Deps
from services.registry.route_documents import free_port, public_hosts, route_document
from services.registry.tables import ClusterRow, InstanceRow, RouteRow, WorkloadRow

_LONGEST_LABEL = 63
PORTS_LOCK = "public-ports"


async def claim(change: Change, workload: WorkloadRow, spec: WorkloadSpec) -> None:
    """Have the public names that this spec asks for, and no others.  The caller holds the workload's lock, or has just made it."""
    wanted = public_hosts(workload.name, workload.project, spec.ports)
    _check_lengths(wanted)
    known = {row.host: row for row in await change.tx.find(RouteRow, workload_id=workload.id)}
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
            port=lease,
            released_at=None,
        )
        await change.tx.flush()
    for host, row in known.items():
        if host not in wanted and row.released_at is None:
            change.tx.update(row, released_at=change.now)
    if wanted or known:
        await refresh(change, workload)


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


async def release(change: Change, workload: WorkloadRow) -> None:
    """A workload that is being removed is not led to any more."""
    for row in await change.tx.find(RouteRow, workload_id=workload.id, released_at=None):
        change.tx.update(row, released_at=change.now)
    await refresh(change, workload)


async def refresh(change: Change, workload: WorkloadRow) -> None:
    """Write what the ingresses are to be told now, if that is anything new.  The caller holds the workload's lock."""
    await change.tx.flush()
    rows = await change.tx.find(RouteRow, workload_id=workload.id)
    if not rows:
        return
    instances = await change.tx.find(InstanceRow, workload_id=workload.id, gone_at=None)
    cluster = await change.tx.get(ClusterRow, 1)
    era = cluster.era if cluster is not None else 0
    for row in rows:
        document = route_document(row, workload, instances, era=era, number=row.number + 1)
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
        async with self.deps.store.transaction() as tx:
            current = await tx.get(RouteRow, row.id, lock=True)
            if current is not None and current.number == document.number and current.unpublished:
                tx.update(current, unpublished=False)
