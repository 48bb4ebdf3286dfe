"""How the first people get in: a one-time secret for the person, a token file for the machine's own operator.

The supervisor writes a secret at the platform's first start; who can read that file may make one admin, once in the life of the platform.
It also keeps an API token for itself and for `lattice` on this machine: that token is made valid again at each start and every day.
"""

from __future__ import annotations

import asyncio
import hmac
from datetime import timedelta
from pathlib import Path

from lattice.clock import Clock
from lattice.contracts.messages import Caller
from lattice.contracts.nouns import Role
from lattice.errors import Gone, Unauthenticated
from lattice.ids import new_id
from lattice.storage import Store, Transaction
from services.gateway import store as queries
from services.gateway.accounts import OPERATOR, Accounts
from services.gateway.policy import EVERY_PROJECT
from services.gateway.schemas import CreateUser, Setup, UserView
from services.gateway.tables import ApiTokenRow, MarkRow, UserRow
from services.gateway.tokens import Token, TokenKind, read_token

SET_UP = "set_up"
TOKEN_LIFE = timedelta(days=90)
_GONE = "This platform is set up already. Sign in, or let an admin make you a user."
_ADMIN = {EVERY_PROJECT: Role.ADMIN}


async def make_first_admin(
    store: Store, clock: Clock, accounts: Accounts, body: Setup, *, secret_file: Path | None, request_id: str
) -> UserView:
    """The first admin, for who knows the secret; Gone once it was done or where no secret was written."""
    await _check_open(store, secret_file)
    written = await _read(secret_file)
    if not written or not hmac.compare_digest(body.secret.encode(), written.encode()):
        raise Unauthenticated("This is not the secret that the platform wrote at its first start.")
    password_hash = await accounts.password_hash(body.password)
    async with store.transaction() as tx:
        await tx.lock("gateway.set_up")
        if await queries.mark(tx, SET_UP) is not None:
            raise Gone(_GONE)
        tx.add(MarkRow(id=SET_UP, at=clock.now()))
        caller = Caller(actor="bootstrap", request_id=request_id)
        user = CreateUser(username=body.username, password=body.password, roles=_ADMIN)
        return await accounts.create_user(tx, caller, user, password_hash=password_hash)


async def _check_open(store: Store, secret_file: Path | None) -> None:
    async with store.transaction() as tx:
        done = await queries.mark(tx, SET_UP)
    if done is not None or secret_file is None:
        raise Gone(_GONE)


async def keep_operator_token(store: Store, clock: Clock, token_file: Path) -> bool:
    """Make the token in this file valid for 90 days as the admin `operator`; False if there is no whole token in it."""
    try:
        token = read_token(await _read(token_file))
    except Unauthenticated:
        return False
    if token.kind is not TokenKind.API:
        return False
    async with store.transaction() as tx:
        await tx.lock("gateway.operator")
        user = await _operator(tx, clock)
        await queries.set_roles(tx, user.id, _ADMIN)
        await _keep(tx, clock, user, token)
    return True


async def _operator(tx: Transaction, clock: Clock) -> UserRow:
    user = await queries.user(tx, OPERATOR)
    if user is None:
        now = clock.now()
        user = tx.add(
            UserRow(id=new_id("us", clock=clock), username=OPERATOR, created_at=now, updated_at=now)
        )
        await tx.flush()
    return user


async def _keep(tx: Transaction, clock: Clock, user: UserRow, token: Token) -> None:
    now = clock.now()
    row = await tx.get(ApiTokenRow, token.row_id, lock=True)
    if row is None:
        tx.add(
            ApiTokenRow(
                id=token.row_id,
                user_id=user.id,
                name="operator of this machine",
                token_sha256=token.sha256,
                created_at=now,
                expires_at=now + TOKEN_LIFE,
            )
        )
    else:
        tx.update(row, user_id=user.id, token_sha256=token.sha256, expires_at=now + TOKEN_LIFE)


async def _read(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return (await asyncio.to_thread(path.read_text)).strip()
    except OSError:
        return ""
