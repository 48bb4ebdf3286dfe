"""Users and API tokens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from lattice.contracts.nouns import Role
from lattice.contracts.views import Listing
from lattice.errors import Forbidden
from services.gateway.answers import answer, nothing, versioned
from services.gateway.call import Call, CurrentCall, GuardedRoute
from services.gateway.idempotency import once
from services.gateway.names import Ref, UserRef
from services.gateway.policy import EVERY_PROJECT, role_in
from services.gateway.routes.paging import PageOf
from services.gateway.schemas import (
    CreateToken,
    CreateUser,
    TokenCreated,
    TokenView,
    UpdateUser,
    UserView,
)

router = APIRouter(route_class=GuardedRoute, tags=["users"])


def _is_admin(call: Call) -> bool:
    return role_in(call.me.roles, EVERY_PROJECT) is Role.ADMIN


@router.get("/v1/users", response_model=Listing[UserView])
async def list_users(call: CurrentCall, page: PageOf) -> Response:
    """Users by name."""
    return answer(await call.gateway.accounts.users(after=page.page_token or "", limit=page.page_size))


@router.post("/v1/users", status_code=201, response_model=UserView)
async def create_user(call: CurrentCall, body: CreateUser) -> Response:
    """Make a user."""
    accounts = call.gateway.accounts
    password_hash = await accounts.password_hash(body.password)
    view = await once(
        call.gateway.store,
        call.caller,
        call.gateway.clock.now(),
        call.authorization,
        UserView,
        lambda tx: accounts.create_user(tx, call.caller, body, password_hash=password_hash),
    )
    return versioned(view, status=201)


@router.patch("/v1/users/{id}", response_model=UserView)
async def update_user(call: CurrentCall, ref: UserRef, body: UpdateUser) -> Response:
    """Change a user's roles or password: an admin anybody's, everybody their own password."""
    if not _is_admin(call):
        await _check_own_password(call, ref, body)
    return versioned(await call.gateway.accounts.update_user(call.caller, ref, body))


async def _check_own_password(call: Call, ref: str, body: UpdateUser) -> None:
    mine = ref in (call.me.user_id, call.me.username)
    if not mine or body.roles is not None:
        await call.require(Role.ADMIN, EVERY_PROJECT)
    if body.current_password is None:
        raise Forbidden("Give current_password too, to change your own password.")
    await call.gateway.sign_ins.confirm(call.me, body.current_password, address=call.address)


@router.delete("/v1/users/{id}", status_code=204)
async def delete_user(call: CurrentCall, ref: UserRef) -> Response:
    """Remove a user, their tokens and sign-ins."""
    await call.gateway.accounts.delete_user(call.caller, ref)
    return nothing()


@router.get("/v1/tokens", response_model=Listing[TokenView])
async def list_tokens(
    call: CurrentCall, page: PageOf, owner: Annotated[str, Query(pattern="^(me|everybody)$")] = "me"
) -> Response:
    """One's own API tokens; an admin may ask for everybody's."""
    if owner == "everybody":
        await call.require(Role.ADMIN, EVERY_PROJECT)
    of = call.me.user_id if owner == "me" else None
    return answer(
        await call.gateway.accounts.tokens(of=of, after=page.page_token or "", limit=page.page_size)
    )


@router.post("/v1/tokens", status_code=201, response_model=TokenCreated)
async def create_token(call: CurrentCall, body: CreateToken) -> Response:
    """Make an API token for oneself; the token itself is shown only now."""
    view = await once(
        call.gateway.store,
        call.caller,
        call.gateway.clock.now(),
        call.authorization,
        TokenCreated,
        lambda tx: call.gateway.accounts.create_token(tx, call.caller, call.me, body),
    )
    return answer(view, status=201)


@router.delete("/v1/tokens/{id}", status_code=204)
async def delete_token(call: CurrentCall, ref: Ref) -> Response:
    """Revoke a token: one's own, an admin anybody's."""
    await call.gateway.accounts.delete_token(
        call.caller, ref, of=None if _is_admin(call) else call.me.user_id
    )
    return nothing()
