"""The Engine's networks, of which there must be one per name.

Asked twice at once the Engine makes two of one name, in spite of `CheckDuplicate`, and then starts no container in either ("is ambiguous").  So
they are made one at a time, and what an earlier crash may have left doubled is repaired.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from aiodocker import Docker, DockerError
from aiodocker.networks import DockerNetwork

_IN_USE, _GONE = 403, 404


class DockerNetworks:
    """Makes and removes networks; errors and deadlines are the caller's."""

    def __init__(self, docker: Docker) -> None:
        self._docker = docker
        self._lock = asyncio.Lock()

    async def ensure(self, name: str, labels: Mapping[str, str]) -> str:
        """Have exactly one bridge network of this name; returns the node's own address in it."""
        async with self._lock:
            there = await self._named(name)
            if not there:
                request = {"Name": name, "Driver": "bridge", "Labels": dict(labels), "CheckDuplicate": True}
                made = await self._docker.networks.create(request)
                there = [made.id]
            for surplus in there[1:]:
                await self._drop(surplus)
            return await self._address_in(there[0])

    async def remove(self, name: str) -> None:
        """Remove what has this name and is not in use."""
        async with self._lock:
            for network_id in await self._named(name):
                await self._drop(network_id)

    async def join(self, name: str, container_id: str) -> None:
        """Connect a container to one more network, from its next start on if it does not run."""
        await DockerNetwork(self._docker, name).connect({"Container": container_id})

    async def _address_in(self, network_id: str) -> str:
        shown = await self._docker._query_json(f"networks/{network_id}")
        gateways = [str(each.get("Gateway") or "") for each in shown["IPAM"]["Config"] or ()]
        # An Engine with IPv6 has two; the ports of containers are published over IPv4.
        return next((each.partition("/")[0] for each in gateways if "." in each), "")

    async def _named(self, name: str) -> list[str]:
        """Ids of the networks of exactly this name, those in use first."""
        params = {"filters": json.dumps({"name": [f"^{name}$"]})}
        listed = await self._docker._query_json("networks", params=params)
        ids = [str(each["Id"]) for each in listed]
        return ids if len(ids) < 2 else await self._used_first(ids)

    async def _used_first(self, ids: list[str]) -> list[str]:
        shown: list[dict[str, Any]] = [await self._docker._query_json(f"networks/{each}") for each in ids]
        return [str(each["Id"]) for each in sorted(shown, key=lambda each: not each["Containers"])]

    async def _drop(self, network_id: str) -> None:
        try:
            async with self._docker._query(f"networks/{network_id}", method="DELETE"):
                return
        except DockerError as error:
            if error.status not in (_IN_USE, _GONE):
                raise
