"""How a machine becomes a node and stays one.

With a join token it asks for membership; then it is pending and powerless until an admin has compared the fingerprint, which the agent computes
from its own keys, with the one that the platform shows.  Credentials live for a day and are renewed after two thirds of their life, at slightly
different times on different nodes, and also after they have expired: the node's key proves who asks.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TypeVar

from cryptography import x509
from loguru import logger

from agent.backoff import delay_s
from agent.gateway_client import GatewayClient, fetch_ca
from agent.identity_store import IdentityStore, Registration
from agent.inventory import machine_inventory
from lattice.clock import Clock
from lattice.contracts.messages import NodeCredentials
from lattice.contracts.nouns import NAME_PATTERN, Membership
from lattice.contracts.spec import BackoffSpec
from lattice.errors import (
    Forbidden,
    Gone,
    Invalid,
    LatticeError,
    NotFound,
    Temporary,
    TooManyRequests,
    Unauthenticated,
)
from lattice.join_token import read_join_token
from lattice.pki import renew_at

POLL_S = 2.0
_RETRY = BackoffSpec(initial=1.0, max=30.0)
_RENEW_RETRY = BackoffSpec(initial=5.0, max=300.0)
_JITTER_PART = 0.05
_LEAST_PART = 0.5
_LONGEST_LEAST_S = 300.0
_LONGEST_NAME = 28
_PASSES = (Temporary, TooManyRequests)

T = TypeVar("T")
Show = Callable[[str], None]


class Enrolment:
    """Gets credentials for this machine, and keeps them fresh."""

    def __init__(
        self,
        store: IdentityStore,
        *,
        clock: Clock,
        chance: random.Random,
        show: Show = logger.info,
        poll_s: float = POLL_S,
    ) -> None:
        self._store, self._clock, self._chance = store, clock, chance
        self._show, self._poll_s = show, poll_s
        self._wanted = asyncio.Event()
        self.problem = ""
        """Why the platform no longer gives this node credentials, in its own words; empty while it does."""

    async def credentials(self, token: str | None, name: str) -> NodeCredentials:
        """The node's credentials, after joining if it has none yet.  Waits for the admin as long as it takes.

        Raises Invalid without a token, Forbidden when the machine was rejected, and what the gateway says of the token.
        """
        if token is not None:
            read_join_token(token)  # what somebody pasted wrongly must not pass for "goes on as before"
        kept = self._store.credentials
        if kept is not None:
            self._store.write_out(kept)
            self._say_who_it_is(token)
            return kept
        registration = self._store.registration
        if registration is None:
            registration = await self._patiently(lambda: self._register(token, name))
        self._show(
            f"This machine asks to become the node {registration.name} ({registration.node_id}). Its fingerprint is "
            f"{registration.fingerprint}. An admin compares it and approves: lattice node approve {registration.name}"
        )
        credentials = await self._approved(registration)
        self._store.keep_credentials(credentials)
        return credentials

    def _say_who_it_is(self, token: str | None) -> None:
        registration = self._store.registration
        if token is not None and registration is not None:
            self._show(f"This machine is the node {registration.name} already: the join token is not needed.")

    async def keep_fresh(self, renewed: Callable[[NodeCredentials], None] = lambda _: None) -> None:
        """Renew the credentials when two thirds of their life are over, or soon after `renew_soon`, for ever."""
        failures, least_s = 0, 0.0
        while True:
            credentials = self._store.credentials
            if credentials is None:
                raise Invalid("This machine has no credentials to renew: join first.")
            await self._wait(least_s, self._until_renewal_s(credentials))
            try:
                fresh = await self._renew()
                self.problem = ""
                renewed(fresh)
                # Certificates are valid from a little before they are made, for clocks that are behind; of a short-lived one two thirds are over
                # at once, and without this the node would renew without end.
                failures, least_s = 0, min(self._remaining_s(fresh) * _LEAST_PART, _LONGEST_LEAST_S)
            except LatticeError as error:
                self.problem = error.detail if isinstance(error, Forbidden) else self.problem
                failures += 1
                least_s = delay_s(failures, _RENEW_RETRY, self._chance.random())
                logger.warning("the node's credentials could not be renewed: {}", error.detail)

    async def renew_soon(self) -> None:
        """The bus does not accept the credentials: ask for new ones, or learn why there are none."""
        self._wanted.set()

    async def ready(self) -> str:
        """A readiness check: why this machine is no longer a node, or ""."""
        return self.problem

    async def _wait(self, least_s: float, until_renewal_s: float) -> None:
        await asyncio.sleep(least_s)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wanted.wait(), max(0.0, until_renewal_s - least_s))
        self._wanted.clear()

    # ------------------------------------------------------------------------------------ joining

    async def _register(self, token: str | None, name: str) -> Registration:
        if token is None:
            raise Invalid("This machine is no node yet: start the agent with a join token.")
        ticket = read_join_token(token)
        ca_pem = await fetch_ca(ticket.gateway_url.rstrip("/"), ticket.ca_fingerprint)
        keys = self._store.keys()
        request_pem = keys.request_pem(name)
        pending = Registration(
            node_id="", fingerprint=keys.fingerprint(request_pem), gateway_url=ticket.gateway_url, name=name
        )
        self._store.keep_gateway_ca(ca_pem)
        body = {
            "token": token,
            "name": name,
            "csr_pem": request_pem.decode(),
            "nkey": keys.bus.public,
            "sealing_key": keys.sealing.public,
            "inventory": machine_inventory().model_dump(mode="json"),
        }
        answer = await self._client(ticket.gateway_url).register(body)
        if answer.fingerprint != pending.fingerprint:
            raise Unauthenticated(
                "The gateway answered with the fingerprint of other keys than this machine's: do not approve; "
                "somebody stands in between, or the platform is damaged."
            )
        registration = pending.model_copy(update={"node_id": answer.node_id})
        self._store.keep_registration(registration)
        return registration

    async def _approved(self, registration: Registration) -> NodeCredentials:
        client, key = self._client(registration.gateway_url), self._store.keys().bus
        while True:
            try:
                found = await self._patiently(lambda: client.enrolment(registration.node_id, key))
            except (Gone, NotFound):
                self._store.forget_registration()
                raise
            if found.credentials is not None:
                return found.credentials
            if found.state in (Membership.REJECTED, Membership.REVOKED):
                self._store.forget_registration()
                raise Forbidden(
                    f"This machine was {found.state}{f': {found.reason}' if found.reason else ''}. "
                    "Ask the admin for another join token."
                )
            await asyncio.sleep(self._poll_s)

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until there is an answer: a gateway that is away or busy is no reason to give up."""
        failures = 0
        while True:
            try:
                return await ask()
            except _PASSES as error:
                failures += 1
                pause_s = delay_s(failures, _RETRY, self._chance.random())
                logger.warning("{} Trying again in {:.0f} s.", error.detail, pause_s)
                await asyncio.sleep(pause_s)

    # ------------------------------------------------------------------------------------ renewing

    def _until_renewal_s(self, credentials: NodeCredentials) -> float:
        at = renewal_time(credentials, self._chance.random())
        return max(0.0, (at - self._clock.now()).total_seconds())

    def _remaining_s(self, credentials: NodeCredentials) -> float:
        return max(0.0, (credentials.expires_at - self._clock.now()).total_seconds())

    async def _renew(self) -> NodeCredentials:
        registration, keys = self._store.registration, self._store.keys()
        if registration is None:
            raise Invalid("The record of this machine's enrolment is gone: join again with a new token.")
        client = self._client(registration.gateway_url)
        answer = await client.renew(registration.node_id, keys.bus, keys.request_pem(registration.name))
        if answer.credentials is None:
            raise Forbidden(f"The node gets no new credentials: it is {answer.state}. {answer.reason}")
        self._store.keep_credentials(answer.credentials)
        logger.info("credentials renewed until {}", answer.credentials.expires_at)
        return answer.credentials

    def _client(self, gateway_url: str) -> GatewayClient:
        return GatewayClient(gateway_url, self._store.gateway_ca_file, self._clock)


def renewal_time(credentials: NodeCredentials, chance: float) -> datetime:
    """When to renew: after two thirds of the certificate's life, and up to a twentieth of it later, by chance."""
    leaf = x509.load_pem_x509_certificates(credentials.certificate_pem.encode())[0]
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    return renew_at(leaf) + timedelta(seconds=life.total_seconds() * _JITTER_PART * chance)


def plain_name(text: str) -> str:
    """A host name as the name of a node: lower case, letters, digits and single hyphens, 2 to 28 of them."""
    words = re.sub(r"[^a-z0-9]+", "-", text.partition(".")[0].lower()).strip("-")
    name = words if words[:1].isalpha() else f"node-{words}"
    name = name[:_LONGEST_NAME].rstrip("-")
    return name if re.fullmatch(NAME_PATTERN, name) else f"node-{name}".rstrip("-")[:_LONGEST_NAME]
