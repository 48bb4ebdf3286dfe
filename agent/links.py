"""Links: inside a container the name of another workload is the node's own address in the container's network, and here we answer on it.

Whoever connects is known by the address that they come from: a running container of that network, and its label says which links it was made with.
They are led to an instance of the other workload that is ready on this very node, else to one that an ingress chooses, through the tunnel.  So links
within a node need nobody else, and those to other nodes need no port of any node to be open.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from loguru import logger

from agent.journal import Journal
from agent.link_labels import call_of, linked
from agent.local_splice import splice
from agent.naming import INSTANCE, network_name, networks_in
from agent.ports import holder_of
from agent.world import World
from lattice.cancelling import cancel_and_wait
from lattice.contracts.messages import LinkCall
from lattice.contracts.nouns import DesiredState
from lattice.errors import LatticeError, NotFound, Temporary
from lattice.hand_over import Undecided
from lattice.runtime import Container, PortTaken
from lattice.tunnel_stream import LocalSide, TunnelStream, break_off

_LOOK_EVERY_S = 5.0  # a container that is about to be started is not waited for: `listen` is called for it
# A container may call before its start has been looked at here; strangers who wait take a place each.
_KNOWN_WITHIN_S = 2.0
_LOOK_FOR_CALLER_S = 0.05
_MOST_UNKNOWN = 64
_CONNECT_TIMEOUT_S = 5.0
_BACKLOG = 512

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
    """Listens for the links of the containers that run, and leads their callers on."""

    def __init__(
        self,
        journal: Journal,
        world: World,
        cluster_id: str,
        *,
        ready_here: ReadyHere,
        open_stream: OpenStream | None,
    ) -> None:
        self._journal, self._world, self._cluster_id = journal, world, cluster_id
        self._ready_here, self._open_stream = ready_here, open_stream
        self._servers: dict[Door, asyncio.Server] = {}
        self._leading: set[asyncio.Task[None]] = set()
        self._unknown = 0
        self._opening = asyncio.Lock()
        self._told: dict[str, str] = {}

    async def run(self) -> None:
        """Keep to what runs, for ever: after a start of the agent containers may run that call already."""
        try:
            while True:
                await self._follow()
                await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            for server in self._servers.values():
                server.close()
            self._servers.clear()
            await cancel_and_wait([*self._leading])

    async def listen(self, container: Container) -> None:
        """Be there before the container runs.

        Raises PortTaken where another program of the node has a port on all addresses, NotFound where the container's network was made anew since.
        """
        for door in self._doors(container):
            async with self._opening:
                if door not in self._servers:
                    self._servers[door] = await self._opened(door)

    # ------------------------------------------------------------------------------------ which doors there are

    def _doors(self, container: Container) -> list[Door]:
        made = linked(container.labels)
        if made is None:
            return []
        network = self._network(container)
        return [Door(network, made.address, port.at) for link in made.links for port in link.ports]

    def _network(self, container: Container) -> str:
        """Its own: the one in which it comes to us."""
        return network_name(self._cluster_id, networks_in(container.labels)[0])

    def _linking(self) -> Iterator[Container]:
        """Those that run, whatever is wanted of them by now, and those that are to run."""
        document = self._journal.document
        wanted = {
            each.instance_id
            for each in (document.instances if document else ())
            if each.desired is DesiredState.RUNNING
        }
        for container in self._world.containers:
            if container.is_up or container.labels.get(INSTANCE) in wanted:
                yield container

    async def _follow(self) -> None:
        for container in [*self._linking()]:
            try:
                await self.listen(container)
                self._told.pop(container.name, None)
            except LatticeError as error:
                self._tell(container.name, error.detail)
        needed = {door for container in self._linking() for door in self._doors(container)}
        for door in self._servers.keys() - needed if self._world.complete else ():
            self._servers.pop(door).close()

    def _tell(self, name: str, reason: str) -> None:
        if self._told.get(name) != reason:
            self._told[name] = reason
            logger.warning("links of {} do not answer: {}", name, reason)

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
            if error.errno == errno.EADDRNOTAVAIL:
                raise NotFound(
                    f"{door.address} is no address of this node: its network was made anew"
                ) from error
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
        try:
            call = await self._call_of(caller, door)
            if call is not None:
                await self._lead_on(caller, call)
                return
            logger.info("a caller at {}:{} is turned away: it has no such link", door.address, door.port)
        except (LatticeError, OSError) as error:
            logger.info("a link leads nowhere: {}", error)
        except Exception:
            logger.exception("a caller at {}:{} cannot be led on", door.address, door.port)
        break_off(caller.transport)

    async def _call_of(self, caller: Undecided, door: Door) -> LinkCall | None:
        """What the container with this address wants by coming to this door; one that nobody knows yet has a moment to become known."""
        peer = str((caller.transport.get_extra_info("peername") or ("",))[0])
        container = self._known(peer, door)
        if container is None and self._unknown < _MOST_UNKNOWN:
            container = await self._known_soon(peer, door)
        return call_of(container.labels, door.port) if container is not None else None

    async def _known_soon(self, peer: str, door: Door) -> Container | None:
        self._unknown += 1
        try:
            async with asyncio.timeout(_KNOWN_WITHIN_S):
                while (found := self._known(peer, door)) is None:
                    await asyncio.sleep(_LOOK_FOR_CALLER_S)
                return found
        except TimeoutError:
            return None
        finally:
            self._unknown -= 1

    def _known(self, peer: str, door: Door) -> Container | None:
        """The container that has this address in the door's network."""
        for each in self._world.containers:
            if each.is_up and each.addresses.get(door.network) == peer:
                return each
        return None

    async def _lead_on(self, caller: Undecided, call: LinkCall) -> None:
        host_port = self._ready_here(call.project, call.workload_name, call.container_port)
        if host_port is not None and await self._led_here(caller, host_port):
            return
        if self._open_stream is None:
            raise Temporary("this agent has no tunnel")
        stream = await self._open_stream(call)
        if caller.transport.is_closing():
            stream.reset("the caller is gone")
        else:
            caller.go_on(LocalSide(stream))

    async def _led_here(self, caller: Undecided, host_port: int) -> bool:
        """Whether an instance of this node took it; one that has just ended does not, and another may."""
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await splice(caller, "127.0.0.1", host_port)
        except (OSError, TimeoutError):
            return False
        return True


class _Caller(Undecided):
    """A connection at a door."""

    def __init__(self, links: Links, door: Door) -> None:
        super().__init__()
        self._links, self._door = links, door

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._links.came(self, self._door)
