"""Set-up pulls what it can and never waits for a registry that says nothing."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from infra.images.registry import Registry
from infra.setup.commands import run
from tests.fixtures.registry import ImageRegistry


@pytest.fixture
def silent_address() -> Iterator[str]:
    """A port that accepts connections and never answers, as behind a firewall that swallows replies."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_silent_registry_is_waited_for_once(docker_engine: str, silent_address: str) -> None:
    registry = Registry(first_answer_s=1)
    started_s = time.monotonic()
    assert not registry.pull(f"{silent_address}/postgres:16")
    assert registry.away_because == "no answer within 1 s"
    assert not registry.pull(f"{silent_address}/redis:7")
    assert time.monotonic() - started_s < 5


def test_a_name_the_registry_does_not_have_says_nothing_about_the_others(
    image_test: str, registry: ImageRegistry
) -> None:
    pulling = Registry()
    assert not pulling.pull(f"{registry.address}/no-such-image:1")
    assert pulling.away_because is None
    name = registry.push(image_test, "pulled/tool:1")
    assert pulling.pull(name)
    run(["docker", "image", "rm", name])
