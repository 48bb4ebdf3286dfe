"""The whole error tree.  The class decides the fate of a message and the status of an answer.

    LatticeError
    ├── Invalid            422  the request breaks a rule; the same request will always fail
    ├── Unauthenticated    401  nobody is signed in, or the credential is wrong, expired or used up
    ├── Forbidden          403  the caller is known but lacks the right
    ├── NotFound           404  no such thing, or not visible to the caller
    ├── Conflict           409  the request contradicts the present state
    │   └── StaleVersion   412  the state moved since the caller looked
    ├── Gone               410  the thing existed and is gone for good
    ├── TooManyRequests    429  slow down
    └── Temporary          503  a part is away or slow; the same request may succeed later
        └── DeadlineExceeded 504 no answer in time; the work may still go on

A message to people says what happened, why, and what to do.  An error crosses the bus as `WireError` and is raised again as the same
class on the other side, so a handler in one process and the route in another speak of the same thing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypedDict


class FieldError(TypedDict):
    """One broken field: where (an RFC 6901 JSON pointer) and what is wrong with it."""

    pointer: str
    detail: str


class WireError(TypedDict):
    """How an error crosses the bus."""

    code: str
    detail: str
    errors: list[FieldError]
    data: dict[str, Any]


class LatticeError(Exception):
    """Something went wrong in Lattice itself: an unexpected fault, reported as 500."""

    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    status: ClassVar[int] = 500

    def __init__(
        self, detail: str = "", *, errors: Sequence[FieldError] = (), data: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.errors = tuple(errors)
        self.data = dict(data or {})


class Invalid(LatticeError):
    """The request breaks a rule; the same request will always fail."""

    code = "invalid"
    title = "Invalid request"
    status = 422


class Unauthenticated(LatticeError):
    """Nobody is signed in, or the credential is wrong, expired or used up."""

    code = "unauthenticated"
    title = "Not signed in"
    status = 401


class Forbidden(LatticeError):
    """The caller is known but lacks the right."""

    code = "forbidden"
    title = "Not allowed"
    status = 403


class NotFound(LatticeError):
    """No such thing, or not visible to the caller."""

    code = "not_found"
    title = "Not found"
    status = 404


class Conflict(LatticeError):
    """The request contradicts the present state."""

    code = "conflict"
    title = "Conflict"
    status = 409


class StaleVersion(Conflict):
    """The state moved since the caller looked."""

    code = "stale_version"
    title = "Changed meanwhile"
    status = 412


class Gone(LatticeError):
    """The thing existed and is gone for good."""

    code = "gone"
    title = "Gone"
    status = 410


class TooManyRequests(LatticeError):
    """Slow down; `data["retry_after_s"]` says for how long."""

    code = "too_many_requests"
    title = "Too many requests"
    status = 429


class Temporary(LatticeError):
    """A part is away or slow; the same request may succeed later."""

    code = "temporary"
    title = "Temporarily unavailable"
    status = 503


class DeadlineExceeded(Temporary):
    """No answer in time; the work may still go on."""

    code = "deadline_exceeded"
    title = "No answer in time"
    status = 504


def _tree(root: type[LatticeError]) -> Iterator[type[LatticeError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


def to_wire(error: LatticeError) -> WireError:
    """The form in which an error crosses the bus."""
    return {"code": error.code, "detail": error.detail, "errors": list(error.errors), "data": error.data}


def from_wire(wire: WireError) -> LatticeError:
    """The error that `to_wire` described; a code from a newer peer becomes a plain `LatticeError`."""
    # Only classes with a code of their own: a subclass elsewhere that inherits one must not come out instead.
    kinds = {kind.code: kind for kind in _tree(LatticeError) if "code" in vars(kind)}
    kind = kinds.get(wire["code"], LatticeError)
    return kind(wire["detail"], errors=wire.get("errors", []), data=wire.get("data", {}))
