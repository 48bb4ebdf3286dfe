"""What people ask of sinks: make one, try it, see what was told to whom, remove it."""

from __future__ import annotations

from dataclasses import dataclass

from lattice.contracts.messages import (
    Alert,
    CreateSink,
    DeliveryState,
    DeliveryView,
    Done,
    ListDeliveries,
    Page,
    SinkCommand,
    SinkKind,
    SinkTested,
    SinkView,
)
from lattice.contracts.views import Listing
from lattice.errors import Conflict, FieldError, Invalid, LatticeError, NotFound
from lattice.storage import Transaction
from services.alerts import store as queries
from services.alerts.change import Deps
from services.alerts.sending import Sender
from services.alerts.sink_rules import TEST_TEXT, target_of, wrong_address
from services.alerts.sink_vault import SinkVault
from services.alerts.tables import DeliveryRow, SinkRow


@dataclass(frozen=True, slots=True)
class SinkDeps:
    """What these handlers may use."""

    deps: Deps
    vault: SinkVault
    sender: Sender


async def create_sink(sinks: SinkDeps, request: CreateSink) -> SinkView:
    """Tell people there of what happens from now on."""
    wrong = wrong_address(request.kind, request.url)
    if wrong:
        raise Invalid(
            f"This address cannot be used: {wrong}.", errors=[FieldError(pointer="/url", detail=wrong)]
        )
    async with sinks.deps.change() as change:
        if await queries.sink(change.tx, request.name) is not None:
            raise Conflict(
                f"There is a sink {request.name!r} already: remove it first, or choose another name."
            )
        sink_id = change.new_id("sk")
        row = SinkRow(
            id=sink_id,
            name=request.name,
            kind=request.kind.value,
            target=target_of(request.url),
            envelope=sinks.vault.seal(sink_id, request.url),
            min_severity=request.min_severity.value,
            project=request.project,
            created_by=request.caller.actor,
            created_at=change.now,
        )
        change.tx.add(row)
        after = {
            "kind": row.kind, "target": row.target, "min_severity": row.min_severity, "project": row.project,
        }  # fmt: skip
        change.audit(request.caller, "sink.create", ("sink", row.id, row.name), after=after)
    return _view(row)


def _view(row: SinkRow) -> SinkView:
    return SinkView.model_validate(row, from_attributes=True)


async def list_sinks(sinks: SinkDeps, request: Page) -> Listing[SinkView]:
    """All of them; few enough for one page."""
    async with sinks.deps.store.transaction() as tx:
        rows = await queries.sinks(tx)
    return Listing(items=tuple(_view(row) for row in rows))


async def remove_sink(sinks: SinkDeps, request: SinkCommand) -> Done:
    """Tell nobody there any more; what waits for it is dropped."""
    async with sinks.deps.change() as change:
        row = await _find(change.tx, request.ref)
        for waiting in await change.tx.find(DeliveryRow, sink_id=row.id, done_at=None):
            gone = {"state": DeliveryState.FAILED.value, "problem": "the sink was removed"}
            change.tx.update(waiting, done_at=change.now, **gone)
        change.tx.delete(row)
        before = {"kind": row.kind, "target": row.target}
        change.audit(request.caller, "sink.remove", ("sink", row.id, row.name), before=before)
    return Done()


async def test_sink(sinks: SinkDeps, request: SinkCommand) -> SinkTested:
    """Send a test there now, and say what the other side said."""
    async with sinks.deps.store.transaction() as tx:
        row = await _find(tx, request.ref)
    problem = await _try(sinks, row)
    async with sinks.deps.change() as change:
        after = {"delivered": not problem, "problem": problem}
        change.audit(request.caller, "sink.test", ("sink", row.id, row.name), after=after)
    return SinkTested(delivered=not problem, problem=problem)


async def _try(sinks: SinkDeps, row: SinkRow) -> str:
    try:
        url = sinks.vault.url(row)
    except LatticeError as error:
        return error.detail
    match SinkKind(row.kind):
        case SinkKind.MESSAGES:
            return await sinks.sender.message(url, *TEST_TEXT)
        case SinkKind.ALERTMANAGER:
            return await sinks.sender.alertmanager(url, [])
        case SinkKind.HEARTBEAT:
            return await sinks.sender.heartbeat(url)


async def list_deliveries(sinks: SinkDeps, request: ListDeliveries) -> Listing[DeliveryView]:
    """What was told to whom, newest first."""
    async with sinks.deps.store.transaction() as tx:
        rows, token = await queries.deliveries(tx, request)
    return Listing(items=tuple(_delivery_view(row) for row in rows), next_page_token=token)


def _delivery_view(row: DeliveryRow) -> DeliveryView:
    alert = Alert.model_validate(row.alert)
    return DeliveryView(
        id=row.id,
        sink=row.sink_name,
        alert_id=alert.id,
        alert=f"{alert.name}: {alert.entity_name}",
        change=alert.change.value,
        state=DeliveryState(row.state),
        attempts=row.attempts,
        problem=row.problem,
        created_at=row.created_at,
        done_at=row.done_at,
    )


async def _find(tx: Transaction, ref: str) -> SinkRow:
    row = await queries.sink(tx, ref)
    if row is None:
        raise NotFound(f"There is no sink {ref!r}: `lattice alerts sinks` shows all.")
    return row
