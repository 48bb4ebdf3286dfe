"""What all routes of one gateway share, built once by `app.create_app`."""

from __future__ import annotations

from dataclasses import dataclass

from lattice.clock import Clock
from lattice.errors import Temporary
from lattice.messaging import Bus
from lattice.storage import Store
from services.gateway import store as queries
from services.gateway.accounts import Accounts
from services.gateway.alert_feed import AlertFeed
from services.gateway.audit import Trail
from services.gateway.auth import Authenticator
from services.gateway.fact_feed import FactFeed
from services.gateway.ingress_link import IngressLink
from services.gateway.open_streams import OpenStreams
from services.gateway.settings import GatewaySettings
from services.gateway.sign_in import SignIns
from services.gateway.throttle import Throttle


@dataclass(frozen=True, slots=True)
class Gateway:
    """The parts of a gateway."""

    settings: GatewaySettings
    bus: Bus
    store: Store
    clock: Clock
    trail: Trail
    authenticator: Authenticator
    accounts: Accounts
    sign_ins: SignIns
    throttle: Throttle
    facts: FactFeed
    alerts: AlertFeed
    streams: OpenStreams
    ingress: IngressLink

    async def bus_problem(self) -> str:
        """What is wrong with the link to the bus, in plain words; empty when nothing is."""
        return await self.bus.ready()

    async def database_problem(self) -> str:
        """What is wrong with the database, in plain words; empty when nothing is."""
        try:
            async with self.store.transaction() as tx:
                await queries.mark(tx, "ready")
        except Temporary as error:
            return f"the database is away: {error}"
        return ""
