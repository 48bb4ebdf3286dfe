"""The OpenAPI document: what the framework knows of the routes, completed with what the policy, the guard and the edge add to each.

Run as a module it writes `docs/openapi.json`, or with `--check` says whether the file is up to date.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.routing import BaseRoute

from lattice.contracts.messages import Fact, LogLine
from services.gateway.names import MAX_NAME, MIN_NAME, PROJECT_OR_ALL_PATTERN, PROJECT_PATTERN
from services.gateway.policy import Rule, Scope, rule_for
from services.gateway.problems import MEDIA_TYPE, Problem

FILE = Path("docs/openapi.json")
_REFS = "#/components/schemas/{model}"
_CHANGES = {"post", "put", "patch", "delete"}
_VERSIONED = ("/v1/nodes/{id}", "/v1/workloads/{id}", "/v1/users/{id}")
_MEANINGS = {
    "401": "Not signed in, or the credential no longer holds",
    "403": "The caller lacks the right",
    "404": "No such thing, or not visible to the caller",
    "409": "The request contradicts the present state",
    "410": "Gone for good",
    "412": "The state moved since the caller looked (If-Match)",
    "413": "The body is too large",
    "422": "The request breaks a rule; `errors` says where",
    "429": "Too many requests; wait for Retry-After",
    "500": "A fault inside; the request id leads to the log",
    "503": "A part is away; try again after Retry-After",
    "504": "No answer in time; the work may still go on",
}


def document(routes: Sequence[BaseRoute], *, version: str) -> dict[str, Any]:
    """The whole document for these routes."""
    found = get_openapi(
        title="Lattice",
        version=version,
        openapi_version="3.1.0",
        description="One container platform out of any machines that run Docker. Every error is a problem+json (RFC 9457).",
        routes=routes,
    )
    schemas: dict[str, Any] = found["components"]["schemas"]
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    schemas.update(_schemas())
    found["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "`lat_…` or the token of a sign-in"}
    }
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            _complete(operation, method, path)
    return found


def _schemas() -> dict[str, Any]:
    models = [(model, "serialization") for model in (Problem, Fact, LogLine)]
    _, definitions = models_json_schema(models, ref_template=_REFS)  # type: ignore[arg-type]
    return dict(definitions["$defs"])


def _complete(operation: dict[str, Any], method: str, path: str) -> None:
    rule = rule_for(method.upper(), path)
    operation["security"] = [] if rule.scope is Scope.PUBLIC else [{"bearer": []}]
    operation["x-lattice-right"] = {
        "over": rule.scope.value,
        "role": None if rule.scope is Scope.PUBLIC else rule.role,
    }
    parameters = operation.setdefault("parameters", [])
    parameters += _parameters(rule, method, path)
    responses = operation["responses"]
    for status in _statuses(rule, method, path, has_body="requestBody" in operation):
        responses[status] = {
            "description": _MEANINGS[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    operation["responses"] = dict(sorted(responses.items()))


def _parameters(rule: Rule, method: str, path: str) -> Iterable[dict[str, Any]]:
    if rule.reads_project:
        yield _project_parameter(rule)
    if method in _CHANGES and path.startswith("/v1/"):
        yield _header(
            "Idempotency-Key", "The same key gives the same answer for a day", r"^[\x21-\x7e]{1,255}$"
        )
    if method in _CHANGES and path.startswith(_VERSIONED):
        yield _header("If-Match", "Only if the thing still has this version", r'^(\*|"[0-9]{1,18}")$')


def _project_parameter(rule: Rule) -> dict[str, Any]:
    one_only = rule.scope is Scope.PROJECT
    pattern = PROJECT_PATTERN if one_only else PROJECT_OR_ALL_PATTERN
    return {
        "name": "project",
        "in": "query",
        "required": False,
        "description": "the project" if one_only else "the project, or `*` for all",
        "schema": {
            "type": "string",
            "pattern": pattern,
            "minLength": MIN_NAME if one_only else 1,
            "maxLength": MAX_NAME,
            "default": rule.default_project,
        },
    }


def _header(name: str, description: str, pattern: str) -> dict[str, Any]:
    schema = {"type": "string", "pattern": pattern}
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


def _statuses(rule: Rule, method: str, path: str, *, has_body: bool) -> Iterable[str]:
    """The problems that an operation can answer.  Schemas of a proof in headers can fail too, hence 401 beside `{id}` of public ones."""
    yield from ("422", "429", "500", "503", "504")
    if rule.scope is not Scope.PUBLIC or method in _CHANGES or "{" in path:
        yield "401"
    if rule.scope is not Scope.PUBLIC or "{" in path or path.endswith("/register"):
        yield "403"
    if "{" in path or rule.reads_project:
        yield "404"
    if method in _CHANGES or path.endswith("/credentials"):
        yield "409"
    if method in _CHANGES:
        yield from ("410", "412")
    if has_body:
        yield "413"


def text(found: dict[str, Any]) -> str:
    """The document as it is kept in the repository."""
    return json.dumps(found, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Write the file, or check it; the exit code."""
    from services.gateway.app import describe

    wanted = text(describe())
    if "--check" in arguments:
        same = FILE.exists() and FILE.read_text() == wanted
        sys.stderr.write("" if same else f"{FILE} is out of date: run python -m services.gateway.openapi\n")
        return 0 if same else 1
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(wanted)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
