"""What the routes with a WebSocket share: who may open one, and how one is refused, told of a failure, and closed.

The credential comes in the Authorization header or, from a browser, as the subprotocol `lattice.bearer.<token>`; never in the URL.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import WebSocket
from starlette.websockets import WebSocketDisconnect, WebSocketState

from lattice.contracts import catalogue
from lattice.contracts.messages import RecordAudit
from lattice.contracts.views import WorkloadView
from lattice.errors import Invalid, LatticeError
from services.gateway import exec_frames as frames
from services.gateway import problems, requests
from services.gateway.call import Call, admit
from services.gateway.policy import rule_for

_BEARER = "lattice.bearer."
_NORMAL, _REFUSED, _FAILED = 1000, 1008, 1011


async def admitted(socket: WebSocket, path: str, *, query: frozenset[str]) -> Call:
    """The call of a client that may open this socket.  Raises what is to be answered instead."""
    requests.check_query(socket.query_params, query | {"project"})
    requests.check_text(socket.query_params, socket.path_params.values(), b"")
    return await admit(socket, rule_for("WS", path), authorization=_authorization(socket))


def _authorization(socket: WebSocket) -> str | None:
    for protocol in socket.scope["subprotocols"]:
        if protocol.startswith(_BEARER):
            return f"Bearer {protocol.removeprefix(_BEARER)}"
    return socket.headers.get("authorization")


async def leave_trace(call: Call, workload: WorkloadView, action: str, detail: dict[str, Any]) -> None:
    """Before it happens: what leaves no trace does not happen."""
    await call.ask(
        catalogue.RECORD_AUDIT,
        RecordAudit(
            caller=call.caller,
            project=workload.project,
            action=action,
            entity="workload",
            entity_id=workload.id,
            entity_name=workload.name,
            detail=detail,
        ),
    )


@asynccontextmanager
async def opened(socket: WebSocket, protocol: str) -> AsyncIterator[None]:
    """The socket is open for the block, with the protocol if the client knows it by name; what the block raises is told to the client."""
    try:
        await socket.accept(subprotocol=protocol if protocol in socket.scope["subprotocols"] else None)
        yield
        await _close(socket, _NORMAL)
    except WebSocketDisconnect:
        return
    except LatticeError as error:
        await _tell(socket, error)


async def deny(socket: WebSocket, error: LatticeError) -> None:
    """Answer instead of opening it."""
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
