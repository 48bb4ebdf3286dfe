"""The node's end of the tunnels: it dials every ingress, and leads what visitors open there to the ports of its own instances.

The same connections carry what its own instances ask of others over their links (`links`).

No port of the node is open to the outside.  A connection that is silent is given up soon, because after a change of network nothing else tells
that it leads nowhere; then it is dialled again, first at once and then ever more seldom, with some chance in the pause.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress

from loguru import logger
from pydantic import ValidationError

from agent.backoff import STABLE_S, delay_s
from agent.facts import slot_text
from agent.journal import Journal
from agent.naming import slot_of
from lattice.cancelling import cancel_and_wait
from lattice.contracts.messages import LinkCall, TunnelHello, TunnelTarget
from lattice.contracts.nouns import DesiredState
from lattice.contracts.spec import BackoffSpec
from lattice.errors import Temporary
from lattice.tunnel_link import Traffic, TunnelLink, dial
from lattice.tunnel_stream import LocalSide, TunnelStream

# To each ingress: one connection that is busy with an upload does not hold up the others.
LINKS_PER_INGRESS = 2
PING_EVERY_S = 2.0
SILENT_AFTER_S = 6.0
_CONNECT_TIMEOUT_S = 5.0
_LOOK_EVERY_S = 1.0
_OPEN_TIMEOUT_S = 5.0
_LOOK_FOR_LINK_S = 0.05
_PAUSES = BackoffSpec(initial=0.2, max=5.0)


class Tunnels:
    """Keeps the links to all ingresses that the newest document names."""

    def __init__(self, journal: Journal, tls: Callable[[], ssl.SSLContext], chance: random.Random) -> None:
        self._journal, self._tls, self._chance = journal, tls, chance
        self._dialers: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._connecting: set[asyncio.Task[None]] = set()
        self._links: set[TunnelLink] = set()
        self.traffic = Traffic()

    @property
    def links(self) -> int:
        """How many connections to ingresses are open."""
        return sum(link.is_open for link in self._links)

    @property
    def streams(self) -> int:
        """How many connections of visitors and of our own links are in them."""
        return sum(link.streams for link in self._links)

    async def run(self) -> None:
        """Dial for ever, whoever is to be dialled."""
        try:
            while True:
                document = self._journal.document
                await self._dial_all(document.ingresses if document else ())
                await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            await cancel_and_wait([*self._dialers.values(), *self._connecting])

    async def open(self, call: LinkCall) -> TunnelStream:
        """A stream over one of the connections, to whichever ingress; waits a little for one.  Raises Temporary where there is none."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_OPEN_TIMEOUT_S):
                while True:
                    if links := [link for link in self._links if link.is_open]:
                        least = min(links, key=lambda link: link.streams)
                        return least.open(call.model_dump_json().encode())
                    await asyncio.sleep(_LOOK_FOR_LINK_S)
        raise Temporary("this node is not connected to an ingress right now")

    async def _dial_all(self, addresses: Iterable[str]) -> None:
        wanted = {(address, number) for address in addresses for number in range(LINKS_PER_INGRESS)}
        gone = [self._dialers.pop(each) for each in self._dialers.keys() - wanted]
        await cancel_and_wait(gone)
        for each in wanted - self._dialers.keys():
            self._dialers[each] = asyncio.create_task(self._keep_dialled(each[0]))

    async def _keep_dialled(self, address: str) -> None:
        loop, failures = asyncio.get_running_loop(), 0
        while True:
            dialled_s = loop.time()
            try:
                await self._hold_link(address)
            except (OSError, TimeoutError) as error:
                if failures == 0:
                    logger.warning(
                        "the ingress {} cannot be reached: {}", address, error or "it does not answer"
                    )
            # One that let us in and sent us away at once is no better than one that is not there.
            failures = 0 if loop.time() - dialled_s > STABLE_S else failures + 1
            await asyncio.sleep(delay_s(failures, _PAUSES, self._chance.random()))

    async def _hold_link(self, address: str) -> None:
        """One connection, until it ends.  Raises OSError or TimeoutError if there is none."""
        ended = asyncio.Event()
        link = TunnelLink(self._accept, dials=True, closed=lambda _: ended.set(), traffic=self.traffic)
        hello = TunnelHello(boot_id=self._journal.boot_id, session=self._journal.session)
        await dial(link, address, self._tls(), hello.model_dump_json().encode())
        self._links.add(link)
        try:
            await self._until_ended(link, ended)
        finally:
            self._links.discard(link)
            link.close()

    async def _until_ended(self, link: TunnelLink, ended: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        while not ended.is_set():
            if loop.time() - link.heard_at > SILENT_AFTER_S:
                logger.info("a link to the ingress is silent: given up")
                return
            link.ping()
            try:
                async with asyncio.timeout(PING_EVERY_S):
                    await ended.wait()
            except TimeoutError:
                continue

    # ------------------------------------------------------------------------------------ what an ingress opens

    def _accept(self, stream: TunnelStream, request: bytes) -> None:
        try:
            target = TunnelTarget.model_validate_json(request)
        except ValidationError:
            stream.refuse("the node does not understand what is asked")
            return
        port = self._port_of(target)
        if port is None:
            stream.refuse("the instance is not on this node any more")
            return
        task = asyncio.create_task(_connect(stream, port))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def _port_of(self, target: TunnelTarget) -> int | None:
        """The host port of one of our own instances that is to run; nothing else of this machine can be reached."""
        document = self._journal.document
        for instance in document.instances if document else ():
            if instance.instance_id == target.instance_id and instance.desired is DesiredState.RUNNING:
                ports = self._journal.facts.ports.get(slot_text(slot_of(instance.key)), {})
                return ports.get(str(target.container_port))
        return None


async def _connect(stream: TunnelStream, port: int) -> None:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            await loop.create_connection(lambda: LocalSide(stream), "127.0.0.1", port)
    except (OSError, TimeoutError) as error:
        stream.refuse(f"its port does not answer ({error or 'no answer in time'})")
