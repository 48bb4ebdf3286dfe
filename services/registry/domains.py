"""Domains of people's own that are to lead to public names: a workload has those that its revision asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lattice.contracts.spec import PortSpec
from lattice.errors import FieldError, Invalid
from lattice.storage import In
from services.registry.change import Change
from services.registry.domain_rules import DomainState
from services.registry.tables import DomainRow, RouteRow


async def claim(change: Change, wanted: Mapping[str, PortSpec], rows: Sequence[RouteRow]) -> None:
    """Have the domains that the ports behind these routes ask for, and no others.  The caller holds the workload's lock."""
    by_host = {row.host: row for row in rows}
    asked = {
        (name, by_host[host].id): by_host[host] for host, port in wanted.items() for name in port.domains
    }
    known = await change.tx.find(DomainRow, route_id=In(tuple(row.id for row in rows)), lock=True)
    for domain in known:
        if (domain.name, domain.route_id) not in asked:
            change.tx.delete(domain)
    there = {(domain.name, domain.route_id) for domain in known}
    for (name, route_id), route in asked.items():
        if (name, route_id) not in there:
            change.tx.add(_new(change, name, route))
    await change.tx.flush()


def check(wanted: Mapping[str, PortSpec], apps_domain: str) -> None:
    """Raises Invalid for domains that cannot lead to these ports."""
    seen: set[str] = set()
    for port in wanted.values():
        for name in port.domains:
            if apps_domain and (name == apps_domain or name.endswith(f".{apps_domain}")):
                raise _refused(
                    f"{name} is a name of the platform itself: names below {apps_domain} are given by it"
                )
            if name in seen:
                raise _refused(f"{name} is there twice: it can lead to one port only")
            seen.add(name)


def _refused(detail: str) -> Invalid:
    return Invalid(detail, errors=[FieldError(pointer="/ports", detail=detail)])


def _new(change: Change, name: str, route: RouteRow) -> DomainRow:
    return DomainRow(
        id=change.new_id("dm"),
        name=name,
        route_id=route.id,
        workload_id=route.workload_id,
        project=route.project,
        state=DomainState.PENDING,
        reason="it has not been looked up yet",
        created_at=change.now,
        next_check_at=change.now,
    )
