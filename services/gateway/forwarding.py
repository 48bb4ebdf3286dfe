"""A connection of a client's own machine to a port of an instance, between a socket of the client and the tunnel.

Binary messages are bytes, in both directions.  The text message `{"type": "end"}` says that no more will come in that direction, which a
WebSocket has no word for; `{"type": "error", "code", "detail"}` from us says why it is over.
"""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn, Protocol

from lattice.cancelling import first_of
from lattice.contracts.messages import TunnelCall
from lattice.contracts.nouns import Health, InstanceState, PortMapping
from lattice.contracts.views import InstanceView, WorkloadView
from lattice.errors import Conflict, Invalid, LatticeError, NotFound
from lattice.tunnel_pipe import TunnelPipe

END = '{"type": "end"}'
_SOMETHING_EVERY_S = 10.0
_RUNS = (InstanceState.RUNNING, InstanceState.UNHEALTHY)


class Socket(Protocol):
    """What a forwarded connection needs of the client's socket."""

    async def receive(self) -> Any: ...

    async def send_text(self, data: str) -> None: ...

    async def send_bytes(self, data: bytes) -> None: ...


def call_for(workload: WorkloadView, port: str, slot: int | None) -> TunnelCall:
    """Where a connection to a port (its number in the container, or its name) leads: to a healthy instance if there is one.

    Raises NotFound for a port or slot that is not there, Conflict where nothing runs.
    """
    candidates = [each for each in workload.instances if slot is None or each.slot == slot]
    if not candidates:
        raise NotFound(f"{workload.name} has no instance{'' if slot is None else f' in slot {slot}'}.")
    running = [each for each in candidates if each.node_id and each.state in _RUNS]
    if not running:
        raise Conflict(f"{workload.name} does not run: it is {candidates[0].state}.")
    found = [(each, mapping) for each in running for mapping in each.ports if _is_meant(mapping, port)]
    if not found:
        raise NotFound(_no_such_port(workload, running[0], port))
    instance, mapping = min(found, key=lambda pair: pair[0].health is not Health.HEALTHY)
    return TunnelCall(
        node_id=instance.node_id or "", instance_id=instance.id, container_port=mapping.container_port
    )


def _is_meant(mapping: PortMapping, port: str) -> bool:
    return port in (mapping.name, str(mapping.container_port))


def _no_such_port(workload: WorkloadView, instance: InstanceView, port: str) -> str:
    declared = ", ".join(f"{each.container_port} ({each.name})" for each in instance.ports)
    return f"{workload.name} has no port {port}; it has {declared or 'none'}. Ports are part of a workload's spec: `ports`."


async def forward(socket: Socket, pipe: TunnelPipe, ended: asyncio.Event) -> None:
    """Pass on until both directions have ended, the client is gone or the right to it ends.  Raises Temporary with why it broke."""
    said_all = asyncio.Event()
    await first_of(
        _from_client(socket, pipe, said_all),
        _to_client(socket, pipe, said_all),
        _until_ended(ended),
        _until_nobody_hears(socket),
    )


async def _to_client(socket: Socket, pipe: TunnelPipe, said_all: asyncio.Event) -> None:
    while data := await pipe.read():
        await socket.send_bytes(data)
    await socket.send_text(END)
    await said_all.wait()


async def _from_client(socket: Socket, pipe: TunnelPipe, said_all: asyncio.Event) -> None:
    """Also after the client's last word, to notice that it is gone."""
    while (message := await socket.receive())["type"] != "websocket.disconnect":
        data = message.get("bytes")
        if data is not None and not said_all.is_set():
            await pipe.send(data)
        elif message.get("text") == END:
            pipe.end()
            said_all.set()
        else:
            raise Invalid(f"After binary messages comes one text message, {END}.")


async def _until_nobody_hears(socket: Socket) -> NoReturn:
    """A client that is gone while the instance takes nothing is not noticed by listening to it.  Raises what sending to it raises."""
    while True:
        await asyncio.sleep(_SOMETHING_EVERY_S)
        await socket.send_bytes(b"")


async def _until_ended(ended: asyncio.Event) -> None:
    await ended.wait()
    raise LatticeError("The right to this connection has ended.")
