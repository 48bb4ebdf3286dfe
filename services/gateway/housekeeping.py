"""What the gateway does by itself from time to time: keep the operator's token valid, forget what has expired."""

from __future__ import annotations

import asyncio

from loguru import logger

from services.gateway import store as queries
from services.gateway.context import Gateway
from services.gateway.first_admin import keep_operator_token

EVERY_S = 3600.0


async def keep_house(gateway: Gateway) -> None:
    """Once at the start, then every hour; runs beside the requests."""
    while True:
        await tidy(gateway)
        await asyncio.sleep(EVERY_S)


async def tidy(gateway: Gateway) -> None:
    """One round."""
    await keep_operator(gateway)
    async with gateway.store.transaction() as tx:
        await queries.delete_expired(tx, gateway.clock.now())


async def keep_operator(gateway: Gateway) -> None:
    """Make the operator's token valid, if a file holds one."""
    token_file = gateway.settings.operator_token_file
    if token_file is None:
        return
    if not await keep_operator_token(gateway.store, gateway.clock, token_file):
        logger.warning("{} holds no API token: the user operator cannot sign in", token_file)
