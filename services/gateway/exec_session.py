"""A terminal: one command inside one instance, its bytes between a socket and the node's session subjects.

The output is heard before the command is asked for, so its first line is not lost.  Both sides say every few seconds that they are still
there; a node that falls silent ends the session, and a client that is gone lets the node end the command.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from starlette.websockets import WebSocketDisconnect

from lattice.cancelling import first_of
from lattice.clock import Clock
from lattice.contracts import catalogue
from lattice.contracts.messages import ExecRequest, ExecSize, SessionFrame, SessionFrameKind
from lattice.contracts.nouns import ContainerKey, InstanceState
from lattice.contracts.views import InstanceView, WorkloadView
from lattice.errors import Conflict, LatticeError, NotFound, Temporary
from lattice.messaging import Bus, Received
from services.gateway import exec_frames as frames

KEEPALIVE_S = 10.0
SILENT_S = 35.0
_WAITING = 256


class Socket(Protocol):
    """What a session needs from the client's socket."""

    async def receive(self) -> Any: ...

    async def send_text(self, data: str) -> None: ...

    async def send_bytes(self, data: bytes) -> None: ...


def instance_for(workload: WorkloadView, slot: int | None) -> InstanceView:
    """The instance to run in: of that slot, or the first one that runs; NotFound or Conflict say why there is none."""
    candidates = [item for item in workload.instances if slot is None or item.slot == slot]
    if not candidates:
        raise NotFound(f"{workload.name} has no instance{'' if slot is None else f' in slot {slot}'}.")
    running = [
        item
        for item in candidates
        if item.node_id and item.state in (InstanceState.RUNNING, InstanceState.UNHEALTHY)
    ]
    if not running:
        raise Conflict(
            f"{workload.name} does not run: it is {candidates[0].state}. A command runs in a running instance only."
        )
    return running[0]


class ExecSession:
    """One command's life between the bus and a socket."""

    def __init__(
        self, bus: Bus, clock: Clock, socket: Socket, *, session_id: str, node_id: str, ended: asyncio.Event
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._socket = socket
        self._session_id = session_id
        self._node_id = node_id
        self._ended = ended
        self._sent = 0
        self._closed = False
        self._heard_s = clock.monotonic_s()
        self._output: asyncio.Queue[tuple[SessionFrame, bytes]] = asyncio.Queue(_WAITING)

    async def run(self, workload_id: str, instance: InstanceView, start: frames.Start) -> None:
        """Run the command until it exits, the client goes, the node falls silent or the right to it ends."""
        subscription = await self._bus.subscribe(
            catalogue.SESSION_OUT, self._heard, node_id=self._node_id, session_id=self._session_id
        )
        try:
            await self._bus.ask(
                catalogue.EXEC, self._request(workload_id, instance, start), node_id=self._node_id
            )
            await self._socket.send_text(frames.started(self._session_id))
            await first_of(self._to_client(), self._from_client(), self._keep_alive(), self._until_ended())
        finally:
            self._stop_output()
            await subscription.stop()

    def _stop_output(self) -> None:
        """Let go of a handler that waits for room in the queue; the subscription waits for it."""
        self._closed = True
        while not self._output.empty():
            self._output.get_nowait()

    def _request(self, workload_id: str, instance: InstanceView, start: frames.Start) -> ExecRequest:
        return ExecRequest(
            session_id=self._session_id,
            key=ContainerKey(workload_id=workload_id, slot=instance.slot, epoch=instance.epoch),
            argv=start.argv,
            tty=start.tty,
            stdin=start.stdin,
            size=ExecSize(rows=start.rows, columns=start.columns),
        )

    async def _heard(self, received: Received[SessionFrame]) -> None:
        self._heard_s = self._clock.monotonic_s()
        if self._closed:
            return
        # Waiting here is the back-pressure: a client that does not read slows its own session only.
        await self._output.put((received.message, received.body))

    async def _to_client(self) -> None:
        while True:
            frame, body = await self._output.get()
            message = frames.output(frame, body)
            if isinstance(message, str):
                await self._socket.send_text(message)
            elif message is not None:
                await self._socket.send_bytes(message)
            if frame.kind is SessionFrameKind.EXIT:
                return

    async def _from_client(self) -> None:
        try:
            while True:
                message = await self._socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                data = message.get("bytes")
                await self._send(
                    frames.read_bytes(data) if data is not None else frames.read_control(message["text"])
                )
        except WebSocketDisconnect:
            return
        finally:
            await self._say_goodbye()

    async def _say_goodbye(self) -> None:
        try:
            await self._send(frames.Input(SessionFrameKind.STDIN_CLOSED))
        except Temporary:
            return  # the node notices by our silence

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(KEEPALIVE_S)
            if self._clock.monotonic_s() - self._heard_s > SILENT_S:
                raise Temporary("The node has fallen silent; the command may still run there.")
            await self._send(frames.Input(SessionFrameKind.KEEPALIVE))

    async def _until_ended(self) -> None:
        await self._ended.wait()
        raise LatticeError("The right to this session has ended.")

    async def _send(self, item: frames.Input) -> None:
        self._sent += 1
        frame = SessionFrame(session_id=self._session_id, kind=item.kind, number=self._sent, size=item.size)
        await self._bus.publish(
            catalogue.SESSION_IN, frame, body=item.data, node_id=self._node_id, session_id=self._session_id
        )
