"""Workloads: deploy, look, update, scale, stop, start, remove."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from lattice.contracts import catalogue
from lattice.contracts.catalogue import Rpc
from lattice.contracts.messages import (
    CreateWorkload,
    DeleteWorkload,
    Empty,
    Fact,
    GetByName,
    GetCredentials,
    ListFacts,
    ListInProject,
    ListRuns,
    PlanWorkload,
    RollbackWorkload,
    ScaleWorkload,
    TriedPlacement,
    TryPlacements,
    UpdateWorkload,
    WorkloadCommand,
)
from lattice.contracts.nouns import Role
from lattice.contracts.spec import WorkloadSpec
from lattice.contracts.views import (
    Accepted,
    CredentialsView,
    InstanceView,
    JobRunView,
    Listing,
    PlacementView,
    PlannedPlacement,
    PlanView,
    RejectedNodeView,
    RevisionView,
    TemplateView,
    WorkloadView,
)
from lattice.errors import Temporary
from services.gateway.answers import accepted, answer, versioned
from services.gateway.call import Call, CurrentCall, GuardedRoute
from services.gateway.names import Ref
from services.gateway.routes.paging import PageOf
from services.gateway.schemas import Flag, RollbackBody, ScaleBody, SpecPatch

router = APIRouter(route_class=GuardedRoute, tags=["workloads"])


@router.get("/v1/templates", response_model=Listing[TemplateView])
async def list_templates(call: CurrentCall) -> Response:
    """The service catalogue."""
    return answer(await call.ask(catalogue.LIST_TEMPLATES, Empty()))


@router.post("/v1/workloads", status_code=202, response_model=Accepted)
async def deploy(call: CurrentCall, spec: WorkloadSpec, *, adopt: Flag = False) -> Response:
    """Deploy.  `adopt` takes over released volumes of the same name, with their data."""
    request = CreateWorkload(caller=call.caller, project=call.project, spec=spec, adopt=adopt)
    return accepted(await call.ask(catalogue.CREATE_WORKLOAD, request))


@router.post("/v1/workloads/plan", response_model=PlanView)
async def plan(call: CurrentCall, spec: WorkloadSpec, *, adopt: Flag = False) -> Response:
    """What a deploy of this spec, or an update to it, would change, and where its instances would go.  Changes nothing."""
    request = PlanWorkload(caller=call.caller, project=call.project, spec=spec, adopt=adopt)
    planned = await call.ask(catalogue.PLAN_WORKLOAD, request)
    return answer(planned.view.model_copy(update=await _tried(call, planned.trial)))


async def _tried(call: Call, trial: TryPlacements) -> dict[str, object]:
    """Where the instances would go; a plan without it is still a plan."""
    if not trial.steps:
        return {}
    try:
        answered = await call.ask(catalogue.TRY_PLACEMENTS, trial)
    except Temporary as error:
        return {"placements_missing": f"the scheduler does not answer: {error.detail}"}
    return {"placements": tuple(_planned(each) for each in answered.tried)}


def _planned(tried: TriedPlacement) -> PlannedPlacement:
    rejected = (
        RejectedNodeView(node=each.node_name, filter=each.filter, reason=each.reason)
        for each in tried.rejected
    )
    return PlannedPlacement(
        slot=tried.slot, node=tried.node_name, reason=tried.reason, rejected=tuple(rejected)
    )


@router.get("/v1/workloads", response_model=Listing[WorkloadView])
async def list_workloads(call: CurrentCall, page: PageOf) -> Response:
    """The workloads of a project, or of all."""
    request = ListInProject(**dict(page), project=call.project_or_all)
    return answer(await call.ask(catalogue.LIST_WORKLOADS, request))


async def load(call: Call, ref: str) -> WorkloadView:
    """A workload of the call's project by id or name."""
    return await call.ask(catalogue.GET_WORKLOAD, GetByName(ref=ref, project=call.project))


@router.get("/v1/workloads/{id}", response_model=WorkloadView)
async def get_workload(call: CurrentCall, ref: Ref) -> Response:
    """One workload with its instances, routes and placement."""
    return versioned(await load(call, ref))


@router.put("/v1/workloads/{id}", status_code=202, response_model=Accepted)
async def replace_spec(call: CurrentCall, ref: Ref, spec: WorkloadSpec, *, adopt: Flag = False) -> Response:
    """Roll out a whole new spec; the old instances serve until the new ones do, and come back if these fail."""
    request = UpdateWorkload(caller=call.caller, project=call.project, workload=ref, spec=spec, adopt=adopt)
    return accepted(await call.ask(catalogue.UPDATE_WORKLOAD, request))


@router.patch("/v1/workloads/{id}", status_code=202, response_model=Accepted)
async def change_spec(call: CurrentCall, ref: Ref, patch: SpecPatch) -> Response:
    """Roll out a change of the spec, given as a JSON merge patch (RFC 7396)."""
    request = UpdateWorkload(caller=call.caller, project=call.project, workload=ref, patch=patch)
    return accepted(await call.ask(catalogue.UPDATE_WORKLOAD, request))


