"""Builds the registry: its handlers on the bus, its relay, its sweep, and the ear for what nodes report.

`Registry` takes a bus and a store, whichever they are, so that tests run it in memory; `build` makes the real ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from loguru import logger

from lattice import identity, pki_files
from lattice.background import Background
from lattice.bus import NatsBus
from lattice.bus_system import SystemBus, open_system_bus
from lattice.clock import Clock, SystemClock
from lattice.contracts.catalogue import HEARTBEAT, NODE_EVENT, REGISTRY_WAKE, RESYNC, STATUS
from lattice.contracts.messages import DeadLetter, Done, Resync
from lattice.contracts.streams import CONSUMERS, NODE_EVENTS_BY_REGISTRY, OBSERVED_BY_REGISTRY, STREAMS
from lattice.dead_letters import DeadLetterMover
from lattice.envelope import load_master_keys
from lattice.errors import LatticeError, Temporary
from lattice.ids import NewId, new_id
from lattice.messaging import Bus, Received
from lattice.migrations import upgrade_when_there
from lattice.own_logs import OwnLogs
from lattice.own_metrics import OwnMetrics
from lattice.postgres import open_store
from lattice.process import Checks
from lattice.storage import Store
from services.registry import observed
from services.registry.accept import TlsIssuer
from services.registry.change import SYSTEM, Deps
from services.registry.disk_watermark import DEFAULT_WATERMARK, Watermark
from services.registry.dns import AskDns, resolver
from services.registry.documents import Documents
from services.registry.domain_checks import DomainChecks
from services.registry.first_start import ensure_cluster
from services.registry.handlers import serve_all
from services.registry.image_registry import ImageRegistries
from services.registry.issuing import Issuer
from services.registry.judging import MASS_LOSS_HOLD, Judge
from services.registry.link_publishing import LinkPublisher
from services.registry.liveness import DEFAULT_THRESHOLDS, Thresholds
from services.registry.measuring import Measuring
from services.registry.node_deps import NodeDeps, NodeSettings
from services.registry.presence import Presence
from services.registry.public_places import NO_PLACES, PublicPlaces
from services.registry.relay import Relay
from services.registry.revocation import Doorkeeper
from services.registry.routes import RoutePublisher
from services.registry.settings import RegistrySettings
from services.registry.sweep import Sweep
from services.registry.tables import MIGRATIONS
from services.registry.template import load_templates
from services.registry.vault import Vault
from services.registry.workload_deps import WorkloadDeps

_REPORT_IN_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What the registry signs and opens with."""

    issuer: Issuer
    vault: Vault
    tls: TlsIssuer


def load_keys(settings: RegistrySettings) -> Keys:
    """Read the keys that the platform made at its first start."""
    certificates = pki_files.load_authority(settings.pki_dir)
    issuer = Issuer(
        certificates=certificates,
        tickets=identity.load(settings.authority_dir),
        cluster_id=settings.cluster_id,
        nats_urls=tuple(settings.node_nats_urls),
        nats_server_name=settings.bus.server_name,
    )
    vault = Vault(load_master_keys(settings.master_key_dir))
    return Keys(issuer=issuer, vault=vault, tls=TlsIssuer(certificates, settings.apps_domain))


CutLinks = Callable[[], Awaitable[None]]


async def _nobody() -> None:
    """There is no link to cut."""


