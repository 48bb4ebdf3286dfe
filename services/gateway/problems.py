"""Every error is answered as problem+json (RFC 9457), whoever raised it: us, the registry, the framework.

`title`, `status` and `code` come from the error's class; `detail` is for people.  An unexpected fault shows nothing of its inside: the
request id leads from the answer to the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.responses import Response

from lattice.errors import FieldError, Invalid, LatticeError, Temporary, TooManyRequests, Unauthenticated
from services.gateway.field_words import in_words

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2
_HIDDEN = "Something went wrong inside Lattice. Try again; if it stays, give the request id to whoever runs the platform."


class ErrorAt(BaseModel):
    """One broken field."""

    model_config = ConfigDict(frozen=True)

    pointer: str
    detail: str


class Problem(BaseModel):
    """Why a request was not done: what happened, why, what to do."""

    model_config = ConfigDict(frozen=True)

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    errors: tuple[ErrorAt, ...] = ()


def problem_type(code: str) -> str:
    """Where a code is explained, relative to the gateway."""
    return f"/docs#error-{code}"


def answer_for(error: LatticeError, *, path: str, request_id: str) -> Response:
    """The answer to a request that ended in this error."""
    detail = _HIDDEN if error.status >= 500 and not isinstance(error, Temporary) else error.detail
    problem = _problem(
        error.status, error.code, error.title, detail, path=path, request_id=request_id, errors=error.errors
    )
    return _response(problem, headers_of(error))


def answer_for_http(error: HTTPException, *, path: str, request_id: str) -> Response:
    """The answer to what the framework itself refuses: no such path or method, too large a body."""
    if error.status_code == HTTPStatus.BAD_REQUEST:
        return answer_for(
            Invalid("The body cannot be read: send JSON that is not nested too deeply."),
            path=path,
            request_id=request_id,
        )
    code, title, detail = _FRAMEWORK.get(error.status_code, ("refused", "Refused", str(error.detail)))
    problem = _problem(error.status_code, code, title, detail, path=path, request_id=request_id)
    return _response(problem, dict(error.headers or {}))


def from_validation(error: RequestValidationError) -> Invalid:
    """The framework's findings as an error of the tree, each with a pointer."""
    errors = _field_errors(error.errors())
    places = ", ".join(item["pointer"] or "the body" for item in errors[:5])
    return Invalid(f"The request is not valid: see {places}.", errors=errors)


_FRAMEWORK = {
    404: ("not_found", "Not found", "There is nothing at this path. The paths are listed at /docs."),
    405: (
        "method_not_allowed",
        "Method not allowed",
        "This path has other methods: they are in the Allow header.",
    ),
    413: ("too_large", "Body too large", "The body is larger than this gateway accepts."),
}


def _problem(
    status: int,
    code: str,
    title: str,
    detail: str,
    *,
    path: str,
    request_id: str,
    errors: Sequence[FieldError] = (),
) -> Problem:
    return Problem(
        type=problem_type(code),
        title=title,
        status=status,
        detail=detail,
        instance=path,
        code=code,
        request_id=request_id,
        errors=tuple(ErrorAt(**item) for item in errors),
    )


def headers_of(error: LatticeError) -> dict[str, str]:
    """What goes with the answer to it."""
    if isinstance(error, (Temporary, TooManyRequests)):
        return {"Retry-After": str(max(1, round(error.data.get("retry_after_s", RETRY_AFTER_S))))}
    return {"WWW-Authenticate": "Bearer"} if isinstance(error, Unauthenticated) else {}


def _response(problem: Problem, headers: dict[str, str]) -> Response:
    return Response(
        problem.model_dump_json(), status_code=problem.status, headers=headers, media_type=MEDIA_TYPE
    )


def _field_errors(found: Iterable[dict[str, Any]]) -> list[FieldError]:
    return [{"pointer": _pointer(item), "detail": in_words(item)} for item in found]


def _pointer(item: dict[str, Any]) -> str:
    """RFC 6901.  Fields of the body start at the body's root, other parts of the request at `/query`, `/header`, `/path`."""
    part, *rest = item["loc"]
    if item["type"] == "json_invalid":
        return ""
    steps = rest if part == "body" else [part, *rest]
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)
