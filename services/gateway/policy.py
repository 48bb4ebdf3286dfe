"""Who may do what: one table from route to the right that it needs.  What is not in the table does not exist.

`Scope` says over what the right is needed.  A thing of a project in which the caller has no role at all is as if it were not there (404);
a caller who can see the project but lacks the right is told so (403).  Pure: the decision is a function of the rule, the caller's roles
and the project.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from lattice.contracts.nouns import Role
from lattice.errors import Forbidden, LatticeError, NotFound

EVERY_PROJECT = (
    "*"  # a binding to all projects and to the platform itself; as ?project= it asks for all of them
)
DEFAULT_PROJECT = "default"


class Scope(Enum):
    """Over what a right is needed."""

    PUBLIC = "nobody needs to be signed in"
    SIGNED_IN = "anybody who is signed in; the answer shows only what is the caller's"
    PLATFORM = "the platform: a role in all projects"
    PROJECT = "the project of ?project="
    PROJECTS = "the project of ?project=, or all with *"
    WIDE = "all projects, or only the one of ?project="
    ENTITY = "the project of the thing itself, checked by the route when it is loaded"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a route needs."""

    scope: Scope
    role: Role = Role.VIEWER
    project_header: str | None = None

    @property
    def reads_project(self) -> bool:
        """Whether the route takes `?project=`."""
        return self.scope in (Scope.PROJECT, Scope.PROJECTS, Scope.WIDE)

    @property
    def default_project(self) -> str:
        """The project that is meant when none is named."""
        return EVERY_PROJECT if self.scope is Scope.WIDE else DEFAULT_PROJECT


Route = tuple[str, str]  # method (or WS) and path template
Roles = Mapping[str, Role]


def _rules(scope: Scope, role: Role, *routes: str) -> Iterable[tuple[Route, Rule]]:
    for route in routes:
        method, path = route.split(" ")
        yield (method, path), Rule(scope, role)


def _read_like_loki(*paths: str) -> Iterable[tuple[Route, Rule]]:
    """The right over logs, whatever their form; Loki's clients name the project as its tenant."""
    rule = Rule(Scope.PROJECTS, Role.VIEWER, project_header="x-scope-orgid")
    for path in paths:
        yield ("WS" if path == "tail" else "GET", f"/v1/loki/api/v1/{path}"), rule


