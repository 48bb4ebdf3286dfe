"""Every route against every kind of caller: generated from the policy table, so a new route is in the matrix at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute, APIWebSocketRoute

from lattice.contracts.messages import Trouble, TroubleKind
from lattice.contracts.nouns import Role
from services.gateway.app import all_routes, check_policy
from services.gateway.call import GuardedRoute
from services.gateway.policy import POLICY, NoPolicy, Rule, Scope, limited, refusal
from tests.fixtures.gateway import World, running_gateway

_BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/v1/auth/login"): {"username": "nobody", "password": "x"},
    ("POST", "/v1/auth/setup"): {"secret": "x", "username": "root", "password": "long enough"},
    ("POST", "/v1/tokens"): {"name": "t"},
    ("POST", "/v1/users"): {"username": "new"},
    ("PATCH", "/v1/users/{id}"): {"password": "long enough", "current_password": "x"},
    ("POST", "/v1/projects"): {"name": "new"},
    ("POST", "/v1/join-tokens"): {},
    ("PATCH", "/v1/nodes/{id}"): {"pool": "edge"},
    ("POST", "/v1/workloads"): {"name": "new", "image": "test"},
    ("PUT", "/v1/secrets/{name}"): {"value": "x"},
    ("POST", "/v1/nodes/{id}/renew"): {"csr_pem": "x"},
    ("POST", "/v1/nodes/register"): {"token": "good", "name": "n1", "csr_pem": "x", "nkey": "x", "sealing_key": "x"},
    ("POST", "/v1/alerts/{id}/silence"): {"for_s": 600, "reason": "x"},
    ("POST", "/v1/sinks"): {"name": "chat", "url": "ntfy://ntfy.test/x"},
    ("POST", "/v1/alertmanager"): {"version": "4", "alerts": []},
    ("POST", "/v1/sre-credentials"): {"name": "pager"},
    ("POST", "/v1/silences"): {"project": "own", "for_s": 600, "reason": "x"},
}  # fmt: skip
_ROUTES = [route for route in POLICY if route[0] != "WS"]
TROUBLE = Trouble(
    kind=TroubleKind.DEPLOY_FAILED, project="own", entity_id="wl-1", entity_name="web", detail="it failed"
)
_ROLES: list[Role | None] = [None, *Role]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path) as world:
        world.registry.add_node()
        world.registry.add_workload("web", project="own")
        await world.look(TROUBLE)
        yield world


async def _alert(world: World) -> str:
    """An alert of the project that is not over."""
    return str((await world.get("/v1/alerts")).json()["items"][0]["id"])


async def _silence(world: World) -> str:
    """A silence of the project."""
    made = await world.post("/v1/silences", json=_BODIES[("POST", "/v1/silences")])
    return str(made.json()["id"])


_PLACES = {"/v1/alerts/{id}": _alert, "/v1/silences/{id}": _silence}


def _path(world: World, path: str) -> str:
    if path.startswith("/v1/operations/{id}"):
        return path.replace("{id}", world.registry.add_operation(project="own").id)
    if path.startswith("/v1/volumes/{id}"):
        return path.replace("{id}", world.registry.add_volume(project="own").id)
    if path.startswith("/v1/workloads/{id}"):
        return path.replace("{id}", "web")
    if path.startswith("/v1/tokens/{id}"):
        return path.replace("{id}", "tk-00000000000000000000000000")
    return path.replace("{id}", "one").replace("{name}", "api-key")


async def _status(world: World, route: tuple[str, str], as_: str | None) -> int:
    method, template = route
    rule = POLICY[route]
    place = next((look for prefix, look in _PLACES.items() if template.startswith(prefix)), None)
    url = template.replace("{id}", await place(world)) if place else _path(world, template)
    params = {"project": "own"} if rule.reads_project else {}
    body = {"json": _BODIES[route]} if route in _BODIES else {}
    answer = await world.request(method, url, as_=as_, params=params, **body)
    return answer.status_code


def _allowed(rule: Rule, role: Role | None, *, platform: bool) -> bool:
    if rule.scope in (Scope.PUBLIC, Scope.SIGNED_IN):
        return True
    if rule.scope is Scope.PLATFORM and not platform:
        return False
    return role is not None and role.allows(rule.role)


@pytest.mark.parametrize("platform", [True, False], ids=["platform", "project"])
@pytest.mark.parametrize("role", _ROLES, ids=str)
async def test_a_role_opens_exactly_its_routes(world: World, role: Role | None, platform: bool) -> None:
    roles = {} if role is None else {"*" if platform else "own": role}
    await world.add_user("somebody", roles)
    for route in _ROUTES:
        status = await _status(world, route, "somebody")
        rule = POLICY[route]
        if _allowed(rule, role, platform=platform):
            assert status not in (401, 403) or _answers_of_its_own(route, status), (route, status)
        else:
            assert status in (403, 404), (route, status)


def _answers_of_its_own(route: tuple[str, str], status: int) -> bool:
    """Refusals that come from what the request says, not from the caller's roles."""
    proven = {
        ("POST", "/v1/auth/login"),
        ("POST", "/v1/auth/setup"),
        ("GET", "/v1/nodes/register/{id}"),
        ("POST", "/v1/nodes/{id}/renew"),
    }
    return (status == 401 and route in proven) or (status == 403 and route == ("PATCH", "/v1/users/{id}"))


