"""How Loki's clients are answered where their manners differ from ours: parameters that we do not know are left aside, refusals are plain text.

Everything else, who may read what above all, is the guard's that every route has.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from lattice.errors import Invalid, LatticeError, Temporary
from services.gateway import problems
from services.gateway.call import GuardedRoute

_BAD_REQUEST = 400


class LokiRoute(GuardedRoute):
    """A route of Loki's API."""

    takes_unknown = True

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The guarded handler, with refusals in Loki's form."""
        handle = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                return _refused(problems.from_validation(error))
            except LatticeError as error:
                if error.status >= 500 and not isinstance(error, Temporary):
                    raise  # a fault of ours: it is logged, and shows nothing of its inside
                return _refused(error)

        return answered


def _refused(error: LatticeError) -> Response:
    status = _BAD_REQUEST if isinstance(error, Invalid) else error.status
    return PlainTextResponse(f"{error.detail}\n", status_code=status, headers=problems.headers_of(error))
