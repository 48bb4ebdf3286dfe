"""A compose file as it is applied: mapped to specs, each joined with what does not need the transaction (images, sizes)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from lattice.compose_file.reading import AppService, read_app
from lattice.contracts.messages import ApplyApp, Caller, CreateWorkload
from lattice.contracts.views import ComposeFinding
from lattice.errors import FieldError, Invalid
from services.registry import app_plan
from services.registry.workload_create import Prepared, prepare
from services.registry.workload_deps import WorkloadDeps


@dataclass(frozen=True, slots=True)
class Wanted:
    """A service of the file with everything that does not need the transaction."""

    service: AppService
    request: CreateWorkload
    prepared: Prepared


@dataclass(frozen=True, slots=True)
class Reading:
    """A file as it is applied."""

    wanted: Sequence[Wanted]
    ignored: Sequence[ComposeFinding]
    notes: Sequence[ComposeFinding]

    @property
    def services(self) -> list[AppService]:
        return [each.service for each in self.wanted]


async def read(deps: WorkloadDeps, request: ApplyApp) -> Reading:
    file = read_app(request.compose, request.app)
    ignored = app_plan.left_out(file, ignore_unsupported=request.ignore_unsupported)
    prepared = await asyncio.gather(*(_prepare(deps, request, each) for each in file.services))
    return Reading(prepared, ignored, app_plan.told(file.notes))


async def _prepare(deps: WorkloadDeps, request: ApplyApp, service: AppService) -> Wanted:
    wanted = CreateWorkload(
        caller=without_conditions(request.caller),
        project=request.project,
        spec=service.spec,
        adopt=request.adopt,
    )
    with told_of(service.service):
        return Wanted(service, wanted, await prepare(deps, wanted))


@contextmanager
def told_of(service: str) -> Iterator[None]:
    """What is wrong with a service is told with its name, and with pointers into the compose file."""
    try:
        yield
    except Invalid as error:
        errors = [
            FieldError(pointer=f"/services/{service}{each['pointer']}", detail=each["detail"])
            for each in error.errors
        ]
        raise Invalid(f"service {service}: {error.detail}", errors=errors) from error


def without_conditions(caller: Caller) -> Caller:
    """The caller for the requests of which this one is made: its key and its condition are about the app."""
    return caller.model_copy(update={"idempotency_key": None, "if_match": None})
