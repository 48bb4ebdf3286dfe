"""Signing in and out, the first admin, and who one is."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from services.gateway.answers import answer, nothing, versioned
from services.gateway.call import CurrentCall, GuardedRoute
from services.gateway.first_admin import make_first_admin
from services.gateway.schemas import Login, Me, Setup, SignedIn, UserView
from services.gateway.throttle import SET_UPS_PER_ADDRESS

router = APIRouter(route_class=GuardedRoute, tags=["sign-in"])


@router.post("/v1/auth/login", response_model=SignedIn)
async def sign_in(call: CurrentCall, body: Login) -> Response:
    """Sign in with a password; answers a token for the Authorization header."""
    return answer(await call.gateway.sign_ins.sign_in(body, address=call.address, request_id=call.request_id))


@router.post("/v1/auth/logout", status_code=204)
async def sign_out(call: CurrentCall) -> Response:
    """End the session that this request is made with."""
    await call.gateway.sign_ins.sign_out(call.me, request_id=call.request_id)
    return nothing()


@router.post("/v1/auth/setup", status_code=201, response_model=UserView)
async def set_up(call: CurrentCall, body: Setup) -> Response:
    """Make the first admin with the platform's one-time secret; gone after that."""
    gateway = call.gateway
    await gateway.throttle.count(SET_UPS_PER_ADDRESS, "set-up", call.address)
    async with call.refusals_kept("user.set_up_refused", "user", body.username):
        view = await make_first_admin(
            gateway.store,
            gateway.clock,
            gateway.accounts,
            body,
            secret_file=gateway.settings.bootstrap_secret_file,
            request_id=call.request_id,
        )
    return versioned(view, status=201)


@router.get("/v1/me", response_model=Me)
async def me(call: CurrentCall) -> Response:
    """Who is calling, and with which roles."""
    principal = call.me
    return answer(
        Me(
            id=principal.user_id,
            username=principal.username,
            roles=dict(principal.roles),
            credential=principal.credential_id,
            expires_at=principal.expires_at,
        )
    )
