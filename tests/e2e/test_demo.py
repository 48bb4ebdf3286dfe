"""`make demo` as a newcomer sees it: a database that answers through its address, and again at once the second time."""

from __future__ import annotations

import asyncio
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Callable

import asyncpg
import pytest

from infra.images.recipes import POSTGRES, Recipe
from tests.fixtures.commands import REPOSITORY
from tests.fixtures.platform import NewPlatform, Platform

DEMO_S = 200.0
QUICK_S = 30.0


@pytest.fixture
def machine(new_platform: NewPlatform, image_of: Callable[[Recipe], str]) -> Platform:
    """A machine that was set up, on which nothing was started yet."""
    image_of(POSTGRES)
    return new_platform()


def demo(platform: Platform) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "standalone.demo"],
        env=platform.environment(),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=DEMO_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def credentials_in(told: str) -> str:
    found = re.search(r"Credentials\s+(postgresql://\S+)", told)
    assert found is not None, told
    return found[1]


async def ask(uri: str, ca: str, query: str) -> object:
    """What a client says who copies both from the terminal."""
    trusted = ssl.create_default_context(cafile=ca)
    connection = await asyncpg.connect(uri.partition("?")[0], ssl=trusted)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


@pytest.mark.timeout(300)
def test_the_demo_and_again(machine: Platform) -> None:
    told = demo(machine)
    uri, ca = credentials_in(told), str(machine.root / "pki" / "ca.pem")
    assert "demo-db answers: PostgreSQL" in told and f"CA to trust  {ca}" in told
    assert "make down" in told and "make reset" in told and "ready to accept connections" in told
    asyncio.run(ask(uri, ca, "CREATE TABLE kept AS SELECT 41 + 1 AS answer"))
    lives = machine.lives()

    began_s = time.monotonic()
    again = demo(machine)
    assert time.monotonic() - began_s < QUICK_S
    assert credentials_in(again) == uri and machine.lives() == lives

    machine.ok("down", "--workloads")
    assert machine.lives() == {}
    uri = credentials_in(demo(machine))
    assert asyncio.run(ask(uri, ca, "SELECT answer FROM kept")) == 42


@pytest.mark.timeout(300)
def test_a_database_without_tls_is_not_talked_to(machine: Platform) -> None:
    uri = credentials_in(demo(machine)).partition("?")[0]
    with pytest.raises(ssl.SSLCertVerificationError):
        asyncio.run(asyncpg.connect(uri, ssl=ssl.create_default_context()))
