"""The connections of nodes: who they are, which of them is the newest session, and streams through them.

A node proves itself with its certificate and says its session number first.  A higher session takes over: the links of the older one are ended,
whatever they carry, because a half-open link answers nobody.  A lower one is told to go.  The gateway dials too, for streams to any instance; what
whoever dialled may open streams for is decided in `calls`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography import x509
from loguru import logger
from pydantic import ValidationError

from lattice import pki
from lattice.contracts.messages import TunnelHello, TunnelTarget
from lattice.errors import Invalid, LatticeError, Temporary, Unauthenticated
from lattice.tunnel_link import Traffic, TunnelLink
from lattice.tunnel_stream import TunnelStream
from services.ingress import metrics

GATEWAY = "gateway"
PING_EVERY_S = 2.0
# A node that moves to another network is not told of by TCP for minutes; a link that is silent for so long is given up.
SILENT_AFTER_S = 6.0
_HELLO_WITHIN_S = 10.0


Called = Callable[[str, TunnelStream, bytes], None]


def _nobody_answers(caller: str, stream: TunnelStream, request: bytes) -> None:
    stream.refuse("nothing is served here")


@dataclass(slots=True)
class _Node:
    """The links of one node's newest session."""

    hello: TunnelHello
    links: list[TunnelLink] = field(default_factory=list)


class Tunnels:
    """All links of all nodes."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}
        self._owners: dict[TunnelLink, str] = {}
        self._strangers: dict[TunnelLink, float] = {}
        self._callers: set[TunnelLink] = set()
        self.traffic = Traffic()
        self.on_node_came: Callable[[], None] = lambda: None
        """Told when a node is reachable that was not."""
        self.on_called: Called = _nobody_answers
        """Told of each stream that is opened to us: by whom (a node's id, or `GATEWAY`), and for what."""

    @property
    def reachable(self) -> frozenset[str]:
        """The nodes to which a stream can be opened."""
        return frozenset(node_id for node_id, node in self._nodes.items() if node.links)

    def new_link(self) -> TunnelLink:
        """The protocol for a connection that a node or a service makes."""
        link = TunnelLink(
            lambda stream, request: self._called(link, stream, request),
            dials=False,
            opened=self._opened,
            closed=self._closed,
            greeted=self._greeted,
            traffic=self.traffic,
        )
        return link

    def open(self, node_id: str, target: TunnelTarget) -> TunnelStream:
        """A stream to a port of an instance, over the link of its node with the fewest.  Raises Temporary without a link."""
        node = self._nodes.get(node_id)
        links = [link for link in node.links if link.is_open] if node else []
        if not links:
            raise Temporary("its node is not connected to the ingress right now")
        return min(links, key=lambda link: link.streams).open(target.model_dump_json().encode())

    async def watch(self) -> None:
        """Ask all links for a sign of life, for ever; end those that are silent, and those that do not say who they are."""
        loop = asyncio.get_running_loop()
        while True:
            now_s = loop.time()
            for link in [*self._owners, *self._callers]:
                if now_s - link.heard_at > SILENT_AFTER_S:
                    logger.info("a link of {} is silent: given up", self._owners.get(link, "a service"))
                    link.close()
                elif link.is_open:
                    link.ping()
            for link, since_s in [*self._strangers.items()]:
                if now_s - since_s > _HELLO_WITHIN_S:
                    link.close()
            await asyncio.sleep(PING_EVERY_S)

    def close(self) -> None:
        """End all links."""
        for link in [*self._owners, *self._strangers, *self._callers]:
            link.close()

    # ------------------------------------------------------------------------------------ what links tell

    def _opened(self, link: TunnelLink) -> None:
        self._strangers[link] = asyncio.get_running_loop().time()

    def _greeted(self, link: TunnelLink, words: bytes) -> None:
        if self._strangers.pop(link, None) is None:
            link.close()  # once and first
            return
        try:
            certificate, hello = _shown_by(link), TunnelHello.model_validate_json(words)
            if pki.service_of(certificate) == GATEWAY:
                self._callers.add(link)
            else:
                self._take_in(pki.node_id_of(certificate), hello, link)
        except (LatticeError, ValidationError) as error:
            logger.warning("a link is refused: {}", error)
            link.close()

    def _take_in(self, node_id: str, hello: TunnelHello, link: TunnelLink) -> None:
        node = self._nodes.get(node_id)
        if node is not None and is_refused(node.hello, hello):
            logger.warning(
                "a link of node {} is refused: session {} is not the newest", node_id, hello.session
            )
            link.close()
            return
        if node is None or hello.session > node.hello.session:
            self._nodes[node_id] = _Node(hello)
            self._fence(node_id, node)
        is_first = not self._nodes[node_id].links
        self._nodes[node_id].links.append(link)
        self._owners[link] = node_id
        metrics.LINKS.set(len(self._owners))
        if is_first:
            self.on_node_came()

    def _fence(self, node_id: str, older: _Node | None) -> None:
        for link in older.links if older else ():
            logger.info("node {} is back in a newer session: an older link is ended", node_id)
            metrics.FENCED.inc()
            self._owners.pop(link, None)
            link.close()

    def _closed(self, link: TunnelLink) -> None:
        self._strangers.pop(link, None)
        self._callers.discard(link)
        node_id = self._owners.pop(link, None)
        if node_id is not None:
            self._nodes[node_id].links.remove(link)
        metrics.LINKS.set(len(self._owners))

    def _called(self, link: TunnelLink, stream: TunnelStream, request: bytes) -> None:
        caller = GATEWAY if link in self._callers else self._owners.get(link)
        if caller is None:
            raise Invalid("who opens a stream says first who they are")
        self.on_called(caller, stream, request)


def is_refused(known: TunnelHello, found: TunnelHello) -> bool:
    """Whether a link says it is of a session that is over, or of the same session on another machine (a copied disk)."""
    same = found.session == known.session
    return found.session < known.session or (same and found.boot_id != known.boot_id)


def _shown_by(link: TunnelLink) -> x509.Certificate:
    shown = link.peer_certificate()
    if shown is None:
        raise Unauthenticated("whoever dials shows a certificate")
    return x509.load_der_x509_certificate(shown)
