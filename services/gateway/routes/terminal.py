"""The terminal: a socket to a command inside an instance."""

from __future__ import annotations

from fastapi import APIRouter, WebSocket

from lattice.contracts.views import WorkloadView
from lattice.errors import LatticeError
from lattice.ids import new_id
from services.gateway import exec_frames as frames
from services.gateway import sockets
from services.gateway.call import Call
from services.gateway.exec_session import ExecSession, instance_for
from services.gateway.routes.workloads import load

PROTOCOL = "lattice.exec.v1"
_PATH = "/v1/workloads/{id}/exec"

router = APIRouter()


@router.websocket(_PATH)
async def terminal(socket: WebSocket) -> None:
    """Run a command in an instance; what the socket carries is described in `exec_frames`."""
    try:
        call = await sockets.admitted(socket, _PATH, query=frozenset())
        workload = await load(call, socket.path_params["id"])
    except LatticeError as error:
        await sockets.deny(socket, error)
        return
    async with sockets.opened(socket, PROTOCOL):
        await _run(call, socket, workload)


async def _run(call: Call, socket: WebSocket, workload: WorkloadView) -> None:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        return
    start = frames.read_start(message.get("text") or "")
    instance = instance_for(workload, start.slot)
    detail = {"instance": instance.id, "argv": list(start.argv), "tty": start.tty}
    await sockets.leave_trace(call, workload, "workload.exec", detail)
    gateway = call.gateway
    with gateway.streams.opened(call.me.credential_id) as ended:
        session = ExecSession(
            gateway.bus,
            gateway.clock,
            socket,
            session_id=new_id("ex", clock=gateway.clock),
            node_id=instance.node_id or "",
            ended=ended,
        )
        await session.run(workload.id, instance, start)
