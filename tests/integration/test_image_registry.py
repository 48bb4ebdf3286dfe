"""Asking real image registries for a digest: found, missing, private, away."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from agent.image_room import registry_size
from lattice.image_reference import ImageReference, parse_reference
from lattice.runtime import RegistryAuth
from services.registry.image_pinning import Answer
from services.registry.image_registry import ImageRegistries
from tests.fixtures.registry import ImageRegistry


@pytest.fixture
def pushed(registry: ImageRegistry, image_test: str) -> ImageReference:
    return parse_reference(registry.push(image_test, "acme/api:1"))


async def test_a_tag_has_a_digest(pushed: ImageReference) -> None:
    found = await ImageRegistries().digest(pushed, None, monotonic_s=0)
    assert found.answer is Answer.FOUND and found.digest is not None and found.digest.startswith("sha256:")


async def test_what_is_not_there_is_missing(pushed: ImageReference) -> None:
    other = parse_reference(f"{pushed.host}/acme/other:1")
    assert (await ImageRegistries().digest(other, None, monotonic_s=0)).answer is Answer.MISSING


async def test_a_private_registry_wants_the_right_login(
    private_registry: ImageRegistry, image_test: str
) -> None:
    image = parse_reference(private_registry.push(image_test, "acme/secret:1"))
    login = f"{private_registry.username}:{private_registry.password}"
    answers = [
        (await ImageRegistries().digest(image, given, monotonic_s=0)).answer
        for given in (None, "ci:wrong", login)
    ]
    assert answers == [Answer.DENIED, Answer.DENIED, Answer.FOUND]


async def test_a_registry_that_is_away_is_not_asked_again_for_a_while() -> None:
    gone, registries = parse_reference("127.0.0.1:1/acme/api:1"), ImageRegistries()
    first = await registries.digest(gone, None, monotonic_s=100.0)
    assert first.answer is Answer.AWAY and "127.0.0.1:1" in first.detail
    assert await registries.digest(gone, None, monotonic_s=100.0 + registries.away_s - 1) is first
    assert await registries.digest(gone, None, monotonic_s=100.0 + registries.away_s + 1) is not first


async def test_addresses_of_cloud_metadata_are_never_asked() -> None:
    metadata = parse_reference("169.254.169.254/latest/meta:1")
    found = await ImageRegistries().digest(metadata, None, monotonic_s=0)
    assert found.answer is Answer.AWAY and "link-local" in found.detail


class TokenService(BaseHTTPRequestHandler):
    """A registry that sends everybody to its token service, which answers `answer`."""

    answer: ClassVar[bytes] = b""

    def do_HEAD(self) -> None:
        if self.headers.get("Authorization") == "Bearer good":
            self.send_response(200)
            self.send_header("Docker-Content-Digest", f"sha256:{'a' * 64}")
        else:
            self.send_response(401)
            self.send_header("WWW-Authenticate", f'Bearer realm="http://{self.headers["Host"]}/token"')
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b'{"token": "good"}', Answer.FOUND),
        (b'{"access_token": "good"}', Answer.FOUND),
        (b"<html>sign in</html>", Answer.AWAY),
        (b"[1]", Answer.DENIED),
        (b'{"token": 7}', Answer.DENIED),
    ],
)
async def test_whatever_a_token_service_answers_is_an_answer(answer: bytes, expected: Answer) -> None:
    handler = type("Handler", (TokenService,), {"answer": answer})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        image = parse_reference(f"127.0.0.1:{server.server_port}/acme/api:1")
        found = await ImageRegistries().digest(image, None, monotonic_s=0)
        server.shutdown()
    assert found.answer is expected


async def test_the_size_of_an_image_is_known_before_it_is_pulled(
    pushed: ImageReference, private_registry: ImageRegistry, image_test: str
) -> None:
    size = await registry_size(f"{pushed.host}/acme/api:1", None, "amd64")
    assert size is not None and 100_000 < size < 100 * 2**20
    secret = private_registry.push(image_test, "acme/sized:1")
    login = RegistryAuth(username=private_registry.username, password=private_registry.password)
    assert await registry_size(secret, login, "amd64") == size
    assert await registry_size(secret, None, "amd64") is None
    assert await registry_size(f"{pushed.host}/acme/nothing:1", None, "amd64") is None
    assert await registry_size("127.0.0.1:1/acme/api:1", None, "amd64") is None
    assert await registry_size("169.254.169.254/acme/api:1", None, "amd64") is None
