"""Users and their API tokens: each change with its audit row in one transaction.

Nobody can hand out more than they hold: a token made with a limited token has at least its limits.  The last admin cannot be removed, and
the user `operator`, whom the platform keeps for itself, cannot be changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from os import urandom

from lattice.clock import Clock
from lattice.contracts.messages import Caller
from lattice.contracts.nouns import Role
from lattice.contracts.views import Listing
from lattice.errors import Conflict, Forbidden, Invalid, NotFound, StaleVersion
from lattice.ids import new_id
from lattice.storage import Store, Transaction
from services.gateway import store as queries
from services.gateway.audit import Act, Trail
from services.gateway.auth import Authenticator, Principal
from services.gateway.passwords import Passwords
from services.gateway.policy import EVERY_PROJECT, Roles
from services.gateway.schemas import (
    CreateToken,
    CreateUser,
    TokenCreated,
    TokenView,
    UpdateUser,
    UserView,
)
from services.gateway.tables import ApiTokenRow, UserRow
from services.gateway.tokens import SECRET_BYTES, TokenKind, make_token, secret_text

OPERATOR = "operator"
_ADMINS_LOCK = "gateway.admins"


class Accounts:
    """Who there is, and what programs may act for them."""

    def __init__(
        self, store: Store, clock: Clock, trail: Trail, passwords: Passwords, authenticator: Authenticator
    ) -> None:
        self._store = store
        self._clock = clock
        self._trail = trail
        self._passwords = passwords
        self._authenticator = authenticator

    async def users(self, *, after: str, limit: int) -> Listing[UserView]:
        """A page of users by name."""
        async with self._store.transaction() as tx:
            rows = await queries.users(tx, after=after, limit=limit + 1)
            roles = await queries.roles_of(tx, [row.id for row in rows])
        views = tuple(user_view(row, roles[row.id]) for row in rows[:limit])
        more = rows[limit - 1].username if len(rows) > limit else None
        return Listing[UserView](items=views, next_page_token=more)

    async def password_hash(self, password: str | None) -> str | None:
        """What to store of a new password; outside of any transaction, because it takes its time."""
        return None if password is None else await self._passwords.hash(password)

    async def create_user(
        self, tx: Transaction, caller: Caller, body: CreateUser, *, password_hash: str | None
    ) -> UserView:
        """Make a user with their roles; Conflict if the name is taken."""
        _check_password(body.username, body.password)
        if await tx.count(UserRow, username=body.username):
            raise Conflict(
                f"There is a user {body.username!r} already. Choose another name, or change that user."
            )
        row = await self._add(tx, body.username, password_hash)
        await queries.set_roles(tx, row.id, body.roles)
        after = {"username": body.username, **_spoken(body.roles)}
        act = Act(
            action="user.create", entity="user", entity_id=row.id, entity_name=row.username, after=after
        )
        self._trail.write(tx, actor=caller.actor, request_id=caller.request_id, act=act)
        return user_view(row, body.roles)

    async def _add(self, tx: Transaction, username: str, password_hash: str | None) -> UserRow:
        now = self._clock.now()
        row = tx.add(
            UserRow(
                id=new_id("us", clock=self._clock),
                username=username,
                password_hash=password_hash,
                created_at=now,
                updated_at=now,
            )
        )
        await tx.flush()  # roles point at it
        return row

    async def update_user(self, caller: Caller, ref: str, body: UpdateUser) -> UserView:
        """Change roles or password.  A new password signs the user out everywhere."""
        password_hash = await self.password_hash(body.password)
        async with self._store.transaction() as tx:
            await tx.lock(_ADMINS_LOCK)
            row = _changeable(await queries.user(tx, ref, lock=True), ref, caller)
            _check_password(row.username, body.password)
            before = await queries.roles(tx, row.id)
            after = before if body.roles is None else body.roles
            await _keep_an_admin(tx, row, before, after)
            await queries.set_roles(tx, row.id, after)
            if password_hash is not None:
                await queries.end_sessions(tx, row.id)
            row = tx.update(
                row, password_hash=password_hash or row.password_hash, updated_at=self._clock.now()
            )
            act = Act(
                action="user.update", entity="user", entity_id=row.id, entity_name=row.username,
                before=_spoken(before), after={**_spoken(after), "password_changed": password_hash is not None},
            )  # fmt: skip
            self._trail.write(tx, actor=caller.actor, request_id=caller.request_id, act=act)
            await tx.flush()
            view = user_view(row, after)
        self._authenticator.forget()
        return view

    async def delete_user(self, caller: Caller, ref: str) -> None:
        """Remove a user, their tokens and sign-ins."""
        async with self._store.transaction() as tx:
            await tx.lock(_ADMINS_LOCK)
            row = _changeable(await queries.user(tx, ref, lock=True), ref, caller)
            roles = await queries.roles(tx, row.id)
            await _keep_an_admin(tx, row, roles, {})
            await queries.delete_user(tx, row)
            act = Act(
                action="user.delete", entity="user", entity_id=row.id, entity_name=row.username, before={"username": row.username, **_spoken(roles)}
            )  # fmt: skip
            self._trail.write(tx, actor=caller.actor, request_id=caller.request_id, act=act)
        self._authenticator.forget()

    async def tokens(self, *, of: str | None, after: str, limit: int) -> Listing[TokenView]:
        """A page of API tokens: of one user id, or of everybody."""
        async with self._store.transaction() as tx:
            rows = await queries.tokens(tx, user_id=of, after=after, limit=limit + 1)
            views = tuple([await _token_view(tx, row) for row in rows[:limit]])
        return Listing[TokenView](
            items=views, next_page_token=rows[limit - 1].id if len(rows) > limit else None
        )

    async def create_token(
        self, tx: Transaction, caller: Caller, me: Principal, body: CreateToken
    ) -> TokenCreated:
        """Make an API token for the caller; only the answer ever holds it."""
        _within_limits(me, body)
        now = self._clock.now()
        row_id = new_id("tk", clock=self._clock)
        token = make_token(TokenKind.API, row_id=row_id, secret=secret_text(urandom(SECRET_BYTES)))
        row = tx.add(
            ApiTokenRow(
                id=row_id,
                user_id=me.user_id,
                name=body.name,
                token_sha256=token.sha256,
                role=body.role.value if body.role else None,
                project=body.project,
                created_at=now,
                expires_at=now + timedelta(days=body.expires_in_days),
            )
        )
        after = body.model_dump(mode="json")
        act = Act(action="token.create", entity="token", entity_id=row_id, entity_name=row.name, after=after)
        self._trail.write(tx, actor=caller.actor, request_id=caller.request_id, act=act)
        return TokenCreated(**dict(_view_of(row, me.username)), token=token.text)

    async def delete_token(self, caller: Caller, token_id: str, *, of: str | None) -> None:
        """Revoke a token; `of` is the user whose it must be, None for anybody's."""
        async with self._store.transaction() as tx:
            row = await tx.get(ApiTokenRow, token_id, lock=True)
            if row is None or (of is not None and row.user_id != of):
                raise NotFound(f"There is no token {token_id!r} that you can see.")
            tx.delete(row)
            act = Act(action="token.delete", entity="token", entity_id=token_id, entity_name=row.name)
            self._trail.write(tx, actor=caller.actor, request_id=caller.request_id, act=act)
        self._authenticator.forget()


