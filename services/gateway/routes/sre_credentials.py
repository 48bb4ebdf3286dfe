"""Credentials with which people's own clients hear alerts at the bus itself."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from lattice.contracts import catalogue
from lattice.contracts.messages import CreateSreCredential, RevokeSreCredential
from lattice.contracts.views import Listing, SreCredentialCreated, SreCredentialView
from lattice.storage import Transaction
from services.gateway.answers import answer
from services.gateway.call import CurrentCall, GuardedRoute
from services.gateway.idempotency import once
from services.gateway.names import Ref
from services.gateway.routes.paging import PageOf
from services.gateway.schemas import CreateSreCredentialBody

router = APIRouter(route_class=GuardedRoute, tags=["alerts"])
_DAY_S = 86_400


@router.get("/v1/sre-credentials", response_model=Listing[SreCredentialView])
async def list_credentials(call: CurrentCall, page: PageOf) -> Response:
    """All that were made, newest first, also those that no longer hold."""
    return answer(await call.ask(catalogue.LIST_SRE_CREDENTIALS, page))


@router.post("/v1/sre-credentials", status_code=201, response_model=SreCredentialCreated)
async def create_credential(call: CurrentCall, body: CreateSreCredentialBody) -> Response:
    """Make one; its keys are shown this once."""
    request = CreateSreCredential(
        caller=call.caller,
        name=body.name,
        project=body.project,
        may_order=body.may_order,
        ttl_s=body.expires_in_days * _DAY_S,
    )

    async def create(_: Transaction) -> SreCredentialCreated:
        return await call.ask(catalogue.CREATE_SRE_CREDENTIAL, request)

    # The gateway keeps the answer, sealed: the registry does not keep the keys.
    gateway = call.gateway
    view = await once(
        gateway.store, call.caller, gateway.clock.now(), call.authorization, SreCredentialCreated, create
    )
    return answer(view, status=201)


@router.delete("/v1/sre-credentials/{id}", response_model=SreCredentialView)
async def revoke_credential(call: CurrentCall, ref: Ref) -> Response:
    """Cut it, and let it in no more."""
    request = RevokeSreCredential(caller=call.caller, ref=ref)
    return answer(await call.ask(catalogue.REVOKE_SRE_CREDENTIAL, request))
