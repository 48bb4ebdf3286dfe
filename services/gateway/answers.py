"""How views become answers: JSON as they are, `ETag` from their version, 202 with `Location` for work that goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel
from starlette.responses import Response

from lattice.contracts.views import Accepted, AppAccepted, AppView, NodeView, WorkloadView
from services.gateway.schemas import UserView

JSON = "application/json"
Versioned = TypeVar("Versioned", NodeView, WorkloadView, AppView, UserView)


def answer(view: BaseModel, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A view as it is.  Written by pydantic at once: the framework would validate it a second time."""
    return Response(view.model_dump_json(), status_code=status, headers=headers, media_type=JSON)


def versioned(view: Versioned, *, status: int = 200) -> Response:
    """A view with its version as entity tag, for If-Match."""
    return answer(view, status=status, headers={"ETag": _etag(view.version)})


def accepted(view: Accepted) -> Response:
    """Work that goes on: 202, where to look, and the tag of the thing as it is now."""
    headers = {"Location": f"/v1/operations/{view.operation.id}"}
    changed = view.workload or view.node
    if changed is not None:
        headers["ETag"] = _etag(changed.version)
    return answer(view, status=202, headers=headers)


def accepted_app(view: AppAccepted) -> Response:
    """Work on several workloads that goes on: 202, where the app is, and its tag."""
    headers = {"Location": f"/v1/apps/{view.view.id}", "ETag": _etag(view.view.version)}
    return answer(view, status=202, headers=headers)


def nothing() -> Response:
    """Done, and there is nothing to say."""
    return Response(status_code=204)


def _etag(version: int) -> str:
    return f'"{version}"'