def user_view(row: UserRow, roles: Roles) -> UserView:
    """What is shown of a user."""
    return UserView(
        id=row.id,
        username=row.username,
        roles=dict(sorted(roles.items())),
        managed=row.username == OPERATOR,
        created_at=row.created_at,
        version=row.version,
    )


def _view_of(row: ApiTokenRow, username: str) -> TokenView:
    return TokenView.model_validate({**row.model_dump(), "user": username})


async def _token_view(tx: Transaction, row: ApiTokenRow) -> TokenView:
    user = await tx.get(UserRow, row.user_id)
    return _view_of(row, user.username if user else "")


def _changeable(row: UserRow | None, ref: str, caller: Caller) -> UserRow:
    if row is None:
        raise NotFound(f"There is no user {ref!r}.")
    if row.username == OPERATOR:
        raise Conflict("The user operator is kept by the platform itself and cannot be changed here.")
    if caller.if_match is not None and caller.if_match != str(row.version):
        raise StaleVersion(f"The user changed meanwhile (now version {row.version}). Read it again.")
    return row


async def _keep_an_admin(tx: Transaction, row: UserRow, before: Roles, after: Roles) -> None:
    loses = before.get(EVERY_PROJECT) is Role.ADMIN and after.get(EVERY_PROJECT) is not Role.ADMIN
    if loses and not await queries.admins_besides(tx, row.id):
        raise Conflict("This is the last admin of the platform. Make somebody else an admin first.")


def _check_password(username: str, password: str | None) -> None:
    if password is not None and username in password.lower() and len(password) < len(username) + 8:
        raise Invalid(
            "The password is little more than the user's name. Choose another.",
            errors=[{"pointer": "/password", "detail": "little more than the user's name"}],
        )


def _within_limits(me: Principal, body: CreateToken) -> None:
    wider_role = me.limit_role is not None and (body.role is None or not me.limit_role.allows(body.role))
    wider_project = me.limit_project is not None and body.project != me.limit_project
    if wider_role or wider_project:
        raise Forbidden(
            "Your own token is limited"
            f" (role {me.limit_role or 'any'}, project {me.limit_project or 'any'}), and a token made with it cannot do more. "
            "Give the same limits, or sign in with your password."
        )


def _spoken(roles: Mapping[str, Role]) -> dict[str, dict[str, str]]:
    return {"roles": {project: role.value for project, role in sorted(roles.items())}}
