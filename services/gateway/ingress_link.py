"""The gateway's own connection to an ingress, through which it reaches instances on any node.

It is made when it is first needed and kept; one that broke or fell silent is made anew, to the next ingress if there are several.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence

from loguru import logger

from lattice.contracts.messages import TunnelCall, TunnelHello
from lattice.errors import Temporary
from lattice.tunnel_link import TunnelLink, dial
from lattice.tunnel_pipe import TunnelPipe
from lattice.tunnel_stream import TunnelStream

# An ingress pings each link every two seconds.
SILENT_AFTER_S = 6.0
_LOOK_EVERY_S = 2.0
_HELLO = TunnelHello(boot_id="gateway", session=0).model_dump_json().encode()


class IngressLink:
    """At most one connection; `tls` makes the context of each dial, so that a renewed certificate is used."""

    def __init__(self, addresses: Sequence[str], tls: Callable[[], ssl.SSLContext]) -> None:
        self._addresses, self._tls = [*addresses], tls
        self._link: TunnelLink | None = None
        self._dialling = asyncio.Lock()

    async def open(self, call: TunnelCall) -> TunnelPipe:
        """A stream to an instance; whether it leads there is told by its first read.  Raises Temporary where no ingress can be reached."""
        async with self._dialling:
            link = self._link if self._is_usable() else await self._dialled()
        assert link is not None
        return TunnelPipe(link.open(call.model_dump_json().encode()))

    async def watch(self) -> None:
        """Give a connection up that is silent, for ever: those who are forwarded over it are to notice."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            self._is_usable()

    def close(self) -> None:
        """End the connection and its streams."""
        if self._link is not None:
            self._link.close()

    def _is_usable(self) -> bool:
        link = self._link
        is_silent = link is not None and asyncio.get_running_loop().time() - link.heard_at > SILENT_AFTER_S
        if link is not None and is_silent:
            link.close()
        return link is not None and link.is_open and not is_silent

    async def _dialled(self) -> TunnelLink:
        if not self._addresses:
            raise Temporary("This platform has no ingress: nothing can be forwarded.")
        for address in [*self._addresses]:
            link = TunnelLink(_refuse, dials=True)
            try:
                await dial(link, address, self._tls(), _HELLO)
            except (OSError, TimeoutError) as error:
                logger.warning("the ingress {} cannot be reached: {}", address, error or "it does not answer")
                self._addresses.append(self._addresses.pop(0))
            else:
                self._link = link
                return link
        raise Temporary("No ingress can be reached right now: try again shortly.")


def _refuse(stream: TunnelStream, _: bytes) -> None:
    stream.refuse("the gateway serves nothing")