POLICY: Mapping[Route, Rule] = dict(
    [
        *_rules(
            Scope.PUBLIC,
            Role.VIEWER,
            "GET /healthz",
            "GET /readyz",
            "GET /openapi.json",
            "GET /docs",
            "GET /docs/style.css",
            "GET /v1/ca",
            "POST /v1/auth/login",
            "POST /v1/auth/setup",
            # A machine that asks for membership has no account: a join token or the signature of its own key speaks for it.
            "POST /v1/nodes/register",
            "GET /v1/nodes/register/{id}",
            "POST /v1/nodes/{id}/renew",
        ),
        *_rules(
            Scope.SIGNED_IN,
            Role.VIEWER,
            "POST /v1/auth/logout",
            "GET /v1/me",
            "GET /v1/projects",
            "GET /v1/templates",
            "GET /v1/tokens",
            "POST /v1/tokens",
            "DELETE /v1/tokens/{id}",
            "PATCH /v1/users/{id}",
        ),
        *_rules(Scope.PLATFORM, Role.VIEWER, "GET /metrics", "GET /v1/nodes", "GET /v1/nodes/{id}",
               "GET /v1/nodes/{id}/events", "GET /v1/nodes/{id}/metrics", "GET /v1/stats/nodes", "GET /v1/prometheus/targets",
               "GET /v1/prometheus/nodes", "GET /v1/prometheus/nodes/{id}", "GET /v1/prometheus/services/{id}"),
        *_rules(
            Scope.PLATFORM,
            Role.OPERATOR,
            "GET /v1/platform/logs",
            "GET /v1/sinks",
            "GET /v1/deliveries",
            "POST /v1/alertmanager",
            "POST /v1/nodes/{id}/cordon",
            "POST /v1/nodes/{id}/uncordon",
            "POST /v1/nodes/{id}/drain",
            "POST /v1/nodes/{id}/confirm-lost",
            "PATCH /v1/nodes/{id}",
            "POST /v1/routes/{id}/take-down",
            "POST /v1/routes/{id}/restore",
        ),
        *_rules(
            Scope.PLATFORM,
            Role.ADMIN,
            "POST /v1/join-tokens",
            "POST /v1/nodes/{id}/approve",
            "POST /v1/nodes/{id}/reject",
            "POST /v1/nodes/{id}/revoke",
            "DELETE /v1/nodes/{id}",
            "POST /v1/projects",
            "POST /v1/sinks",
            "DELETE /v1/sinks/{id}",
            "POST /v1/sinks/{id}/test",
            "GET /v1/sre-credentials",
            "POST /v1/sre-credentials",
            "DELETE /v1/sre-credentials/{id}",
            "GET /v1/users",
            "POST /v1/users",
            "DELETE /v1/users/{id}",
        ),
        *_rules(
            Scope.PROJECT,
            Role.VIEWER,
            "GET /v1/workloads/{id}",
            "GET /v1/workloads/{id}/instances",
            "GET /v1/workloads/{id}/revisions",
            "GET /v1/workloads/{id}/runs",
            "GET /v1/workloads/{id}/events",
            "GET /v1/workloads/{id}/placement",
            "GET /v1/workloads/{id}/logs",
            "GET /v1/workloads/{id}/metrics",
            "GET /v1/apps/{id}",
            "GET /v1/volumes/{id}",
        ),
        *_rules(
            Scope.PROJECT,
            Role.DEPLOYER,
            "POST /v1/workloads",
            "POST /v1/workloads/plan",
            "PUT /v1/workloads/{id}",
            "PATCH /v1/workloads/{id}",
            "DELETE /v1/workloads/{id}",
            "POST /v1/workloads/{id}/scale",
            "POST /v1/workloads/{id}/rollback",
            "POST /v1/workloads/{id}/start",
            "POST /v1/workloads/{id}/stop",
            "POST /v1/workloads/{id}/restart",
            "PUT /v1/apps/{id}",
            "POST /v1/apps/{id}/plan",
            "DELETE /v1/apps/{id}",
            "POST /v1/workloads/{id}/runs",
            "GET /v1/workloads/{id}/credentials",
            "WS /v1/workloads/{id}/forward",
            "PUT /v1/secrets/{name}",
            "DELETE /v1/secrets/{name}",
        ),
        *_rules(Scope.PROJECT, Role.OPERATOR, "WS /v1/workloads/{id}/exec", "DELETE /v1/volumes/{id}"),
        *_rules(
            Scope.PROJECTS, Role.VIEWER, "GET /v1/workloads", "GET /v1/apps", "GET /v1/volumes", "GET /v1/secrets", "GET /v1/logs", "GET /v1/stats"
        ),
        *_read_like_loki(
            "query_range", "query", "labels", "label/{name}/values", "series", "index/stats", "index/volume", "detected_labels",
            "detected_fields", "patterns", "format_query", "status/buildinfo", "tail",
        ),
        *_rules(Scope.WIDE, Role.VIEWER, "GET /v1/operations", "GET /v1/events", "GET /v1/alerts", "GET /v1/silences"),
        *_rules(Scope.WIDE, Role.OPERATOR, "GET /v1/audit"),
        *_rules(Scope.ENTITY, Role.VIEWER, "GET /v1/operations/{id}", "GET /v1/alerts/{id}"),
        *_rules(
            Scope.ENTITY,
            Role.DEPLOYER,
            "POST /v1/operations/{id}/cancel",
            "POST /v1/alerts/{id}/ack",
            "POST /v1/alerts/{id}/silence",
            "POST /v1/alerts/{id}/resolve",
            "POST /v1/silences",
            "DELETE /v1/silences/{id}",
        ),
    ]
)  # fmt: skip


class NoPolicy(LookupError):
    """A route has no entry in the table: the gateway does not start with it."""


def rule_for(method: str, path: str) -> Rule:
    """The rule of a route; NoPolicy if it has none."""
    try:
        return POLICY[(method, path)]
    except KeyError:
        raise NoPolicy(f"{method} {path} has no entry in services/gateway/policy.py") from None


def role_in(roles: Roles, project: str) -> Role | None:
    """The strongest role over a project (or over the platform, for `*`), or None."""
    held = [role for role in (roles.get(EVERY_PROJECT), roles.get(project)) if role is not None]
    return max(held, key=list(Role).index, default=None)


def limited(roles: Roles, *, role: Role | None, project: str | None) -> Roles:
    """The roles that are left of a user's when a token is limited to a role, to a project, or to both."""
    kept = dict(roles)
    if project is not None:
        held = role_in(roles, project)
        kept = {} if held is None else {project: held}
    if role is None:
        return kept
    return {name: role if held.allows(role) else held for name, held in kept.items()}


def refusal(roles: Roles, role: Role, project: str) -> LatticeError | None:
    """Why a caller with these roles may not do what needs `role` over `project` (`*`: the platform); None if they may."""
    held = role_in(roles, project)
    if held is not None and held.allows(role):
        return None
    if project == EVERY_PROJECT:
        return Forbidden(
            f"This needs the role {role} over the whole platform. Name a project with ?project= where the route takes one, "
            "or ask an admin for the role."
        )
    if held is None:
        return NotFound(f"There is no project {project!r} that you can see.")
    return Forbidden(
        f"This needs the role {role} in project {project!r}; yours is {held}. Ask an admin for it."
    )
