"""Credentials of nodes that live for a minute: renewed in time, again and again, without harm to containers or link; and after they expired.

The small size takes credentials that live for 20 s.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from agent.identity_store import IdentityStore
from lattice.bus import NatsBus
from lattice.contracts.catalogue import HEARTBEAT
from lattice.contracts.messages import Heartbeat, NodeCredentials
from lattice.messaging import Received
from tests.fixtures.platform import NewPlatform, Platform, until
from tests.fixtures.reliability import Record

FULL_LIFE_S, SMALL_LIFE_S = 60, 20
SHORT_LIFE_S = 8
LONGEST_SILENCE_S = 20.0
SLEEP = ("--", "sleep", "86400")


def node_credentials(platform: Platform) -> NodeCredentials:
    """What the agent holds now."""
    found = IdentityStore(platform.root / "agent" / "identity").credentials
    assert found is not None
    return found


@pytest.mark.soak
@pytest.mark.timeout(0)
async def test_a_minute_of_life_is_renewed_without_harm(
    new_platform: NewPlatform, image_test: str, full_size: bool, record: Record
) -> None:
    life_s, duration_s = (FULL_LIFE_S, 300) if full_size else (SMALL_LIFE_S, 26)
    platform = new_platform(LATTICE_REGISTRY_CREDENTIAL_TTL_S=str(life_s))
    platform.up()
    platform.ok("run", image_test, "--name", "steady", *SLEEP)
    before = platform.lives()
    heard_s, expiries = await watch(platform, duration_s)
    assert platform.lives() == before
    silence_s = max(later - earlier for earlier, later in pairwise(heard_s))
    assert silence_s <= LONGEST_SILENCE_S
    renewals = len(expiries) - 1
    assert renewals >= duration_s // life_s, "at least one in each life, else it would have expired"
    platform.ok("exec", "steady", "--", "true")
    record(
        f"node credentials of {life_s} s",
        f"{duration_s} s, {renewals} renewals, {len(heard_s) - 2} heartbeats, longest silence {silence_s:.1f} s; no container touched",
    )


async def watch(platform: Platform, duration_s: float) -> tuple[list[float], list[datetime]]:
    """When the node was heard, between beginning and end, and the ends of all credentials that it held meanwhile."""
    heard_s, expiries = [time.monotonic()], list[datetime]()

    async def hear(_: Received[Heartbeat]) -> None:
        heard_s.append(time.monotonic())

    node_id = str(platform.json("node", "ls")["items"][0]["id"])
    ends_s = heard_s[0] + duration_s
    async with NatsBus(platform.bus_settings("registry"), identity="registry") as bus:
        await bus.subscribe(HEARTBEAT, hear, node_id=node_id)
        while time.monotonic() < ends_s:
            expires_at = node_credentials(platform).expires_at
            assert expires_at > datetime.now(UTC), "never without valid credentials"
            if expires_at not in expiries:
                expiries.append(expires_at)
            await asyncio.sleep(1)  # the rhythm of looking, not a wait for anything
    return [*heard_s, time.monotonic()], expiries


def test_a_node_that_was_away_past_the_end_comes_back_by_itself(
    new_platform: NewPlatform, image_test: str
) -> None:
    platform = new_platform(LATTICE_REGISTRY_CREDENTIAL_TTL_S=str(SHORT_LIFE_S))
    platform.up()
    platform.ok("run", image_test, "--name", "steady", *SLEEP)
    node_id, before = platform.json("node", "ls")["items"][0]["id"], platform.lives()
    platform.down()
    expired = node_credentials(platform).expires_at
    until(lambda: datetime.now(UTC) > expired, what="the credentials expiring")
    platform.up()
    assert node_credentials(platform).expires_at > expired
    nodes = platform.json("node", "ls")["items"]
    assert [(each["id"], each["state"]) for each in nodes] == [(node_id, "ready")]
    assert platform.lives() == before
    platform.ok("run", image_test, "--name", "later", *SLEEP)
