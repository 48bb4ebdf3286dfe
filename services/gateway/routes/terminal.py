"""The terminal: a socket to a command inside an instance.

The credential comes in the Authorization header or, from a browser, as the subprotocol `lattice.bearer.<token>`; never in the URL.
"""

from __future__ import annotations

from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect, WebSocketState

from lattice.contracts import catalogue
from lattice.contracts.messages import RecordAudit
from lattice.contracts.views import InstanceView, WorkloadView
from lattice.errors import Invalid, LatticeError
from lattice.ids import new_id
from services.gateway import exec_frames as frames
from services.gateway import problems, requests
from services.gateway.call import Call, admit
from services.gateway.exec_session import ExecSession, instance_for
from services.gateway.policy import rule_for
from services.gateway.routes.workloads import load

PROTOCOL = "lattice.exec.v1"
_BEARER = "lattice.bearer."
_PATH = "/v1/workloads/{id}/exec"
_NORMAL, _REFUSED, _FAILED = 1000, 1008, 1011

router = APIRouter()


@router.websocket(_PATH)
async def terminal(socket: WebSocket) -> None:
    """Run a command in an instance; what the socket carries is described in `exec_frames`."""
    try:
        call = await _admitted(socket)
        workload = await load(call, socket.path_params["id"])
    except LatticeError as error:
        await _deny(socket, error)
        return
    await socket.accept(subprotocol=PROTOCOL if PROTOCOL in socket.scope["subprotocols"] else None)
    try:
        await _run(call, socket, workload)
        await _close(socket, _NORMAL)
    except WebSocketDisconnect:
        return
    except LatticeError as error:
        await _tell(socket, error)


async def _admitted(socket: WebSocket) -> Call:
    requests.check_query(socket.query_params, frozenset({"project"}))
    requests.check_text(socket.query_params, socket.path_params.values(), b"")
    return await admit(socket, rule_for("WS", _PATH), authorization=_authorization(socket))


def _authorization(socket: WebSocket) -> str | None:
    for protocol in socket.scope["subprotocols"]:
        if protocol.startswith(_BEARER):
            return f"Bearer {protocol.removeprefix(_BEARER)}"
    return socket.headers.get("authorization")


async def _run(call: Call, socket: WebSocket, workload: WorkloadView) -> None:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        return
    start = frames.read_start(message.get("text") or "")
    instance = instance_for(workload, start.slot)
    await _leave_trace(call, workload, instance, start)
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


async def _leave_trace(
    call: Call, workload: WorkloadView, instance: InstanceView, start: frames.Start
) -> None:
    """Before the command starts: what leaves no trace does not happen."""
    await call.ask(
        catalogue.RECORD_AUDIT,
        RecordAudit(
            caller=call.caller,
            project=workload.project,
            action="workload.exec",
            entity="workload",
            entity_id=workload.id,
            entity_name=workload.name,
            detail={"instance": instance.id, "argv": list(start.argv), "tty": start.tty},
        ),
    )


async def _deny(socket: WebSocket, error: LatticeError) -> None:
    request_id = socket.scope["state"]["request_id"]
    response = problems.answer_for(error, path=socket.url.path, request_id=request_id)
    if "websocket.http.response" in socket.scope.get("extensions", {}):
        await socket.send_denial_response(response)
    else:
        await socket.close(_REFUSED, error.code)


async def _tell(socket: WebSocket, error: LatticeError) -> None:
    if socket.application_state is WebSocketState.CONNECTED:
        await socket.send_text(frames.failed(error.code, error.detail))
    await _close(socket, _REFUSED if isinstance(error, Invalid) else _FAILED)


async def _close(socket: WebSocket, code: int) -> None:
    # Either side may have closed it already.
    if (
        socket.client_state is WebSocketState.CONNECTED
        and socket.application_state is WebSocketState.CONNECTED
    ):
        await socket.close(code)
