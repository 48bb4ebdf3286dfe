"""The agent's first step in its container: this machine joins the platform that runs beside it.

A join token in the environment is used as it is (`LATTICE_AGENT_JOIN_TOKEN`).  Without one the platform's operator, whose token is in a volume,
asks the gateway for one that approves by itself: whoever starts the platform here has decided that this machine belongs to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NoReturn

from infra.compose.places import Places
from infra.compose.settings import ComposeSettings
from infra.compose.starting import become
from standalone.announcement import Announcement, operator_token_file
from standalone.own_node import JOIN_TOKEN, prepare_agent
from standalone.settings import ambient_environment


def start_agent(settings: ComposeSettings) -> NoReturn:
    """Let this machine join where it has not yet, and run its agent."""
    become("agent", asyncio.run(agent_environment(settings, ambient_environment())))


async def agent_environment(settings: ComposeSettings, ambient: Mapping[str, str]) -> dict[str, str]:
    """The environment of the agent, with a join token where it needs one.  Raises LatticeError while the gateway is away."""
    environment = dict(ambient)
    if environment.get(JOIN_TOKEN):
        return environment
    await prepare_agent(_announcement(settings), settings.agent_dir, environment)
    return environment


def _announcement(settings: ComposeSettings) -> Announcement:
    places = Places(settings.root)
    operator = places.operator(cluster_id="")
    return Announcement(
        url=settings.url,
        console=settings.url,
        ca=places.ca,
        token=operator_token_file(operator).read_text().strip(),
        data_dir=operator.root,
    )
