"""Answering requests as NATS services, so that `nats micro ls` and its like find them.

nats.micro hands requests over one after the other; here each becomes a task of its own, `concurrency` at once, the rest waits.  A service is
registered anew on every connection.  Agents answer on their own subject alone: they may not take part in discovery.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import nats.errors
from loguru import logger
from nats import micro
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.micro.request import Request
from nats.micro.service import Service as MicroService

from lattice.bus_client import reached
from lattice.bus_link import Link, Wanted
from lattice.bus_requests import headers_of
from lattice.bus_wire import ERROR, Answer, encode_error
from lattice.contracts.catalogue import NODE, Rpc
from lattice.errors import LatticeError

Respond = Callable[[str, bytes, Mapping[str, str]], Awaitable[Answer | LatticeError]]

_STOP_TIMEOUT_S = 2.0


class Answering:
    """One kind of request, answered by this process until `stop`."""

    def __init__(self, rpc: Rpc[Any, Any], subject: str, respond: Respond, concurrency: int) -> None:
        self.rpc, self.subject = rpc, subject
        self._respond = respond
        self._places = asyncio.Semaphore(concurrency)
        self._running: set[asyncio.Task[None]] = set()
        self.leave: Callable[[], Awaitable[None]] | None = None
        self.on: Client | None = None

    async def take(self, request: Request) -> None:
        """Answer, beside others; waits while `concurrency` are being answered."""
        await self._places.acquire()
        task = asyncio.create_task(self._answer(request))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def take_message(self, msg: Msg) -> None:
        await self.take(Request(msg))

    async def stop(self) -> None:
        if self.leave is not None:
            await self.leave()
        others = self._running - {asyncio.current_task()}
        if others:
            await asyncio.wait(others)

    async def _answer(self, request: Request) -> None:
        try:
            said = await self._respond(request.subject, request.data, headers_of(request._msg))
            await self._reply(request, said)
        except (nats.errors.Error, OSError):
            logger.debug("the link broke before {} could be answered", self.rpc.name)
        finally:
            self._places.release()

    async def _reply(self, request: Request, said: Answer | LatticeError) -> None:
        if isinstance(said, LatticeError):
            await request.respond(headers={ERROR: encode_error(said)})
            return
        try:
            await request.respond(said.payload, headers=said.headers)
        except nats.errors.MaxPayloadError:
            error = LatticeError(f"The answer to {self.rpc.name} is too large to send: ask for less.")
            await request.respond(headers={ERROR: encode_error(error)})


class Services:
    """What this process answers, registered on the connection of the moment."""

    def __init__(self, link: Link, *, version: str) -> None:
        self._link, self._version = link, version
        self._answering: list[Answering] = []
        self._client: Client | None = None
        self._services: dict[str, MicroService] = {}
        self._lock = asyncio.Lock()
        link.on_up.append(self._register_all)

    async def serve(self, answering: Answering) -> None:
        """Answer from now on, on this and every later connection."""
        if answering.rpc.server == NODE:
            wanted: Wanted = await self._link.subscribe(answering.subject, answering.take_message)
            answering.leave = wanted.stop
            return
        self._answering.append(answering)
        answering.leave = lambda: self._leave(answering)
        if self._link.connected:
            await self._register_all()

    async def _register_all(self) -> None:
        with suppress(
            LatticeError, nats.errors.Error, OSError, TimeoutError
        ):  # the link just broke: again when it is back
            async with self._lock:
                client = self._link.client
                if client is not self._client:
                    self._client, self._services = client, {}
                for answering in self._answering:
                    await self._register(client, answering)
                await reached(client)

    async def _register(self, client: Client, answering: Answering) -> None:
        name = answering.rpc.server
        if name not in self._services:
            self._services[name] = await micro.add_service(
                client, name=name, version=self._version, description=f"Lattice {name}", queue_group=name
            )
        if answering.on is not client:
            await self._services[name].add_endpoint(
                name=answering.rpc.name, subject=answering.subject, handler=answering.take
            )
            answering.on = client

    async def _leave(self, answering: Answering) -> None:
        self._answering.remove(answering)
        service = self._services.get(answering.rpc.server)
        # nats.micro can stop a whole service only; one endpoint is its subscription.
        for endpoint in service._endpoints if service is not None else ():
            if endpoint._handler == answering.take and endpoint._subscription is not None:
                with suppress(nats.errors.Error, OSError, TimeoutError):
                    await asyncio.wait_for(endpoint._subscription.drain(), _STOP_TIMEOUT_S)
