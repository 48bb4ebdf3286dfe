"""Sends the spool, in order and a little at a time, and lets go of it what the log store says that it has.

What the bus took is not stored yet.  So it stays in the spool; whoever hears nothing asks, after each new link and while something waits; and
what the store answered without naming it is sent again, ever more rarely, since it may only wait in the stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from agent.log_gaps import key_of, range_of
from agent.log_ranges import BySource, common_by_source, united
from agent.log_spool import LogSpool
from agent.log_spool_reading import START, Cursor
from agent.node_events import NodeEvents
from lattice.contracts.catalogue import LOG_BLOCK, LOGS_HELD, LOGS_STORED
from lattice.contracts.messages import LogBlock, LogRange, LogsHeld, LogsStored
from lattice.contracts.messages.log_blocks import MOST_RANGES
from lattice.errors import Invalid, LatticeError, Temporary
from lattice.messaging import Bus, Received, Subscription
from lattice.number_ranges import Ranges, common

# On its way at one time.  More would neither be faster nor let a heartbeat through on a slow link.
WINDOW_BYTES = 2**20
_RETRY_S = 0.5
_LOOK_S = 5.0
_ASK_AGAIN_S = 10.0
_SEND_AGAIN_S, _LONGEST_S = 30.0, 600.0

Block = tuple[LogBlock, bytes]


class LogSending:
    """Between one node's spool and the log store."""

    def __init__(self, node_id: str, bus: Bus, spool: LogSpool, events: NodeEvents) -> None:
        self._node_id, self._bus, self._spool, self._events = node_id, bus, spool, events
        self._cursor: Cursor = START
        self._sent: dict[str, int] = {}
        self._again: BySource = {}
        self._some_sent = asyncio.Event()
        self._asked_at = self._heard_at = 0.0
        self._seen: BySource = {}
        self._stale_from: tuple[float, BySource] = (0.0, {})
        self._patience_s = _SEND_AGAIN_S

    async def start(self) -> Subscription:
        """Hear what is stored, and ask at each connect."""
        subscription = await self._bus.subscribe(LOGS_STORED, self._stored, node_id=self._node_id)
        self._bus.on_connected(self._ask)
        return subscription

    async def run(self) -> None:
        """Send what the spool has, for ever."""
        while True:
            await self._spool.filled.wait()
            self._spool.filled.clear()
            await self._send_all()

    async def look(self) -> None:
        """Ask for what was sent and is not confirmed, for ever; an empty spool costs nothing."""
        while True:
            await self._some_sent.wait()
            await asyncio.sleep(_LOOK_S)
            await self._look()

    # ------------------------------------------------------------------------------------ sending

    async def _send_all(self) -> None:
        while await self._send_gaps() or await self._send_next():
            pass
        if self._again:
            await self._send_again()

    async def _send_gaps(self) -> bool:
        gaps = [gap for gap in self._spool.gaps if key_of(gap) not in self._spool.sent_gaps]
        self._spool.sent_gaps |= {key_of(gap) for gap in gaps}  # now, so that none of them becomes another
        await self._deliver([(gap, b"") for gap in gaps])
        return bool(gaps)

    async def _send_next(self) -> bool:
        taken = await self._spool.take(self._cursor, budget_bytes=WINDOW_BYTES)
        await self._deliver(taken.frames)
        self._cursor = taken.cursor
        for block, _ in taken.frames:
            self._sent[block.source] = max(block.last, self._sent.get(block.source, 0))
        return bool(taken.frames or taken.broken)

    async def _send_again(self) -> None:
        wanted, self._again = self._again, {}
        cursor = START
        while (taken := await self._spool.take(cursor, budget_bytes=WINDOW_BYTES, wanted=wanted)).frames:
            await self._deliver(taken.frames)
            cursor = taken.cursor
            await self._send_gaps()

    async def _deliver(self, waiting: Sequence[Block]) -> None:
        while waiting:
            said = await asyncio.gather(*(self._append(*each) for each in waiting))
            waiting = [each for each, is_there in zip(waiting, said, strict=True) if not is_there]
            self._some_sent.set()
            if waiting:
                await asyncio.sleep(_RETRY_S)
                waiting = [each for each in waiting if each[0].gap is not None or self._spool.holds(each[0])]

    async def _append(self, block: LogBlock, body: bytes) -> bool:
        """Whether it needs not be tried again."""
        kind = "gap" if block.gap is not None else "log"
        msg_id = f"{kind}-{block.source[:32]}-{block.first}-{block.last}"
        try:
            await self._bus.append(
                LOG_BLOCK,
                block,
                msg_id=msg_id,
                body=body,
                node_id=self._node_id,
                workload_id=block.workload_id,
            )
        except Temporary:
            return False
        except Invalid as error:  # it will never be taken, and must not stand in the way of the others
            self._refuse(block.source, block.first, block.last, error.detail)
        return True

    # ------------------------------------------------------------------------------------ hearing

    async def _stored(self, received: Received[LogsStored]) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        for each in received.message.stored:
            self._spool.let_go(each.source, (each.first, each.last))
        for each in received.message.refused:
            self._refuse(each.source, each.first, each.last, "the log store does not take them")

    def _refuse(self, source: str, first: int, last: int, reason: str) -> None:
        self._spool.let_go(source, (first, last))
        self._events.tell(
            "logs_refused", f"{last - first + 1} log records of container {source[:12]} are lost: {reason}"
        )

    # ------------------------------------------------------------------------------------ asking

    async def _look(self) -> None:
        now_s, held = asyncio.get_running_loop().time(), self._sent_and_held()
        waits_long = bool(common_by_source(self._seen, held))
        self._seen = held
        if not held:
            self._some_sent.clear()
            self._patience_s, self._stale_from = _SEND_AGAIN_S, (now_s, {})
            return
        if waits_long and now_s - self._asked_at >= _ASK_AGAIN_S:
            await self._ask()
        self._notice_stale(now_s, held)

    def _notice_stale(self, now_s: float, held: BySource) -> None:
        """What was sent long ago, and the store has spoken since without naming it, is sent again."""
        since_s, before = self._stale_from
        if now_s - since_s < self._patience_s or (before and self._heard_at <= since_s):
            return
        stale = common_by_source(before, held)
        self._patience_s = min(self._patience_s * 2, _LONGEST_S) if stale else _SEND_AGAIN_S
        self._stale_from = (now_s, held)
        if stale:
            self._again = stale
            self._spool.sent_gaps -= {
                key_of(gap) for gap in self._spool.gaps if common(stale.get(gap.source, ()), (range_of(gap),))
            }
            self._spool.filled.set()

    def _sent_and_held(self) -> dict[str, Ranges]:
        """What the bus has, and the store has not confirmed."""
        sent = {source: ((0, last),) for source, last in self._sent.items()}
        gaps = [
            {gap.source: (range_of(gap),)} for gap in self._spool.gaps if key_of(gap) in self._spool.sent_gaps
        ]
        held = self._spool.held()
        self._sent = {source: last for source, last in self._sent.items() if source in held}
        return united([common_by_source(held, sent), *gaps])

    async def _ask(self) -> None:
        self._asked_at = asyncio.get_running_loop().time()
        ranges = [
            LogRange(source=source, first=first, last=last)
            for source, held in self._spool.held().items()
            for first, last in held
        ]
        for start in range(0, len(ranges), MOST_RANGES):
            asked = LogsHeld(ranges=tuple(ranges[start : start + MOST_RANGES]))
            try:
                await self._bus.publish(LOGS_HELD, asked, node_id=self._node_id)
            except LatticeError:
                return  # the next link asks again
