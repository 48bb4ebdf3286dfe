"""Streams that are opened to us over a tunnel, and where they go on to.

The gateway asks for an instance, and has seen to who may.  A node asks for a workload to which one of its instances has a link; whether it has one
we know from the registry, and not from the node.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine

from pydantic import ValidationError

from lattice.contracts.messages import LinkCall, TunnelCall
from lattice.errors import Temporary
from lattice.tunnel_pipe import splice
from lattice.tunnel_stream import TunnelStream
from services.ingress.places import Led, Places
from services.ingress.routing import Nowhere
from services.ingress.sweep import Sweep
from services.ingress.tunnels import GATEWAY, Tunnels

# Of one node: whoever asks for what is not there costs the others nothing.
_MOST_WAITING = 256


class Calls:
    """Answers them; each goes on in a task of its own."""

    def __init__(self, tunnels: Tunnels, places: Places, sweep: Sweep) -> None:
        self._tunnels, self._places, self._sweep = tunnels, places, sweep
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: Counter[str] = Counter()

    async def close(self, timeout_s: float) -> None:
        """Wait until they have ended; those who are left after the time end with their links."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)

    def answer(self, caller: str, stream: TunnelStream, request: bytes) -> None:
        """Lead a stream on, or refuse it with the reason."""
        try:
            if caller == GATEWAY:
                self._go_on(self._to_instance(stream, TunnelCall.model_validate_json(request)))
            else:
                self._go_on(self._over_link(stream, LinkCall.model_validate_json(request), caller))
        except ValidationError:
            stream.refuse("the ingress does not understand what is asked")

    async def _to_instance(self, stream: TunnelStream, call: TunnelCall) -> None:
        try:
            onward = self._tunnels.open(call.node_id, call.target)
        except Temporary as error:
            stream.refuse(error.detail)
            return
        await self._splice(stream, onward)

    async def _over_link(self, stream: TunnelStream, call: LinkCall, node_id: str) -> None:
        led = await self._led(call, node_id)
        if isinstance(led, Nowhere):
            stream.refuse(f"{call.workload_name}: {led.reason}")
            return
        self._places.came(led.instance_id)
        try:
            await self._splice(stream, led.stream)
        finally:
            self._places.went(led.instance_id)

    async def _led(self, call: LinkCall, node_id: str) -> Led | Nowhere:
        if self._waiting[node_id] >= _MOST_WAITING:
            return Nowhere("too many connections of this node wait for a place")
        self._waiting[node_id] += 1
        try:
            return await self._places.lead_over_link(call, node_id)
        finally:
            self._waiting[node_id] -= 1
            if not self._waiting[node_id]:
                del self._waiting[node_id]

    async def _splice(self, stream: TunnelStream, onward: TunnelStream) -> None:
        self._sweep.begin(stream)
        try:
            await splice(stream, onward)
        finally:
            self._sweep.end(stream)

    def _go_on(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
