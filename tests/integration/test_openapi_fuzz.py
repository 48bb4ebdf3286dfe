"""The OpenAPI document against the application: no fault, no status and no shape that the document does not tell, whatever is sent.

Schemathesis makes valid and broken requests for every operation.  It talks to the application from threads of its own, so one
gateway with its loop lives beside it, and every request is carried over.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from starlette.types import Message

from services.gateway.app import describe
from tests.fixtures.gateway import World, running_gateway

T = TypeVar("T")
# At full size: 53 operations, valid and broken, 100 requests each, so more than 10,000.
SMALL, FULL = 8, 100
# Signing out is tested elsewhere: here it would end the session of every later request.
SIGN_OUT = "/v1/auth/logout"

# A valid body can still be refused for what it means (a name that is taken, a node that is not there): that needs no 2xx.
_NOT_HELD_TO = {
    "positive_data_acceptance",
    "missing_required_header",
    "use_after_free",
    "ensure_resource_availability",
}


class Running:
    """A gateway on a loop of its own, in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gateway under test")

    def start(self) -> None:
        self._thread.start()
        self._stack = AsyncExitStack()
        self.world: World = self.call(self._stack.enter_async_context(running_gateway(self._folder)))
        self.world.registry.add_node()
        self.world.registry.add_workload("web")

    def stop(self) -> None:
        self.call(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on the gateway's loop and wait."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def application(self, scope: Any, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        """The ASGI application for callers on other loops."""
        if scope["type"] == "lifespan":
            await _accept_lifespan(receive, send)
            return
        body = await _read(receive)
        messages = await asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(self._serve(dict(scope), body), self._loop)
        )
        for message in messages:
            await send(message)

    async def _serve(self, scope: dict[str, Any], body: bytes) -> list[Message]:
        sent: list[Message] = []
        given = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            if given:
                return given.pop()
            await asyncio.sleep(0.05)  # a client that looks at a stream for a moment and goes
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        await self.world.app(scope, receive, send)
        if sent and sent[-1].get("more_body"):
            sent.append({"type": "http.response.body", "body": b"", "more_body": False})
        return sent


async def _accept_lifespan(receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _read(receive: Callable[..., Any]) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("fuzz"))
    running.start()
    yield running
    running.stop()


api = schemathesis.openapi.from_dict(describe())
_QUICK = settings(
    max_examples=SMALL,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def _hold(running: Running, case: schemathesis.Case[Any]) -> None:
    load_all_checks()
    case.operation.schema.app = case.operation.app = running.application
    response = case.call(headers=running.world.headers("admin"))
    not_held_to = (
        _NOT_HELD_TO if _was_sent_whole(case, response) else _NOT_HELD_TO | {"negative_data_rejection"}
    )
    left_out: list[Any] = [check for check in CHECKS.get_all() if check.__name__ in not_held_to]
    case.validate_response(response, excluded_checks=left_out)


def _was_sent_whole(case: schemathesis.Case[Any], response: Any) -> bool:
    """Whether the broken part of a request is in the URL: a parameter whose value is an empty list or nothing is not."""
    return set(case.query or {}) <= set(
        parse_qs(urlsplit(response.request.url).query, keep_blank_values=True)
    )


@api.exclude(path=SIGN_OUT).parametrize()
@_QUICK
def test_what_the_document_says_is_what_is_answered(running: Running, case: schemathesis.Case[Any]) -> None:
    _hold(running, case)


def _operations() -> list[tuple[str, str]]:
    return [(path, method) for path in api if path != SIGN_OUT for method in api[path]]


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("broken", [False, True], ids=["valid", "broken"])
@pytest.mark.parametrize(("path", "method"), _operations())
def test_it_stays_so_for_many_more_requests(
    running: Running, path: str, method: str, *, broken: bool, full_size: bool
) -> None:
    mode = GenerationMode.NEGATIVE if broken else GenerationMode.POSITIVE
    sized = settings(_QUICK, max_examples=FULL if full_size else 2)

    @sized
    @given(case=api[path][method].as_strategy(generation_mode=mode))
    def holds(case: schemathesis.Case[Any]) -> None:
        _hold(running, case)

    try:
        holds()
    except Unsatisfiable:
        assert broken, "every operation has a valid request"
