"""This machine as the platform's first node: whoever starts a platform has decided that its own machine belongs to it.

The supervisor asks the gateway for a join token that approves by itself, each time the agent starts without an identity, and hands it over in
the agent's environment, which only the same user can read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from agent.identity_store import IdentityStore
from lattice.errors import LatticeError, NotFound, Temporary
from standalone.announcement import Announcement
from standalone.gateway_client import GatewayClient, open_gateway

JOIN_TOKEN = "LATTICE_AGENT_JOIN_TOKEN"
TOKEN_LIFE_S = 300
POLL_S = 0.1


def identity_store(agent_folder: Path) -> IdentityStore:
    """Where the agent of this machine keeps who it is."""
    return IdentityStore(agent_folder / "identity")


def own_node_id(agent_folder: Path) -> str:
    """The id of this machine's node.  Raises NotFound if it has never joined."""
    registration = identity_store(agent_folder).registration
    if registration is None:
        raise NotFound("This machine has not joined as a node.")
    return registration.node_id


async def prepare_agent(
    announcement: Announcement, agent_folder: Path, environment: MutableMapping[str, str]
) -> None:
    """Before each start of the agent: a join token where it needs one, and the gateway's address of now.

    Raises LatticeError while the gateway is away.
    """
    store = identity_store(agent_folder)
    environment.pop(JOIN_TOKEN, None)
    registration = store.registration
    if registration is None:
        environment[JOIN_TOKEN] = await _new_join_token(announcement)
    elif registration.gateway_url != announcement.url:  # `lattice up --port` chose another port
        store.keep_registration(registration.model_copy(update={"gateway_url": announcement.url}))


async def _new_join_token(announcement: Announcement) -> str:
    async with open_gateway(announcement) as gateway:
        body = {"auto_approve": True, "ttl_s": TOKEN_LIFE_S}
        return str((await gateway.post("/v1/join-tokens", body))["token"])


async def wait_until_ready(gateway: GatewayClient, node_id: str, *, timeout_s: float) -> None:
    """Until the registry says that this node can work.  Raises Temporary with its state if that takes too long."""
    deadline_s, said = time.monotonic() + timeout_s, "the gateway has not answered"
    while time.monotonic() < deadline_s:
        try:
            node = await gateway.get(f"/v1/nodes/{node_id}")
        except NotFound:
            raise
        except LatticeError as error:
            said = str(error)
        else:
            if node["state"] in ("ready", "cordoned", "draining"):
                return
            said = describe(node)
        await asyncio.sleep(POLL_S)
    raise Temporary(f"This machine's node is not ready: {said}")


def describe(node: dict[str, Any]) -> str:
    """A node's state in a few words."""
    reason = f" ({node['reason']})" if node.get("reason") else ""
    return f"{node['name']} is {node['state']}{reason}"
