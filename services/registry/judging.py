"""The judge at work: each second it looks at who was heard, judges (`liveness`), and writes what changed.

Every replica judges, so that each is ready to go on at any moment; the one that holds the lock `judge` in a round writes.  The judge reads
rows only where something changes: its picture of the nodes is refreshed every ten seconds, and checked row by row when it decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from loguru import logger

from lattice.contracts.nouns import Liveness, Membership
from lattice.errors import StaleVersion, Temporary
from lattice.storage import In
from services.registry.change import SYSTEM, Change, Deps
from services.registry.disk_watermark import DEFAULT_WATERMARK, DiskFull, Watermark, disk_full
from services.registry.liveness import (
    DEFAULT_THRESHOLDS,
    Judgement,
    JudgeState,
    MassLoss,
    Thresholds,
    Tick,
    Transition,
    has_heard_for,
    judge,
)
from services.registry.node_rows import become, note_disk_full, note_docker_problem
from services.registry.presence import Presence
from services.registry.tables import ClusterRow, NodeRow

LOCK = "judge"
# How long no work moves after many nodes vanished together, all of it time in which we ourselves heard without a break; whoever knows better
# says so (`lattice node confirm-lost`).
MASS_LOSS_HOLD = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often the judge does what."""

    tick_s: float = 1.0
    write_every_s: float = 2.0
    refresh_every_s: float = 10.0


@dataclass(frozen=True, slots=True)
class _Known:
    """What the judge believes of a member."""

    liveness: Liveness
    docker_problem: str
    disk_full: DiskFull | None
    reported: bool

    @classmethod
    def of(cls, row: NodeRow) -> _Known:
        full = DiskFull.read(row.disk_full) if row.disk_full else None
        return cls(Liveness(row.liveness), row.docker_problem, full, bool(row.boot_id))


# Lost, or back and not yet known to have all it had.
_GONE = (Liveness.UNREACHABLE, Liveness.JOINING)


def _nobody(_: str) -> None:
    """Where nobody asks a node that is back what it has."""