@router.post("/v1/workloads/{id}/scale", status_code=202, response_model=Accepted)
async def scale(call: CurrentCall, ref: Ref, body: ScaleBody) -> Response:
    """Change how many instances run; those that stay are not touched."""
    request = ScaleWorkload(caller=call.caller, project=call.project, workload=ref, replicas=body.replicas)
    return accepted(await call.ask(catalogue.SCALE_WORKLOAD, request))


@router.post("/v1/workloads/{id}/rollback", status_code=202, response_model=Accepted)
async def rollback(call: CurrentCall, ref: Ref, body: RollbackBody | None = None) -> Response:
    """Run an earlier revision again, with its image, environment and versions of secrets."""
    revision = body.revision if body else None
    request = RollbackWorkload(caller=call.caller, project=call.project, workload=ref, revision=revision)
    return accepted(await call.ask(catalogue.ROLLBACK_WORKLOAD, request))


@router.delete("/v1/workloads/{id}", status_code=202, response_model=Accepted)
async def delete_workload(call: CurrentCall, ref: Ref, *, volumes: Flag = False) -> Response:
    """Remove a workload; its volumes are kept unless `volumes` is true, which needs the right to remove volumes."""
    if volumes:
        await call.require(Role.OPERATOR, call.project)
    request = DeleteWorkload(caller=call.caller, project=call.project, workload=ref, volumes=volumes)
    return accepted(await call.ask(catalogue.DELETE_WORKLOAD, request))


async def _command(call: Call, rpc: Rpc[WorkloadCommand, Accepted], ref: str) -> Response:
    return accepted(
        await call.ask(rpc, WorkloadCommand(caller=call.caller, project=call.project, workload=ref))
    )


@router.post("/v1/workloads/{id}/start", status_code=202, response_model=Accepted)
async def start(call: CurrentCall, ref: Ref) -> Response:
    """Start a stopped workload."""
    return await _command(call, catalogue.START_WORKLOAD, ref)


@router.post("/v1/workloads/{id}/stop", status_code=202, response_model=Accepted)
async def stop(call: CurrentCall, ref: Ref) -> Response:
    """Stop all instances; they keep their place."""
    return await _command(call, catalogue.STOP_WORKLOAD, ref)


@router.post("/v1/workloads/{id}/restart", status_code=202, response_model=Accepted)
async def restart(call: CurrentCall, ref: Ref) -> Response:
    """Replace every instance by a new one."""
    return await _command(call, catalogue.RESTART_WORKLOAD, ref)


@router.get("/v1/workloads/{id}/instances", response_model=Listing[InstanceView])
async def instances(call: CurrentCall, ref: Ref) -> Response:
    """What runs for a workload, and where."""
    return answer(Listing[InstanceView](items=(await load(call, ref)).instances))


@router.get("/v1/workloads/{id}/placement", response_model=Listing[PlacementView])
async def placement(call: CurrentCall, ref: Ref) -> Response:
    """Why each instance is where it is, or why it has no place."""
    return answer(Listing[PlacementView](items=(await load(call, ref)).placement))


@router.get("/v1/workloads/{id}/revisions", response_model=Listing[RevisionView])
async def revisions(call: CurrentCall, ref: Ref) -> Response:
    """The specs of a workload over time."""
    return answer(await call.ask(catalogue.LIST_REVISIONS, GetByName(ref=ref, project=call.project)))


@router.get("/v1/workloads/{id}/runs", response_model=Listing[JobRunView])
async def runs(call: CurrentCall, ref: Ref, page: PageOf) -> Response:
    """The runs of a job, newest first: why each began, how it ended."""
    return answer(await call.ask(catalogue.LIST_RUNS, ListRuns(**dict(page), ref=ref, project=call.project)))


@router.post("/v1/workloads/{id}/runs", status_code=202, response_model=JobRunView)
async def run_job(call: CurrentCall, ref: Ref) -> Response:
    """Run a job now, whatever its schedule says.  Look at its runs for how it goes."""
    request = WorkloadCommand(caller=call.caller, project=call.project, workload=ref)
    return answer(await call.ask(catalogue.RUN_JOB, request), status=202)


@router.get("/v1/workloads/{id}/events", response_model=Listing[Fact])
async def events(call: CurrentCall, ref: Ref, limit: Annotated[int, Query(ge=1, le=1000)] = 200) -> Response:
    """What happened to a workload, newest first."""
    workload = await load(call, ref)
    request = ListFacts(workload_id=workload.id, limit=limit, newest_first=True)
    page = await call.ask(catalogue.LIST_FACTS, request)
    return answer(Listing[Fact](items=page.facts))


@router.get("/v1/workloads/{id}/credentials", response_model=CredentialsView)
async def credentials(call: CurrentCall, ref: Ref) -> Response:
    """How to reach a workload, with its password.  Each look is audited."""
    request = GetCredentials(caller=call.caller, project=call.project, workload=ref)
    return answer(await call.ask(catalogue.GET_CREDENTIALS, request))
