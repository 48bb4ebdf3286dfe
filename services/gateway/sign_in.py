"""Signing in and out with a password.

A wrong name and a wrong password cost the same time and get the same answer.  Each sign-in, refused or not, is audited.
"""

from __future__ import annotations

from datetime import timedelta
from os import urandom

from lattice.clock import Clock
from lattice.errors import Forbidden, Unauthenticated
from lattice.ids import new_id
from lattice.storage import Store
from services.gateway import store as queries
from services.gateway.accounts import user_view
from services.gateway.audit import Act, Trail
from services.gateway.auth import Authenticator, Principal
from services.gateway.passwords import Passwords
from services.gateway.schemas import Login, SignedIn
from services.gateway.tables import SessionRow, UserRow
from services.gateway.throttle import FAILURES_PER_NAME, SIGN_INS_PER_ADDRESS, Throttle
from services.gateway.tokens import SECRET_BYTES, Token, TokenKind, make_token, secret_text

_WRONG = "The username or the password is wrong."


class SignIns:
    """Starts and ends sessions."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        trail: Trail,
        passwords: Passwords,
        throttle: Throttle,
        authenticator: Authenticator,
        *,
        session_ttl_s: float,
    ) -> None:
        self._store = store
        self._clock = clock
        self._trail = trail
        self._passwords = passwords
        self._throttle = throttle
        self._authenticator = authenticator
        self._ttl = timedelta(seconds=session_ttl_s)

    async def sign_in(self, body: Login, *, address: str, request_id: str) -> SignedIn:
        """A session for who knows the password; Unauthenticated otherwise, TooManyRequests when it was tried too often."""
        await self._throttle.count(SIGN_INS_PER_ADDRESS, "sign-in", address)
        # Counted before the password is looked at, so that many guesses at once are counted too.
        await self._throttle.count(FAILURES_PER_NAME, "failure", address, body.username)
        async with self._store.transaction() as tx:
            user = await queries.user(tx, body.username)
        if not await self._passwords.check(user.password_hash if user else None, body.password):
            await self._refused(body.username, address, request_id)
        assert user is not None
        await self._throttle.forgive(FAILURES_PER_NAME, "failure", address, body.username)
        return await self._open(user, address, request_id)

    async def confirm(self, me: Principal, password: str, *, address: str) -> None:
        """Check that the caller knows their own present password; Forbidden if not."""
        await self._throttle.count(FAILURES_PER_NAME, "confirm", address, me.username)
        async with self._store.transaction() as tx:
            user = await queries.user(tx, me.user_id)
        if not await self._passwords.check(user.password_hash if user else None, password):
            raise Forbidden("current_password is wrong.")
        await self._throttle.forgive(FAILURES_PER_NAME, "confirm", address, me.username)

    async def sign_out(self, me: Principal, *, request_id: str) -> None:
        """End the session that the request was made with; an API token has none and is left as it is."""
        async with self._store.transaction() as tx:
            row = await tx.get(SessionRow, me.credential_id)
            if row is not None:
                tx.delete(row)
                act = Act(
                    action="user.sign_out", entity="user", entity_id=me.user_id, entity_name=me.username
                )
                self._trail.write(tx, actor=me.actor, request_id=request_id, act=act)
        self._authenticator.forget()

    async def _open(self, user: UserRow, address: str, request_id: str) -> SignedIn:
        now = self._clock.now()
        row_id = new_id("ss", clock=self._clock)
        token = make_token(TokenKind.SESSION, row_id=row_id, secret=secret_text(urandom(SECRET_BYTES)))
        async with self._store.transaction() as tx:
            tx.add(self._row(user, token, row_id, address))
            after = {"address": address}
            act = Act(
                action="user.sign_in",
                entity="user",
                entity_id=user.id,
                entity_name=user.username,
                after=after,
            )
            self._trail.write(tx, actor=f"user:{user.username}", request_id=request_id, act=act)
            roles = await queries.roles(tx, user.id)
        return SignedIn(token=token.text, expires_at=now + self._ttl, user=user_view(user, roles))

    def _row(self, user: UserRow, token: Token, row_id: str, address: str) -> SessionRow:
        now = self._clock.now()
        return SessionRow(
            id=row_id,
            user_id=user.id,
            token_sha256=token.sha256,
            created_at=now,
            expires_at=now + self._ttl,
            last_used_at=now,
            last_used_from=address,
        )

    async def _refused(self, username: str, address: str, request_id: str) -> None:
        act = Act(
            action="user.sign_in_refused", entity="user", entity_id=username, after={"address": address}
        )
        await self._trail.keep(actor="anonymous", request_id=request_id, act=act)
        raise Unauthenticated(_WRONG)