@pytest.mark.parametrize("role", list(Role), ids=str)
async def test_a_foreign_project_is_as_if_it_were_not_there(world: World, role: Role) -> None:
    await world.add_user("stranger", {"other": role})
    for route in _ROUTES:
        rule = POLICY[route]
        if rule.reads_project or rule.scope is Scope.ENTITY:
            assert await _status(world, route, "stranger") == 404, route


async def test_an_unknown_operation_and_a_foreign_one_look_alike(world: World) -> None:
    await world.add_user("stranger", {"other": Role.ADMIN})
    foreign = world.registry.add_operation(project="own").id
    unknown = foreign[:-1] + ("0" if foreign[-1] != "0" else "1")
    answers = [await world.get(f"/v1/operations/{ref}", as_="stranger") for ref in (foreign, unknown)]
    details = [
        answer.json()["detail"].replace(ref, "")
        for answer, ref in zip(answers, (foreign, unknown), strict=True)
    ]
    assert details[0] == details[1]


async def test_nobody_gets_only_what_is_public(world: World) -> None:
    for route in _ROUTES:
        status = await _status(world, route, None)
        if POLICY[route].scope is Scope.PUBLIC:
            assert status != 401 or _answers_of_its_own(route, status), route
        else:
            assert status == 401, route


@pytest.mark.parametrize(("role", "status"), [(Role.DEPLOYER, 403), (Role.OPERATOR, 202)])
async def test_data_goes_only_with_the_right_to_remove_volumes(world: World, role: Role, status: int) -> None:
    world.registry.add_workload("web", project="own")
    await world.add_user("somebody", {"own": role})
    gone = await world.request(
        "DELETE", "/v1/workloads/web", as_="somebody", params={"project": "own", "volumes": "true"}
    )
    assert gone.status_code == status
    kept = await world.request("DELETE", "/v1/workloads/web", as_="somebody", params={"project": "own"})
    assert kept.status_code != 403


async def test_refusals_are_audited(world: World) -> None:
    await world.add_user("viewer", {"own": Role.VIEWER})
    assert (
        await world.post("/v1/workloads/web/stop", as_="viewer", params={"project": "own"})
    ).status_code == 403
    rows = (await world.get("/v1/audit", params={"action": "request.refused"})).json()["items"]
    assert [(row["actor"], row["entity_id"]) for row in rows] == [("user:viewer", "/v1/workloads/web/stop")]


def _methods(route: APIRoute | APIWebSocketRoute) -> set[str]:
    return (route.methods or set()) if isinstance(route, APIRoute) else {"WS"}


def test_every_route_has_a_rule_and_every_rule_a_route() -> None:
    routes = [route for route in all_routes() if isinstance(route, (APIRoute, APIWebSocketRoute))]
    check_policy(list(routes))
    assert len(routes) == len(all_routes())
    served = {(method, route.path) for route in routes for method in _methods(route)}
    assert served == set(POLICY)


def test_a_route_without_a_rule_cannot_be_made() -> None:
    router = APIRouter(route_class=GuardedRoute)
    with pytest.raises(NoPolicy, match="/v1/forgotten"):

        @router.get("/v1/forgotten")
        async def forgotten() -> None: ...


def test_a_route_beside_the_guard_is_found() -> None:
    router = APIRouter()

    @router.get("/healthz")
    async def unguarded() -> None: ...

    with pytest.raises(NoPolicy, match="not a guarded route"):
        check_policy(router.routes)


@pytest.mark.parametrize(
    ("roles", "role", "project", "left"),
    [
        ({"*": Role.ADMIN}, Role.VIEWER, None, {"*": Role.VIEWER}),
        ({"*": Role.ADMIN}, None, "own", {"own": Role.ADMIN}),
        ({"*": Role.VIEWER, "own": Role.OPERATOR}, Role.DEPLOYER, "own", {"own": Role.DEPLOYER}),
        ({"own": Role.VIEWER}, Role.ADMIN, None, {"own": Role.VIEWER}),
        ({"own": Role.VIEWER}, None, "other", {}),
    ],
)
def test_a_tokens_limits_only_take_away(
    roles: dict[str, Role], role: Role | None, project: str | None, left: dict[str, Role]
) -> None:
    assert limited(roles, role=role, project=project) == left


def test_the_refusal_names_what_is_missing() -> None:
    refused = refusal({"own": Role.VIEWER}, Role.OPERATOR, "own")
    assert refused is not None
    assert "operator" in refused.detail
    assert "viewer" in refused.detail
