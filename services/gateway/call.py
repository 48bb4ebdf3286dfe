"""One request on its way through the gateway, and the guard that every route stands behind.

`GuardedRoute` looks up the route's rule when the route is made (no rule, no route), and lets a request through to its handler only
after the rule allowed it.  What the handler needs to know of the request is in its `Call`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, NoReturn, TypeVar, get_args, get_origin

from fastapi import Depends
from fastapi._compat import ModelField
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from lattice.contracts.catalogue import Rpc
from lattice.contracts.messages import Caller
from lattice.contracts.nouns import Noun, Role
from lattice.errors import Invalid, LatticeError, NotFound, Unauthenticated
from services.gateway import requests
from services.gateway.audit import Act
from services.gateway.auth import Principal
from services.gateway.context import Gateway
from services.gateway.names import MAX_NAME, MIN_NAME, PROJECT_PATTERN
from services.gateway.policy import EVERY_PROJECT, Roles, Rule, Scope, refusal, role_in, rule_for

Q = TypeVar("Q", bound=Noun)
R = TypeVar("R", bound=Noun)

_NOBODY: Roles = {}
_PROJECT = re.compile(PROJECT_PATTERN)


@dataclass(slots=True)
class Call:
    """A request that was let in: from whom, about which project, with which conditions."""

    gateway: Gateway
    request_id: str
    path: str
    address: str
    rule: Rule
    project: str = EVERY_PROJECT
    authorization: str | None = None
    principal: Principal | None = None
    caller: Caller = field(default_factory=lambda: Caller(actor="anonymous"))
    checked: bool = False

    @property
    def me(self) -> Principal:
        """The caller; Unauthenticated on a public route."""
        if self.principal is None:
            raise Unauthenticated()
        return self.principal

    @property
    def project_or_all(self) -> str | None:
        """The project as list requests take it: None for all."""
        return None if self.project == EVERY_PROJECT else self.project

    async def ask(self, rpc: Rpc[Q, R], request: Q) -> R:
        """Ask a service over the bus."""
        return await self.gateway.bus.ask(rpc, request)

    async def require(self, role: Role, project: str | None) -> None:
        """Check the right over a thing that was loaded; `project` None means the platform."""
        self.checked = True
        refused = refusal(self._roles, role, project or EVERY_PROJECT)
        if refused is not None:
            await self._refuse(refused)

    async def require_for(self, role: Role, project: str | None, *, unseen: NotFound) -> None:
        """The same for a thing whose id says nothing of its project: who may not see it hears `unseen`, as if it did not exist."""
        if role_in(self._roles, project or EVERY_PROJECT) is None:
            self.checked = True
            await self._refuse(unseen)
        await self.require(role, project)

    @property
    def _roles(self) -> Roles:
        return self.principal.roles if self.principal else _NOBODY

    @asynccontextmanager
    async def refusals_kept(self, action: str, entity: str, name: str) -> AsyncIterator[None]:
        """Leave a trace of a wrong secret or token: `entity` and `name` are what was asked for with it."""
        try:
            yield
        except Unauthenticated as error:
            after = {"address": self.address, "reason": error.detail}
            act = Act(action=action, entity=entity, entity_id=name, after=after)
            await self.gateway.trail.keep(actor=self.caller.actor, request_id=self.request_id, act=act)
            raise

    async def _refuse(self, refused: LatticeError) -> NoReturn:
        """Leave a trace of it, and raise it."""
        act = Act(
            action="request.refused",
            entity="route",
            entity_id=self.path,
            project=self.project if self.rule.reads_project and self.project != EVERY_PROJECT else None,
            after={"code": refused.code, "needs": self.rule.role.value},
        )
        await self.gateway.trail.keep(actor=self.caller.actor, request_id=self.request_id, act=act)
        raise refused


class GuardedRoute(APIRoute):
    """A route that runs only after the policy allowed it."""

    takes_unknown = False
    """Whether parameters that the route does not know are left aside instead of refused."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The framework's handler behind our guard."""
        [method] = sorted(self.methods or ())  # a route is made with exactly one
        rule = rule_for(method, self.path)
        parameters = list(_query_parameters(self.dependant))
        known = frozenset(each.alias for each in parameters)
        lists = frozenset(each.alias for each in parameters if _is_list(each.field_info.annotation))
        known |= {"project"} if rule.reads_project else set()
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            call = await admit(request, rule, authorization=request.headers.get("authorization"))
            body = await request.body()
            if not self.takes_unknown:
                requests.check_query(request.query_params, known, lists)
            requests.check_text(request.query_params, request.path_params.values(), body)
            call.caller = _caller(call, request, body)
            response = await handle(request)
            _assert_checked(call)
            return response

        return guarded


def _query_parameters(dependant: Dependant) -> Iterator[ModelField]:
    """What a route takes from the query, itself and through what it depends on."""
    yield from dependant.query_params
    for each in dependant.dependencies:
        yield from _query_parameters(each)


def _is_list(annotation: Any) -> bool:
    return any(get_origin(each) is list for each in (annotation, *get_args(annotation)))


async def admit(connection: HTTPConnection, rule: Rule, *, authorization: str | None) -> Call:
    """Decide whether a request or a socket may come in; raises the refusal, which is audited."""
    gateway: Gateway = connection.app.state.gateway
    call = Call(
        gateway=gateway,
        request_id=connection.scope["state"]["request_id"],
        path=connection.url.path,
        address=connection.client.host if connection.client else "",
        rule=rule,
        authorization=authorization,
    )
    connection.scope["state"]["call"] = call
    if rule.scope is Scope.PUBLIC:
        return call
    call.principal = await gateway.authenticator.identify(call.authorization, address=call.address)
    call.caller = Caller(actor=call.principal.actor, request_id=call.request_id)
    if rule.scope is Scope.PLATFORM:
        await call.require(rule.role, None)
    elif rule.reads_project:
        call.project = _project(connection, rule)
        await call.require(rule.role, call.project)
    return call


def _project(connection: HTTPConnection, rule: Rule) -> str:
    named = connection.headers.get(rule.project_header) if rule.project_header else None
    project = connection.query_params.get("project", named or rule.default_project)
    takes_all = rule.scope is not Scope.PROJECT
    is_name = _PROJECT.fullmatch(project) is not None and MIN_NAME <= len(project) <= MAX_NAME
    if is_name or (project == EVERY_PROJECT and takes_all):
        return project
    wanted = "a project's name, or * for all" if takes_all else "a project's name"
    raise Invalid(
        f"?project= takes {wanted}.", errors=[{"pointer": "/query/project", "detail": f"give {wanted}"}]
    )


def _caller(call: Call, request: Request, body: bytes) -> Caller:
    key = requests.idempotency_key(request.headers)
    return Caller(
        actor=call.caller.actor,
        request_id=call.request_id,
        idempotency_key=key,
        request_hash=requests.request_hash(request.method, call.path, request.url.query, body) if key else "",
        if_match=requests.if_match(request.headers),
    )


def _assert_checked(call: Call) -> None:
    if call.rule.scope is Scope.ENTITY and not call.checked:
        raise LatticeError(f"{call.path} answered without checking the right over what it loaded")


async def _current(request: Request) -> Call:
    call: Call = request.scope["state"]["call"]
    return call


CurrentCall = Annotated[Call, Depends(_current)]
