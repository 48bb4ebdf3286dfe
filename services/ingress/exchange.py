"""One request of a visitor and its answer, through a tunnel.

Both sides are parsed and written anew by h11, so what the instance reads is what we understood: nothing can be hidden between two requests.  After an
upgrade bytes go on as they come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import h11

from lattice.cancelling import cancel_and_wait
from lattice.errors import Temporary
from lattice.tunnel_pipe import TunnelPipe
from services.ingress import pages
from services.ingress.headers import request_headers, response_headers, upgrade_of
from services.ingress.pages import Page
from services.ingress.sweep import ended_by
from services.ingress.time_limits import Limit
from services.ingress.visitor import Visitor, VisitorGone

_TURN_PIECES = 16
# What is kept of a request for another try. Most requests are smaller; nginx, for one, keeps 16 KiB of a body in memory.
_KEPT_BYTES = 2**16
# A body in many small pieces takes far more memory than its bytes.
_KEPT_PIECES = 32


class Unanswered(Exception):
    """There is no answer of the instance; this page is shown in its place."""

    def __init__(self, page: Page) -> None:
        super().__init__(page.detail)
        self.page = page


class Refused(Unanswered):
    """Nothing of the request has reached the instance, so that another may be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What holds for an exchange: whom the visitor asks, who they are, and how long and how large anything may be."""

    workload: str
    client: str
    scheme: str
    is_guarded: bool
    most_body_bytes: int | None
    answer_timeout_s: float
    idle_timeout_s: float
    total_timeout_s: float | None


@dataclass(slots=True)
class Exchange:
    """One exchange between a visitor and an instance, or another where the first takes nothing."""

    visitor: Visitor
    terms: Terms
    pipe: TunnelPipe = field(init=False)
    said: list[h11.Event] | None = field(default_factory=list)
    """What was sent of the request, for another try; None where it has grown too large for that."""
    body_bytes: int = 0
    is_sent: bool = False
    fault: Page | None = None
    """What the visitor did wrong in the middle of a request, so that the instance is not to blame."""
    begun: bool = False
    """Whether the instance has begun its answer."""
    passed_on: int = 0
    heard_at_s: float = 0.0
    is_ended: bool = False
    """Whether a limit of time has ended it."""
    patience: asyncio.Timeout | None = None

    async def run(self, request: h11.Request, pipe: TunnelPipe) -> int:
        """The status that was answered through `pipe`; after Refused it may be run again with another.

        Raises Unanswered before the first byte of an answer, VisitorGone, Temporary after it.
        """
        self.pipe = pipe
        instance = h11.Connection(h11.CLIENT)
        upgrade = upgrade_of(list(request.headers))
        for event in self.said or [self._head(request, upgrade)]:
            await self._to_instance(instance, event)
        body = asyncio.create_task(self._pass_body_on(instance, upgrade))
        try:
            return await self._pass_answer_on(instance, upgrade)
        finally:
            await cancel_and_wait([body])

    def _head(self, request: h11.Request, upgrade: bytes | None) -> h11.Request:
        terms, headers = self.terms, list(request.headers)
        passed_on = request_headers(
            headers, client=terms.client, scheme=terms.scheme, upgrade=upgrade, is_guarded=terms.is_guarded
        )
        head = h11.Request(method=request.method, target=request.target, headers=passed_on)
        self._keep(head)
        return head

    # ------------------------------------------------------------------------------------ towards the instance

    async def _pass_body_on(self, instance: h11.Connection, upgrade: bytes | None) -> None:
        """Also to the end of the exchange, so that an instance does not work for a visitor who is gone."""
        try:
            await self.visitor.go_on_if_it_waits()
            while not self.is_sent:
                event = await self.visitor.next_event(timeout_s=self.terms.idle_timeout_s)
                if isinstance(event, h11.EndOfMessage):
                    event = (
                        h11.EndOfMessage()
                    )  # without its trailers: they could name headers that are ours to say
                elif not isinstance(event, h11.Data):
                    break
                self._keep(event)
                await self._to_instance(instance, event)
            if upgrade is None:
                await self.visitor.until_gone()
        except h11.RemoteProtocolError as error:
            self.fault = pages.bad_request(str(error))
            self.pipe.give_up("the request is not well-formed")
        except (Temporary, TimeoutError, VisitorGone, h11.LocalProtocolError) as error:
            self.pipe.give_up(str(error) or "the visitor is gone")

    def _keep(self, event: h11.Event) -> None:
        if isinstance(event, h11.Data):
            self.body_bytes += len(event.data)
        if self._is_too_large:
            raise Temporary("the request is too large")
        if self.said is not None:
            self.said.append(event)
            if self.body_bytes > _KEPT_BYTES or len(self.said) > _KEPT_PIECES:
                self.said = None

    @property
    def _is_too_large(self) -> bool:
        most = self.terms.most_body_bytes
        return most is not None and self.body_bytes > most

    async def _to_instance(self, instance: h11.Connection, event: h11.Event) -> None:
        self.is_sent = isinstance(event, h11.EndOfMessage)
        data = instance.send(event)
        if data:
            await self.pipe.send(data)
        if self.patience is not None and not self.patience.expired():
            # An answer is waited for from the end of the request, however long that takes to come.
            self.patience.reschedule(asyncio.get_running_loop().time() + self._wait_s)
        await self._let_others_in()

    @property
    def _wait_s(self) -> float:
        is_asked = self.is_sent and not self.begun
        return self.terms.answer_timeout_s if is_asked else self.terms.idle_timeout_s

    async def _let_others_in(self) -> None:
        """Much in small pieces would else be passed on in one turn of the loop: nothing on the way has to wait."""
        self.passed_on += 1
        if self.passed_on % _TURN_PIECES == 0:
            await asyncio.sleep(0)

    # ------------------------------------------------------------------------------------ towards the visitor

    async def _pass_answer_on(self, instance: h11.Connection, upgrade: bytes | None) -> int:
        status = 0
        while True:
            event = await self._from_instance(instance)
            self.said = None  # whoever answers has taken it
            await self._let_others_in()
            if isinstance(event, h11.InformationalResponse):
                if event.status_code == 101 and upgrade is not None:
                    await self._switch(instance, event, upgrade)
                    return 101
                continue  # what we say of 100-continue we say ourselves
            if isinstance(event, h11.Response):
                status, self.begun = event.status_code, True
                headers = response_headers(list(event.headers))
                await self.visitor.send(
                    h11.Response(status_code=status, headers=headers, reason=event.reason)
                )
            elif isinstance(event, h11.Data):
                await self.visitor.send(h11.Data(data=bytes(event.data)))
            elif isinstance(event, h11.EndOfMessage):
                await self.visitor.send(h11.EndOfMessage())
                return status
            else:
                raise Temporary("it closed the connection in the middle of its answer")

    async def _from_instance(self, instance: h11.Connection) -> h11.Event:
        try:
            async with asyncio.timeout(self._wait_s) as self.patience:
                while (event := instance.next_event()) is h11.NEED_DATA:
                    instance.receive_data(await self.pipe.read())
        except TimeoutError:
            if self.begun:
                self._end_idle()
            raise self._failure(pages.no_answer(self.terms.workload, self._wait_s)) from None
        except Temporary as error:
            raise self._failure(pages.not_reached(self.terms.workload, error.detail)) from None
        except h11.RemoteProtocolError as error:
            why = (
                "it closed the connection without an answer"
                if instance.trailing_data[1]
                else f"its answer is not HTTP ({error})"
            )
            raise self._failure(pages.not_reached(self.terms.workload, why)) from None
        finally:
            self.patience = None
        return event  # type: ignore[return-value]  # h11 marks what is no event by types of their own

    def _failure(self, page: Page) -> Exception:
        if self.fault is not None:
            page = self.fault
        elif self._is_too_large:
            page = pages.too_large(self.terms.most_body_bytes or 0)
        elif self.pipe.was_refused and self.said:
            return Refused(page)
        return Temporary(page.detail) if self.begun else Unanswered(page)

    # ------------------------------------------------------------------------------------ after an upgrade

    async def _switch(
        self, instance: h11.Connection, event: h11.InformationalResponse, upgrade: bytes
    ) -> None:
        headers = response_headers(list(event.headers), upgrade=upgrade)
        await self.visitor.send(
            h11.InformationalResponse(status_code=101, headers=headers, reason=event.reason)
        )
        self.heard_at_s = asyncio.get_running_loop().time()
        await self.visitor.write(instance.trailing_data[0])
        await self.pipe.send(self.visitor.trailing())
        to_instance = asyncio.create_task(self._splice(self.visitor.read_raw, self.pipe.send, self.pipe.end))
        try:
            await self._splice(self.pipe.read, self.visitor.write, self.visitor.end)
        finally:
            await cancel_and_wait([to_instance])

    async def _splice(
        self,
        read: Callable[[], Awaitable[bytes]],
        write: Callable[[bytes], Awaitable[None]],
        end: Callable[[], None],
    ) -> None:
        try:
            while True:
                data = await self._heard(read)
                if not data:
                    end()
                    return
                await write(data)
                await self._let_others_in()
        except TimeoutError:
            self._end_idle()
        except (Temporary, VisitorGone) as error:
            self.pipe.give_up(str(error))

    def _end_idle(self) -> None:
        """Neither side has said anything for too long.  Both directions may find that out at once: it is one connection."""
        if not self.is_ended:
            self.is_ended = True
            reason = f"nothing was said for {self.terms.idle_timeout_s:g} s"
            ended_by(Limit.IDLE, reason)
            self.pipe.give_up(reason)
            self.visitor.break_off()

    async def _heard(self, read: Callable[[], Awaitable[bytes]]) -> bytes:
        """What one side says; only where neither says anything for too long, it is over (TimeoutError)."""
        loop, idle_s = asyncio.get_running_loop(), self.terms.idle_timeout_s
        while True:
            try:
                async with asyncio.timeout_at(self.heard_at_s + idle_s):
                    data = await read()
            except TimeoutError:
                if loop.time() < self.heard_at_s + idle_s:
                    continue
                raise
            self.heard_at_s = loop.time()
            return data
