"""Operations, volumes, secrets and projects."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from lattice.contracts import catalogue
from lattice.contracts.messages import (
    CreateProject,
    DeleteSecret,
    DeleteVolume,
    GetByName,
    ListInProject,
    OperationCommand,
    Page,
    SetSecret,
)
from lattice.contracts.views import Listing, OperationView, ProjectView, SecretView, VolumeView
from lattice.errors import NotFound
from services.gateway.answers import answer, nothing
from services.gateway.call import Call, CurrentCall, GuardedRoute
from services.gateway.names import PathName, Ref
from services.gateway.policy import role_in
from services.gateway.routes.paging import PageOf
from services.gateway.schemas import CreateProjectBody, SecretValue

router = APIRouter(route_class=GuardedRoute)


@router.get("/v1/operations", response_model=Listing[OperationView], tags=["operations"])
async def list_operations(call: CurrentCall, page: PageOf) -> Response:
    """Operations, newest first."""
    request = ListInProject(**dict(page), project=call.project_or_all)
    return answer(await call.ask(catalogue.LIST_OPERATIONS, request))


async def _operation(call: Call, ref: str) -> OperationView:
    """An operation that the caller may see with the right that the route needs."""
    unseen = NotFound(f"There is no operation {ref!r} that you can see.")
    try:
        operation = await call.ask(catalogue.GET_OPERATION, GetByName(ref=ref))
    except NotFound:
        raise unseen from None
    await call.require_for(call.rule.role, operation.project, unseen=unseen)
    return operation


@router.get("/v1/operations/{id}", response_model=OperationView, tags=["operations"])
async def get_operation(call: CurrentCall, ref: Ref) -> Response:
    """One operation."""
    return answer(await _operation(call, ref))


@router.post("/v1/operations/{id}/cancel", response_model=OperationView, tags=["operations"])
async def cancel_operation(call: CurrentCall, ref: Ref) -> Response:
    """Stop an operation and undo what it began."""
    operation = await _operation(call, ref)
    request = OperationCommand(caller=call.caller, operation=operation.id)
    return answer(await call.ask(catalogue.CANCEL_OPERATION, request))


@router.get("/v1/volumes", response_model=Listing[VolumeView], tags=["volumes"])
async def list_volumes(call: CurrentCall, page: PageOf) -> Response:
    """The volumes of a project, or of all."""
    request = ListInProject(**dict(page), project=call.project_or_all)
    return answer(await call.ask(catalogue.LIST_VOLUMES, request))


@router.get("/v1/volumes/{id}", response_model=VolumeView, tags=["volumes"])
async def get_volume(call: CurrentCall, ref: Ref) -> Response:
    """One volume: where it is, what uses it, and what its state means."""
    return answer(await call.ask(catalogue.GET_VOLUME, GetByName(ref=ref, project=call.project)))


@router.delete("/v1/volumes/{id}", status_code=204, tags=["volumes"])
async def delete_volume(call: CurrentCall, ref: Ref) -> Response:
    """Remove a released volume with its data."""
    await call.ask(
        catalogue.DELETE_VOLUME, DeleteVolume(caller=call.caller, project=call.project, volume=ref)
    )
    return nothing()


@router.get("/v1/secrets", response_model=Listing[SecretView], tags=["secrets"])
async def list_secrets(call: CurrentCall, page: PageOf) -> Response:
    """Names of secrets, never values."""
    request = ListInProject(**dict(page), project=call.project_or_all)
    return answer(await call.ask(catalogue.LIST_SECRETS, request))


@router.put("/v1/secrets/{name}", response_model=SecretView, tags=["secrets"])
async def set_secret(call: CurrentCall, name: PathName, body: SecretValue) -> Response:
    """A new version of a secret.  Running workloads keep theirs until they are deployed anew."""
    request = SetSecret(caller=call.caller, project=call.project, name=name, value=body.value)
    return answer(await call.ask(catalogue.SET_SECRET, request))


@router.delete("/v1/secrets/{name}", status_code=204, tags=["secrets"])
async def delete_secret(call: CurrentCall, name: PathName) -> Response:
    """Remove a secret that nothing uses."""
    await call.ask(catalogue.DELETE_SECRET, DeleteSecret(caller=call.caller, project=call.project, name=name))
    return nothing()


@router.get("/v1/projects", response_model=Listing[ProjectView], tags=["projects"])
async def list_projects(call: CurrentCall, page: PageOf) -> Response:
    """The projects in which the caller has a role."""
    listing = await call.ask(catalogue.LIST_PROJECTS, Page(**dict(page)))
    seen = tuple(item for item in listing.items if role_in(call.me.roles, item.name) is not None)
    return answer(listing.model_copy(update={"items": seen}))


@router.post("/v1/projects", status_code=201, response_model=ProjectView, tags=["projects"])
async def create_project(call: CurrentCall, body: CreateProjectBody) -> Response:
    """Make a project."""
    request = CreateProject(caller=call.caller, name=body.name)
    return answer(await call.ask(catalogue.CREATE_PROJECT, request), status=201)
