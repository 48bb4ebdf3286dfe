"""Links: inside a container the name of another workload is the node's own address in the container's network, and here we answer on it.

Whoever connects is known by the address that they come from: a running container of that network, whose instance has a link with this port.  They
are led to an instance of the other workload that is ready on this very node, else to one that an ingress chooses, through the tunnel.  So links
within a node need nobody else, and those to other nodes need no port of any node to be open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from loguru import logger

from agent.journal import Journal
from agent.local_splice import splice
from agent.naming import INSTANCE, network_name, network_of
from agent.ports import holder_of
from agent.world import World
from lattice.cancelling import cancel_and_wait
from lattice.contracts.messages import DesiredInstance, LinkCall
from lattice.contracts.nouns import DesiredState
from lattice.errors import LatticeError, Temporary
from lattice.hand_over import Undecided
from lattice.runtime import PortTaken
from lattice.tunnel_stream import LocalSide, TunnelStream, break_off

_LOOK_EVERY_S = 5.0  # an instance that is about to be started is not waited for: `listen` is called for it
# A container may call before its start has been looked at here.
_KNOWN_WITHIN_S = 2.0
_LOOK_FOR_CALLER_S = 0.05
_CONNECT_TIMEOUT_S = 5.0
_BACKLOG = 512

AddressFor = Callable[[DesiredInstance], Awaitable[str]]
"""The node's own address in an instance's network."""

ReadyHere = Callable[[str, str, int], int | None]
"""(project, workload, port in the container) -> the host port of an instance that is ready on this node."""

OpenStream = Callable[[LinkCall], Awaitable[TunnelStream]]


@dataclass(frozen=True, slots=True)
class Door:
    """Where callers from one network come for one port."""

    network: str
    address: str
    port: int


class Links:
    """Listens for the links of the instances that are to run, and leads their callers on."""

    def __init__(
        self,
        journal: Journal,
        world: World,
        cluster_id: str,
        *,
        address_for: AddressFor,
        ready_here: ReadyHere,
        open_stream: OpenStream | None,
    ) -> None:
        self._journal, self._world, self._cluster_id = journal, world, cluster_id
        self._address_for, self._ready_here, self._open_stream = address_for, ready_here, open_stream
        self._servers: dict[Door, asyncio.Server] = {}
        self._leading: set[asyncio.Task[None]] = set()
        self._opening = asyncio.Lock()
        self._told: dict[str, str] = {}

    async def run(self) -> None:
        """Keep to the newest document, for ever: after a start of the agent containers may run that call already."""
        try:
            while True:
                await self._follow()
                await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            for server in self._servers.values():
                server.close()
            await cancel_and_wait([*self._leading])

    async def listen(self, instance: DesiredInstance) -> None:
        """Be there before the instance is.  Raises PortTaken where another program of the node has the port on all addresses."""
        for door in await self._doors(instance):
            async with self._opening:
                if door not in self._servers:
                    self._servers[door] = await self._opened(door)

    # ------------------------------------------------------------------------------------ which doors there are

    def _linking(self) -> Iterator[DesiredInstance]:
        document = self._journal.document
        for instance in document.instances if document else ():
            if instance.run.links and instance.desired is DesiredState.RUNNING:
                yield instance

    async def _doors(self, instance: DesiredInstance) -> set[Door]:
        if not instance.run.links:
            return set()
        network = network_name(self._cluster_id, network_of(instance))
        address = await self._address_for(instance)
        return {Door(network, address, port.at) for link in instance.run.links for port in link.ports}

    async def _follow(self) -> None:
        wanted: set[Door] = set()
        for instance in self._linking():
            try:
                wanted |= await self._doors(instance)
                await self.listen(instance)
                self._told.pop(instance.instance_id, None)
            except (LatticeError, OSError) as error:
                self._tell(instance, str(error))
        for door in self._servers.keys() - wanted:
            self._servers.pop(door).close()

    def _tell(self, instance: DesiredInstance, reason: str) -> None:
        if self._told.get(instance.instance_id) != reason:
            self._told[instance.instance_id] = reason
            logger.warning("links of {} do not answer: {}", instance.workload_name, reason)

    async def _opened(self, door: Door) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        try:
            return await loop.create_server(
                lambda: _Caller(self, door), door.address, door.port, backlog=_BACKLOG
            )
        except PermissionError as error:
            raise PortTaken(
                f"a link to port {door.port} needs an agent that runs as root; give it a number from 1024 on with `at`"
            ) from error
        except OSError as error:
            raise PortTaken(
                f"port {door.port}, to which it has a link, is in use on all addresses of this node by {holder_of(door.port)}; "
                "give the link another number with `at`"
            ) from error

    # ------------------------------------------------------------------------------------ who comes

    def came(self, caller: Undecided, door: Door) -> None:
        """Somebody is at a door."""
        task = asyncio.get_running_loop().create_task(self._lead(caller, door))
        self._leading.add(task)
        task.add_done_callback(self._leading.discard)

    async def _lead(self, caller: Undecided, door: Door) -> None:
        transport = caller.transport
        try:
            async with asyncio.timeout(_KNOWN_WITHIN_S):
                call = await self._call_of(str(transport.get_extra_info("peername")[0]), door)
            await self._lead_on(caller, call)
        except TimeoutError:
            logger.info("a caller at {}:{} is none of ours: turned away", door.address, door.port)
            break_off(transport)
        except (LatticeError, OSError) as error:
            logger.info("a link leads nowhere: {}", error)
            break_off(transport)

    async def _call_of(self, peer: str, door: Door) -> LinkCall:
        """What the container with this address wants by coming to this door, as soon as it is known."""
        while (found := self._known_call(peer, door)) is None:
            await asyncio.sleep(_LOOK_FOR_CALLER_S)
        return found

    def _known_call(self, peer: str, door: Door) -> LinkCall | None:
        callers = {
            each.labels.get(INSTANCE)
            for each in self._world.containers
            if each.is_up and each.addresses.get(door.network) == peer
        }
        for instance in self._linking():
            if instance.instance_id in callers:
                return _call(instance, door.port)
        return None

    async def _lead_on(self, caller: Undecided, call: LinkCall) -> None:
        host_port = self._ready_here(call.project, call.workload_name, call.container_port)
        if host_port is not None:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await splice(caller, "127.0.0.1", host_port)
            return
        if self._open_stream is None:
            raise Temporary("this agent has no tunnel")
        stream = await self._open_stream(call)
        if caller.transport.is_closing():
            stream.reset("the caller is gone")
        else:
            caller.go_on(LocalSide(stream))


class _Caller(Undecided):
    """A connection at a door."""

    def __init__(self, links: Links, door: Door) -> None:
        super().__init__()
        self._links, self._door = links, door

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._links.came(self, self._door)


def _call(instance: DesiredInstance, at: int) -> LinkCall | None:
    for link in instance.run.links:
        for port in link.ports:
            if port.at == at:
                return LinkCall(
                    instance_id=instance.instance_id,
                    project=instance.project,
                    workload_name=link.workload,
                    container_port=port.container_port,
                )
    return None