class Registry:
    """One replica: `start` makes it serve, its loops run in the `Background` that it is given."""

    def __init__(
        self,
        *,
        store: Store,
        bus: Bus,
        keys: Keys,
        node_settings: NodeSettings | None = None,
        clock: Clock | None = None,
        ids: NewId = new_id,
        registries: ImageRegistries | None = None,
        cut_links: CutLinks = _nobody,
        thresholds: Thresholds = DEFAULT_THRESHOLDS,
        mass_loss_hold: timedelta = MASS_LOSS_HOLD,
        watermark: Watermark = DEFAULT_WATERMARK,
        places: PublicPlaces = NO_PLACES,
        ask_dns: AskDns | None = None,
    ) -> None:
        self._ask_dns = ask_dns or resolver(())
        self.bus, clock = bus, clock or SystemClock()
        plain = Deps(store=store, now=clock.now, new_id=ids, wake_relay=self._wake, places=places)
        documents = Documents(plain, keys.vault, bus, places.ingresses)
        self.relay = Relay(plain, bus, documents, RoutePublisher(plain, bus), LinkPublisher(plain, bus))
        self.about_workloads = WorkloadDeps(
            store=store,
            now=clock.now,
            new_id=ids,
            wake_relay=self._wake,
            places=places,
            templates=load_templates(),
            registries=registries or ImageRegistries(),
            vault=keys.vault,
            tls=keys.tls,
        )
        self.about_nodes = NodeDeps(plain, keys.issuer, node_settings or NodeSettings(), cut_links)
        self.presence = Presence(clock.now)
        self._to_ask: asyncio.Queue[str] = asyncio.Queue()
        self.judge = Judge(
            plain,
            self.presence,
            monotonic_s=clock.monotonic_s,
            is_connected=lambda: bus.connected,
            thresholds=thresholds,
            mass_loss_hold=mass_loss_hold,
            watermark=watermark,
            heard_again=self._to_ask.put_nowait,
        )
        self.deps = plain
        self.cluster_id = keys.issuer.cluster_id

    async def start(self, background: Background) -> None:
        """Make sure of what must be there, then answer, listen and loop."""
        await ensure_cluster(self.deps, self.cluster_id)
        await self.bus.subscribe(REGISTRY_WAKE, self._woken)
        await self.bus.subscribe(HEARTBEAT, self.presence.hear)
        await self.bus.consume(
            OBSERVED_BY_REGISTRY, STATUS, partial(observed.take_observed, self.deps), concurrency=8
        )
        await self.bus.consume(NODE_EVENTS_BY_REGISTRY, NODE_EVENT, partial(observed.take_event, self.deps))
        await DeadLetterMover(self.bus, on_moved=self._given_up).start()
        await serve_all(self.bus, self.about_nodes, self.about_workloads)
        self.bus.on_connected(self._connected)
        background.start("relay", self.relay.run)
        background.start("sweep", Sweep(self.deps).run)
        background.start("domains", DomainChecks(self.deps, self._ask_dns).run)
        background.start("judge", self.judge.run)
        background.start("reports asked for", self._ask_reports)

    async def _ask_reports(self) -> None:
        """Ask nodes that are back what they have; of one that does not answer the next report comes by itself."""
        while True:
            node_id = await self._to_ask.get()
            try:
                await self.bus.ask(RESYNC, Resync(), timeout_s=_REPORT_IN_S, node_id=node_id)
            except LatticeError as error:
                logger.info("node {} was asked for a report: {}", node_id, error)

    async def _given_up(self, letter: DeadLetter) -> None:
        """A message that no consumer could handle: people must hear of it."""
        data = letter.model_dump(mode="json")
        async with self.deps.change(SYSTEM, action="message.give_up") as change:
            name = f"{letter.stream}/{letter.consumer}"
            change.fact("dead_letter", "kept", entity_id=change.new_id("dl"), entity_name=name, data=data)

    async def _connected(self) -> None:
        """The bus may have lost everything: make its streams again, then publish every document again."""
        await self.bus.ensure_topology(STREAMS, CONSUMERS)
        self.relay.republish()

    async def _wake(self) -> None:
        """Something was committed here; the relay may run in another replica."""
        self.relay.wake()
        try:
            await self.bus.publish(REGISTRY_WAKE, Done())
        except Temporary:
            logger.debug("the link is down: other replicas look by themselves")

    async def _woken(self, _: Received[Done]) -> None:
        self.relay.wake()


def _doorkeeper(settings: RegistrySettings, keys: Keys, store: Store, system: SystemBus) -> Doorkeeper:
    return Doorkeeper(
        store,
        system,
        keys.issuer.tickets,
        now=SystemClock().now,
        ticket_life=timedelta(seconds=settings.credential_ttl_s),
    )


@asynccontextmanager
async def build(settings: RegistrySettings) -> AsyncIterator[Checks]:
    """The registry on NATS and Postgres."""
    keys = load_keys(settings)
    await upgrade_when_there(settings.database.url, MIGRATIONS)
    system_account = settings.bus.model_copy(update={"creds_file": settings.system_creds_file})
    async with (
        open_store(settings.database) as store,
        NatsBus(settings.bus, identity="registry") as bus,
        open_system_bus(system_account, account=keys.issuer.tickets.account.public) as system,
        Background() as background,
    ):
        background.start("own-logs", OwnLogs.of_service("registry", bus).run)
        background.start("own-metrics", OwnMetrics("registry", bus).run)
        doorkeeper = _doorkeeper(settings, keys, store, system)
        node_settings = NodeSettings(
            credential_ttl_s=settings.credential_ttl_s, remembered_s=settings.mishaps_remembered_s
        )
        registry = Registry(
            store=store,
            bus=bus,
            keys=keys,
            node_settings=node_settings,
            cut_links=doorkeeper.cut_links,
            thresholds=Thresholds(
                suspect_after_s=settings.suspect_after_s, unreachable_after_s=settings.unreachable_after_s
            ),
            mass_loss_hold=timedelta(seconds=settings.mass_loss_hold_s),
            watermark=settings.disk_watermark,
            places=settings.places,
            ask_dns=resolver(settings.dns_servers),
        )
        await registry.start(background)
        await system.watch(doorkeeper.look_at)
        system.on_connected(doorkeeper.link_is_new)
        background.start("doorkeeper", doorkeeper.run)
        measuring = Measuring(
            store, SystemClock().now, database=store.vitals, servers=system.vitals, streams=system.streams
        )
        background.start("measuring", measuring.run)
        yield {"bus": bus.ready, "database": store.ready}
