"""Tests of this folder run on both loops, each with an ingress of its own and, unless a file says otherwise, one node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fixtures.ingress import IngressWorld, NodeTls, ingress_world, node_tls
from tests.fixtures.loops import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> NodeTls:
    return node_tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def world(tls: NodeTls, tmp_path: Path) -> AsyncIterator[IngressWorld]:
    async with ingress_world(tls, tmp_path) as world:
        await world.add_node()
        yield world
