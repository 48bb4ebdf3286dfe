"""What the gatherer does with messages that arrive: check them, ask whose their instances are, keep them.

The bus vouches for the subject, so a node speaks for itself; whose instances are on it says the registry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from loguru import logger

from lattice.clock import Clock
from lattice.contracts.messages import MetricOwner, NodeMetrics, SampleTable, ServiceMetrics
from lattice.errors import LatticeError
from lattice.instance_owners import Owner, Owners
from lattice.messaging import Received
from lattice.metrics.declared import SPECS
from lattice.metrics.declared import node as declared
from lattice.metrics.readings import reading, tables_of
from lattice.metrics.spec import Scope
from services.metrics import metrics
from services.metrics.checking import OWNER, checked
from services.metrics.errors import LoggedErrors
from services.metrics.newest import Newest, Said

_OF_NODES = frozenset({Scope.NODE, Scope.WORKLOAD, Scope.PROCESS})
_OF_SERVICES = frozenset({Scope.PROCESS})
# Messages are taken one after the other: a registry that does not answer must not hold up each of them.
_ASK_AGAIN_AFTER_S = 5.0
# More containers than that are on no node; a name that is made up costs a question each.
MOST_INSTANCES = 1_000


class Handlers:
    """The handlers of one process."""

    def __init__(self, newest: Newest, owners: Owners, clock: Clock, errors: LoggedErrors) -> None:
        self._newest, self._owners, self._clock, self._errors = newest, owners, clock, errors
        self._ask_from_s = clock.monotonic_s()

    async def take_node(self, received: Received[NodeMetrics]) -> None:
        """Keep what a node says of itself and of its own instances."""
        message, node_id = received.message, received.tokens["node_id"]
        if message.node_id != node_id:
            _refuse(f"node {node_id} spoke for {message.node_id}")
            return
        heard_at = self._clock.now()
        tables = _taken(message.tables, _OF_NODES)
        owners = await self._owners_of(node_id, tables)
        # Added by us: nobody can tell by itself that its clock is wrong.
        offset = reading(declared.CLOCK_OFFSET, (message.taken_at - heard_at).total_seconds())
        said = Said(
            kind="node",
            id=node_id,
            name=await self._name_of(node_id),
            taken_at=message.taken_at,
            heard_at=heard_at,
            tables=(*_owned(tables, owners), *tables_of([offset])),
            owners=owners,
        )
        self._newest.take(said)
        self._errors.take(said)
        metrics.MESSAGES.labels("taken").inc()

    async def take_service(self, received: Received[ServiceMetrics]) -> None:
        """Keep what a service says of itself."""
        message, service = received.message, received.tokens["service"]
        if message.service != service:
            _refuse(f"the service {service} spoke for {message.service}")
            return
        said = Said(
            kind="service",
            id=service,
            name=service,
            taken_at=message.taken_at,
            heard_at=self._clock.now(),
            tables=_taken(message.tables, _OF_SERVICES),
        )
        self._newest.take(said)
        self._errors.take(said)
        metrics.MESSAGES.labels("taken").inc()

    async def _owners_of(self, node_id: str, tables: Iterable[SampleTable]) -> dict[str, MetricOwner]:
        """The instances that are spoken of and are the node's; while the registry is away, only those that are known already."""
        named = dict.fromkeys(row[0][0] for table in tables if _is_of_instances(table) for row in table.rows)
        asked = list(named)[:MOST_INSTANCES]
        unknown = [each for each in asked if self._owners.known_owner(node_id, each) is None]
        if unknown and self._may_ask:
            said = await asyncio.gather(
                *(self._owners.owner(node_id, each) for each in unknown), return_exceptions=True
            )
            self._note_absence(said)
        found = ((each, self._owners.known_owner(node_id, each)) for each in asked)
        return {each: _named(owner) for each, owner in found if owner is not None}

    async def _name_of(self, node_id: str) -> str:
        known = self._owners.known_node_name(node_id)
        if known or not self._may_ask:
            return known or node_id
        try:
            return await self._owners.node_name(node_id) or node_id
        except LatticeError as error:
            self._note_absence([error])
            return node_id

    @property
    def _may_ask(self) -> bool:
        return self._clock.monotonic_s() >= self._ask_from_s

    def _note_absence(self, said: Iterable[object]) -> None:
        if any(isinstance(each, BaseException) for each in said):
            self._ask_from_s = self._clock.monotonic_s() + _ASK_AGAIN_AFTER_S


def _taken(tables: Iterable[SampleTable], scopes: frozenset[Scope]) -> tuple[SampleTable, ...]:
    found = checked(tables, scopes)
    for reason, rows in found.refused.items():
        metrics.REFUSED.labels(reason).inc(rows)
    return tuple(found.tables)


def _named(owner: Owner) -> MetricOwner:
    return MetricOwner(project=owner.project, workload_id=owner.workload_id, workload=owner.workload_name)


def _refuse(why: str) -> None:
    metrics.MESSAGES.labels("refused").inc()
    logger.warning("measurements are refused: {}", why)


def _is_of_instances(table: SampleTable) -> bool:
    return SPECS[table.metrics[0]].scope is Scope.WORKLOAD


def _owned(tables: Iterable[SampleTable], owners: dict[str, MetricOwner]) -> Iterable[SampleTable]:
    for table in tables:
        if not _is_of_instances(table):
            yield table
            continue
        rows = tuple(row for row in table.rows if row[0][0] in owners)
        metrics.REFUSED.labels(OWNER).inc(len(table.rows) - len(rows))
        yield table.model_copy(update={"rows": rows})
