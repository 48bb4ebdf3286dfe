"""Apps: the workloads of a compose file, applied, shown and removed together."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from lattice.contracts import catalogue
from lattice.contracts.messages import ApplyApp, DeleteApp, GetByName, ListInProject
from lattice.contracts.nouns import Role
from lattice.contracts.views import AppAccepted, AppPlan, AppView, Listing
from services.gateway.answers import accepted_app, answer, versioned
from services.gateway.call import Call, CurrentCall, GuardedRoute
from services.gateway.names import MAX_NAME, MIN_NAME, PROJECT_PATTERN, Ref
from services.gateway.routes.paging import PageOf
from services.gateway.schemas import ComposeDocument, Flag

router = APIRouter(route_class=GuardedRoute, tags=["apps"])
AppName = Annotated[
    str,
    Path(
        alias="id",
        pattern=PROJECT_PATTERN,
        min_length=MIN_NAME,
        max_length=MAX_NAME,
        description="the app's name",
    ),
]


@router.get("/v1/apps", response_model=Listing[AppView])
async def list_apps(call: CurrentCall, page: PageOf) -> Response:
    """The apps of a project, or of all."""
    request = ListInProject(**dict(page), project=call.project_or_all)
    return answer(await call.ask(catalogue.LIST_APPS, request))


@router.get("/v1/apps/{id}", response_model=AppView)
async def get_app(call: CurrentCall, ref: Ref) -> Response:
    """One app with its services."""
    return versioned(await call.ask(catalogue.GET_APP, GetByName(ref=ref, project=call.project)))


def _request(
    call: Call, name: str, compose: ComposeDocument, *, adopt: bool, ignore_unsupported: bool
) -> ApplyApp:
    return ApplyApp(
        caller=call.caller,
        project=call.project,
        app=name,
        compose=compose,
        adopt=adopt,
        ignore_unsupported=ignore_unsupported,
    )


@router.put("/v1/apps/{id}", status_code=202, response_model=AppAccepted)
async def apply_app(
    call: CurrentCall,
    name: AppName,
    compose: ComposeDocument,
    *,
    adopt: Flag = False,
    ignore_unsupported: Flag = False,
) -> Response:
    """Make an app as a compose file describes it: services that are new are made, changed ones updated, and those that the file does not name
    any more are removed (their volumes stay).  The body is the file as JSON, with its variables filled.  What is not supported is refused with its
    place, or left out and named in `ignored` with `ignore_unsupported`."""
    request = _request(call, name, compose, adopt=adopt, ignore_unsupported=ignore_unsupported)
    return accepted_app(await call.ask(catalogue.APPLY_APP, request))


@router.post("/v1/apps/{id}/plan", response_model=AppPlan)
async def plan_app(
    call: CurrentCall, name: AppName, compose: ComposeDocument, *, ignore_unsupported: Flag = False
) -> Response:
    """What applying a compose file would do now.  Changes nothing."""
    request = _request(call, name, compose, adopt=False, ignore_unsupported=ignore_unsupported)
    return answer(await call.ask(catalogue.PLAN_APP, request))


@router.delete("/v1/apps/{id}", status_code=202, response_model=AppAccepted)
async def delete_app(call: CurrentCall, ref: Ref, *, volumes: Flag = False) -> Response:
    """Remove all workloads of an app; their volumes are kept unless `volumes` is true, which needs the right to remove volumes."""
    if volumes:
        await call.require(Role.OPERATOR, call.project)
    request = DeleteApp(caller=call.caller, project=call.project, app=ref, volumes=volumes)
    return accepted_app(await call.ask(catalogue.DELETE_APP, request))
