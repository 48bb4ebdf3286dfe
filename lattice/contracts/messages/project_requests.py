"""Requests about what projects own: workloads, volumes, secrets, and the traces of it all."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from lattice.contracts.messages.facts import Fact
from lattice.contracts.messages.requests import Caller, Page
from lattice.contracts.messages.scheduling import TryPlacements
from lattice.contracts.nouns import Name, Noun
from lattice.contracts.spec import MAX_REPLICAS, WorkloadSpec
from lattice.contracts.views import PlanView


class CreateWorkload(Noun):
    caller: Caller
    project: Name = "default"
    spec: WorkloadSpec
    adopt: bool = False


class PlanWorkload(CreateWorkload):
    """What would this spec change?  As a deploy, or as an update of the workload of that name."""


class WorkloadPlan(Noun):
    """What would change, and what to ask the scheduler so as to know where the instances would go."""

    view: PlanView
    trial: TryPlacements


class WorkloadCommand(Noun):
    """Stop, start or restart a workload."""

    caller: Caller
    project: str = "default"
    workload: str


class DeleteWorkload(WorkloadCommand):
    volumes: bool = False


class UpdateWorkload(WorkloadCommand):
    """Give a workload a new spec: a whole one, or a JSON merge patch (RFC 7396) of the one it has."""

    spec: WorkloadSpec | None = None
    patch: dict[str, Any] | None = None
    adopt: bool = False


class ScaleWorkload(WorkloadCommand):
    replicas: Annotated[int, Field(ge=0, le=MAX_REPLICAS)]


class RollbackWorkload(WorkloadCommand):
    """Go back to an earlier revision; without a number, to the one before."""

    revision: Annotated[int, Field(ge=1)] | None = None


class ApplyApp(Noun):
    """Make an app as a compose file describes it: new, changed, and without what the file does not name any more."""

    caller: Caller
    project: Name = "default"
    app: Name
    compose: dict[str, Any]
    adopt: bool = False
    ignore_unsupported: bool = False


class DeleteApp(Noun):
    caller: Caller
    project: str = "default"
    app: str
    volumes: bool = False


class OperationCommand(Noun):
    caller: Caller
    operation: str


class DeleteVolume(Noun):
    caller: Caller
    project: str = "default"
    volume: str


class SetSecret(Noun):
    caller: Caller
    project: Name = "default"
    name: Name
    value: str = Field(min_length=1, max_length=65_536)


class RouteCommand(Noun):
    """Close a public name or port, or open it again."""

    caller: Caller
    route: str = Field(max_length=64, description="its id, or the first label of its name")
    reason: str = Field("", max_length=512, description="for the record, and for visitors")


class DeleteSecret(Noun):
    caller: Caller
    project: str = "default"
    name: str


class GetCredentials(Noun):
    """Revealing credentials is itself audited, hence the caller."""

    caller: Caller
    project: str = "default"
    workload: str


class CreateProject(Noun):
    caller: Caller
    name: Name


class RecordAudit(Noun):
    """An act that changes nothing in the registry but must leave a trace there: an exec, a refused request."""

    caller: Caller
    project: str | None = None
    action: str
    entity: str
    entity_id: str
    entity_name: str = ""
    detail: dict[str, Any] = {}


class ListFacts(Noun):
    """Facts after `after` in order of `seq`, at most `limit`; of one entity or project if given."""

    after: int = 0
    limit: Annotated[int, Field(ge=1, le=1000)] = 200
    project: str | None = None
    entity: str | None = None
    entity_id: str | None = None
    workload_id: str | None = None
    newest_first: bool = False


class FactsPage(Noun):
    facts: tuple[Fact, ...]
    head: int = Field(description="the newest seq so far")


class ListAudit(Page):
    project: str | None = None
    actor: str | None = None
    action: str | None = None


class Empty(Noun):
    """A request without parameters."""