class Judge:
    """Ticks for ever (`run`), or as a test says (`tick`).  `heard_again` is told of nodes that were lost and are heard again."""

    def __init__(
        self,
        deps: Deps,
        presence: Presence,
        *,
        monotonic_s: Callable[[], float],
        is_connected: Callable[[], bool],
        thresholds: Thresholds = DEFAULT_THRESHOLDS,
        pace: Pace | None = None,
        mass_loss_hold: timedelta = MASS_LOSS_HOLD,
        watermark: Watermark = DEFAULT_WATERMARK,
        heard_again: Callable[[str], None] = _nobody,
    ) -> None:
        self._heard_again = heard_again
        self._watermark = watermark
        self._mass_loss_hold = mass_loss_hold
        self._deps, self._presence = deps, presence
        self._monotonic_s, self._is_connected = monotonic_s, is_connected
        self._thresholds, self._pace = thresholds, pace or Pace()
        self._state = JudgeState()
        self._members: dict[str, _Known] = {}
        self._strangers: set[str] = set()
        self._unsaid: MassLoss | None = None
        self._held_until: datetime | None = None
        self._ticked_s = monotonic_s()
        self._written_s = self._refreshed_s = float("-inf")

    async def run(self) -> None:
        """Tick each second; a database that is away only delays what is written."""
        while True:
            try:
                await self.tick()
            except (Temporary, StaleVersion) as error:
                logger.warning("the judge could not write: {}", error)
            await asyncio.sleep(self._pace.tick_s)

    async def tick(self) -> None:
        """Judge once.  Raises Temporary when the database is away; the next tick decides the same again."""
        now_s = self._monotonic_s()
        dt_s, self._ticked_s = now_s - self._ticked_s, now_s
        heard = self._presence.take_heard()
        judgement = self._judge(heard, dt_s)
        await self._learn(heard, now_s)
        async with self._deps.store.exclusive(LOCK) as writes:
            if writes:
                await self._write(judgement, heard, now_s)
            else:
                self._unsaid = None  # whoever holds the lock judges alike, and says it

    def _judge(self, heard: frozenset[str], dt_s: float) -> Judgement:
        ever_heard = self._presence.known
        nodes = {
            node_id: known.liveness
            for node_id, known in self._members.items()
            if known.liveness is not Liveness.JOINING or known.reported or node_id in ever_heard
        }
        tick = Tick(nodes=nodes, heard=heard, dt_s=dt_s, connected=self._is_connected())
        judgement = judge(self._state, tick, self._thresholds)
        self._state = judgement.state
        self._unsaid = judgement.mass_loss or self._unsaid
        return judgement

    # --- what it knows -------------------------------------------------------------------------------------

    async def _learn(self, heard: frozenset[str], now_s: float) -> None:
        if now_s - self._refreshed_s >= self._pace.refresh_every_s:
            await self._refresh()
            self._refreshed_s = now_s
        elif unknown := heard - self._members.keys() - self._strangers:
            rows = await self._read(unknown)
            self._strangers |= unknown - {row.id for row in rows if _is_member(row)}
            self._members.update({row.id: _Known.of(row) for row in rows if _is_member(row)})

    async def _refresh(self) -> None:
        async with self._deps.store.transaction() as tx:
            rows = await tx.find(NodeRow, membership=Membership.APPROVED.value, removed_at=None)
            cluster = await tx.get(ClusterRow, 1)
        self._held_until = cluster.moves_held_until if cluster else None
        self._members = {row.id: _Known.of(row) for row in rows}
        self._strangers.clear()
        self._presence.keep_only(self._members)

    async def _read(self, node_ids: Iterable[str]) -> list[NodeRow]:
        async with self._deps.store.transaction() as tx:
            return await tx.find(NodeRow, id=In(tuple(sorted(node_ids))))

    # --- what it writes ------------------------------------------------------------------------------------

    async def _write(self, judgement: Judgement, heard: frozenset[str], now_s: float) -> None:
        moved = {transition.node_id: transition for transition in judgement.transitions}
        told = {node_id for node_id in heard & self._members.keys() if self._says_news(node_id)}
        if moved or told or self._unsaid:
            await self._apply(moved, told)
        if reason := self._why_hold_is_over():
            await self._end_hold(reason)
        if now_s - self._written_s >= self._pace.write_every_s:
            await self._presence.write(self._deps.store, self._members.keys())
            self._written_s = now_s

    def _why_hold_is_over(self) -> str:
        """Every node is back, or the time is over.  A registry that was away, or cut off, in the meantime does not know whose fault it was: the
        time begins anew with its hearing."""
        if self._held_until is None:
            return ""
        if not any(known.liveness in _GONE and known.reported for known in self._members.values()):
            return "every node is back"
        time_is_over = self._deps.now() >= self._held_until
        heard = has_heard_for(self._state, self._mass_loss_hold.total_seconds())
        return "no end of the loss in sight" if time_is_over and heard else ""

    async def _end_hold(self, reason: str) -> None:
        async with self._deps.change(SYSTEM, action="node.judge") as change:
            cluster = await change.tx.get(ClusterRow, 1, lock=True)
            if cluster is None or cluster.moves_held_until != self._held_until:
                return  # more nodes vanished meanwhile
            change.tx.update(cluster, moves_held_until=None)
            change.fact("platform", "moves_released", entity_id="platform", cause=reason)
        self._held_until = None

    def _says_news(self, node_id: str) -> bool:
        """Whether a node that was heard says something of its Engine or its disk that is not known yet."""
        known = self._members[node_id]
        same_engine = self._presence.newest(node_id).docker_problem == known.docker_problem
        return not same_engine or self._disk_full(node_id, known.disk_full) != known.disk_full

    def _disk_full(self, node_id: str, known: DiskFull | None) -> DiskFull | None:
        said = self._presence.newest(node_id)
        return disk_full(known, said.usage.disk_bytes, said.disk_free_bytes, self._watermark)

    async def _apply(self, moved: dict[str, Transition], told: set[str]) -> None:
        """The rows decide: where one differs from what the judge believed, it learns and decides again with the next tick."""
        async with self._deps.change(SYSTEM, action="node.judge") as change:
            if self._unsaid is not None:
                await _say(change, self._unsaid, self._mass_loss_hold)
            rows = await change.tx.find(NodeRow, id=In(tuple(sorted(moved.keys() | told))), lock=True)
            members = [row for row in rows if _is_member(row)]
            for row in members:
                if row.id in moved:
                    _move(change, row, moved[row.id])
                if row.id in told:
                    self._note(change, row)
        self._unsaid = None
        for node_id in moved:
            self._members.pop(node_id, None)
        self._members.update({row.id: _Known.of(row) for row in members})
        for row in members:
            if row.id in moved and row.liveness == Liveness.JOINING:
                self._heard_again(row.id)

    def _note(self, change: Change, row: NodeRow) -> None:
        note_docker_problem(change, row, self._presence.newest(row.id).docker_problem)
        known = DiskFull.read(row.disk_full) if row.disk_full else None
        note_disk_full(change, row, self._disk_full(row.id, known))


def _is_member(row: NodeRow) -> bool:
    return row.membership == Membership.APPROVED and row.removed_at is None


def _move(change: Change, row: NodeRow, transition: Transition) -> None:
    if row.liveness == transition.before:
        data = {"silence_s": round(transition.silence_s, 1)}
        become(change, row, transition.after, cause="heartbeats", data=data)


async def _say(change: Change, loss: MassLoss, hold: timedelta) -> None:
    """So many at once are more likely our own fault than theirs: nothing is moved until people say so or time passes."""
    cluster = await change.tx.get(ClusterRow, 1, lock=True)
    if cluster is not None:
        change.tx.update(cluster, moves_held_until=change.now + hold)
    change.fact(
        "platform", "mass_node_loss", entity_id="platform", data={"nodes": list(loss.lost), "of": loss.of}
    )
