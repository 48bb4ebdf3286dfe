"""A connection from a client's own machine to a port of an instance, public or not."""

from __future__ import annotations

from fastapi import APIRouter, WebSocket

from lattice.errors import Invalid, LatticeError
from services.gateway import sockets
from services.gateway.forwarding import call_for, forward
from services.gateway.routes.workloads import load

PROTOCOL = "lattice.forward.v1"
_PATH = "/v1/workloads/{id}/forward"

router = APIRouter()


@router.websocket(_PATH)
async def to_port(socket: WebSocket) -> None:
    """Connect to `port` (its number in the container, or its name); what the socket carries is described in `forwarding`."""
    try:
        call = await sockets.admitted(socket, _PATH, query=frozenset({"port", "slot"}))
        workload = await load(call, socket.path_params["id"])
        target = call_for(workload, *_asked(socket))
        detail = {"instance": target.instance_id, "port": target.container_port}
        await sockets.leave_trace(call, workload, "workload.forward", detail)
        pipe = await call.gateway.ingress.open(target)
    except LatticeError as error:
        await sockets.deny(socket, error)
        return
    try:
        async with sockets.opened(socket, PROTOCOL):
            with call.gateway.streams.opened(call.me.credential_id) as ended:
                await forward(socket, pipe, ended)
    finally:
        pipe.give_up("the connection was closed")


def _asked(socket: WebSocket) -> tuple[str, int | None]:
    port, slot = socket.query_params.get("port", ""), socket.query_params.get("slot")
    if not port:
        raise Invalid("Say which port: ?port=5432, or the name of one.")
    if slot is not None and not (slot.isascii() and slot.isdigit() and len(slot) <= 4):
        raise Invalid("slot is the number of a replica, from 0.")
    return port, None if slot is None else int(slot)
