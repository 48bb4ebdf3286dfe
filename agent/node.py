"""All parts of one node's agent, put together from a bus, an engine and a folder, so that tests run it in one process with doubles.

async with open_agent(who, config, bus=bus, runtime=runtime) as agent:
    …
"""

from __future__ import annotations

import random
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agent import heartbeat
from agent.document_sync import DocumentSync
from agent.engine_watch import EngineWatch
from agent.exec_sessions import SILENCE_S, ExecSessions
from agent.executor import Executor
from agent.facts import Facts
from agent.health import HealthChecks
from agent.image_collection import CollectionRules
from agent.image_room import ImageRoom, SizeOf, registry_size
from agent.instance_files import InstanceFiles
from agent.instance_usage import InstanceUsage
from agent.inventory import DiskSpace, InventoryKeeper, disk_space, usage
from agent.job_facts import untold
from agent.journal import Journal
from agent.launch import Launcher
from agent.links import Links
from agent.log_shipping import LogShipping
from agent.log_spool import DEFAULT_BYTES
from agent.measuring import EVERY_S as MEASURE_EVERY_S
from agent.measuring import Measuring
from agent.naming import INSTANCE
from agent.node_events import NodeEvents
from agent.policy import limited, refusals
from agent.policy_watch import EVERY_S as POLICY_EVERY_S
from agent.policy_watch import PolicyWatch
from agent.ports import IsFree, is_free
from agent.pulled_images import EVERY_S as COLLECT_EVERY_S
from agent.pulled_images import PulledImages
from agent.reporter import Reporter
from agent.steps import StepTaker
from agent.tunnel import Tunnels
from agent.world import World
from lattice import __version__
from lattice.background import Background
from lattice.clock import Clock, SystemClock
from lattice.contracts.catalogue import EXEC, RESYNC
from lattice.contracts.messages import DesiredDocument, Done, Heartbeat, ObservedDocument, Resync
from lattice.contracts.nouns import Health
from lattice.ids import NewId, new_id
from lattice.messaging import Bus
from lattice.runtime import Runtime
from lattice.sealing import SealingKey

POLICY_FILE = "policy.yaml"
LOG_SPOOL = "log-spool"
_UNKNOWN = (Health.UNKNOWN, "")


@dataclass(frozen=True, slots=True)
class NodeSelf:
    """Who this node is."""

    node_id: str
    cluster_id: str
    sealing_key: SealingKey


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """Where it keeps things, and how often it does what."""

    data_dir: Path
    files_root: Path
    heartbeat_s: float = 5.0
    report_s: float = 30.0
    fetch_s: float = 60.0
    ping_s: float = 5.0
    exec_silence_s: float = SILENCE_S
    clock: Clock = field(default_factory=SystemClock)
    chance: random.Random = field(default_factory=random.Random)
    new_id: NewId = new_id
    port_is_free: IsFree = is_free
    collection: CollectionRules = field(default_factory=CollectionRules)
    collect_every_s: float = COLLECT_EVERY_S
    disk_space: Callable[[str], DiskSpace] = disk_space
    policy_file: Path | None = None
    policy_required: bool = False
    policy_every_s: float = POLICY_EVERY_S
    image_size: SizeOf = registry_size
    tunnel_tls: Callable[[], ssl.SSLContext] | None = None
    log_spool_bytes: int = DEFAULT_BYTES
    measure_every_s: float = MEASURE_EVERY_S


class NodeAgent:
    """The parts, wired."""

    def __init__(self, who: NodeSelf, config: AgentConfig, bus: Bus, runtime: Runtime) -> None:
        self.who, self._config, self._bus = who, config, bus
        clock, chance = config.clock, config.chance
        self.journal = Journal(config.data_dir)
        self.world = World(runtime, who.cluster_id)
        self.events = NodeEvents(who.node_id, bus, clock, config.new_id)
        self.policy = PolicyWatch(
            config.policy_file or config.data_dir / POLICY_FILE,
            self.events,
            clock,
            self._changed,
            required=config.policy_required,
            every_s=config.policy_every_s,
        )
        self.logs = LogShipping(
            who.node_id,
            runtime,
            bus,
            self.journal,
            self.events,
            folder=config.data_dir / LOG_SPOOL,
            most_bytes=config.log_spool_bytes,
        )
        self.inventory = InventoryKeeper(runtime)
        self.images = PulledImages(
            runtime,
            self.journal,
            self.events,
            clock=clock,
            space=self._space,
            room=ImageRoom(self._space, lambda: self.inventory.inventory.arch, config.image_size),
            rules=config.collection,
            every_s=config.collect_every_s,
        )
        self.health = HealthChecks(runtime, clock, self._changed)
        self.files = files = InstanceFiles(config.files_root, who.sealing_key, runtime, who.cluster_id)
        launcher = Launcher(
            runtime, who.cluster_id, files, self.images, chance=chance, port_is_free=config.port_is_free
        )
        self.tunnels = (
            Tunnels(self.journal, config.tunnel_tls, chance) if config.tunnel_tls is not None else None
        )
        self.links = Links(
            self.journal,
            self.world,
            who.cluster_id,
            ready_here=self._ready_here,
            open_stream=None if self.tunnels is None else self.tunnels.open,
        )
        steps = StepTaker(
            runtime,
            self.journal,
            self.world,
            launcher,
            self.logs,
            self.events,
            self.links,
            cluster_id=who.cluster_id,
            clock=clock,
            chance=chance,
        )
        self.reporter = Reporter(who.node_id, bus, self._observed, every_s=config.report_s)
        self.executor = Executor(
            self.journal,
            self.world,
            steps,
            self.health,
            self.logs,
            self.events,
            self._refused,
            clock=clock,
            chance=chance,
            changed=self.reporter.changed,
        )
        self.engine = EngineWatch(
            runtime,
            self.world,
            self.inventory,
            who.cluster_id,
            returned=self.executor.engine_returned,
            changed=self._changed,
            clock=clock,
            chance=chance,
            ping_s=config.ping_s,
        )
        self.documents = DocumentSync(
            who.node_id,
            who.cluster_id,
            bus,
            self.executor.offer,
            self.events,
            chance=chance,
            fetch_s=config.fetch_s,
        )
        self.exec_sessions = ExecSessions(
            who.node_id,
            who.cluster_id,
            runtime,
            bus,
            self.journal,
            self.world,
            silence_s=config.exec_silence_s,
        )

        self.measuring = Measuring(
            who.node_id,
            bus,
            InstanceUsage(runtime),
            journal=self.journal,
            world=self.world,
            health=self.health,
            logs=self.logs,
            inventory=self.inventory,
            tunnels=self.tunnels,
            engine_problem=lambda: self.engine.problem,
            clock=clock,
            every_s=config.measure_every_s,
        )

    async def ready(self) -> str:
        """A readiness check: what keeps this node from working, in plain words, or ""."""
        if self.engine.problem:
            return self.engine.problem
        return "" if self.world.complete else "the containers of this node were not listed yet"

    async def start(self, stack: AsyncExitStack) -> None:
        """Begin everything; `stack` ends it."""
        self.journal.begin_session(self._config.clock.now())
        self.policy.read_first()
        self.files.prepare()
        stored = await self.logs.start()
        stack.push_async_callback(self.logs.close)
        stack.push_async_callback(stored.stop)
        stack.push_async_callback(self.health.close)
        stack.push_async_callback(self.exec_sessions.close)
        background = await stack.enter_async_context(Background(clock=self._config.clock))
        background.start("engine events", self.engine.listen)
        background.start("engine ping", self.engine.ping)
        background.start("executor", self.executor.run)
        background.start("node events", self.events.run)
        background.start("image collection", self.images.run)
        background.start("owner's policy", self.policy.run)
        background.start("log collection", self.logs.collecting.run)
        background.start("log positions", self.logs.keep)
        background.start("log sending", self.logs.sending.run)
        background.start("log questions", self.logs.sending.look)
        background.start("reports", self.reporter.run)
        background.start("heartbeats", self._beat)
        background.start("document fetch", self.documents.run)
        background.start("links", self.links.run)
        background.start("measuring", self.measuring.run)
        if self.tunnels is not None:
            background.start("tunnels", self.tunnels.run)
        node_id = self.who.node_id
        for serving in (
            await self._bus.serve(EXEC, self.exec_sessions.start, node_id=node_id),
            await self._bus.serve(RESYNC, self._resync, node_id=node_id),
            await self.documents.start(),
        ):
            stack.push_async_callback(serving.stop)
        self._bus.on_connected(self._linked)

    def _changed(self) -> None:
        self.executor.wake()
        self.reporter.changed()

    def _refused(self, document: DesiredDocument | None, facts: Facts) -> dict[str, str]:
        return refusals(document, facts, self.policy.owner, self.inventory.inventory.images)

    def _space(self) -> DiskSpace:
        return self._config.disk_space(self.inventory.data_dir)

    async def _beat(self) -> None:
        await heartbeat.beat(self._bus, self._heartbeat, every_s=self._config.heartbeat_s)

    async def _linked(self) -> None:
        """The heartbeat first: a node that reports and is not heard would be thought lost again."""
        await heartbeat.tell(self._bus, self._heartbeat())
        await self.reporter.report_now()

    async def _resync(self, request: Resync) -> Done:
        await self.reporter.report_now()
        return Done()

    def _ready_here(self, project: str, workload: str, container_port: int) -> int | None:
        """The host port of an instance that is ready on this node."""
        document = self.journal.document
        own = {
            each.instance_id
            for each in (document.instances if document else ())
            if (each.project, each.workload_name) == (project, workload)
        }
        if not own:
            return None
        health = self.health.results
        ready = [
            each
            for each in self.world.containers
            if each.is_up
            and each.labels.get(INSTANCE) in own
            and health.get(each.id, _UNKNOWN)[0] is Health.HEALTHY
        ]
        ports = [
            port.host_port for each in ready for port in each.ports if port.container_port == container_port
        ]
        return self._config.chance.choice(ports) if ports else None

    def _heartbeat(self) -> Heartbeat:
        return Heartbeat(
            node_id=self.who.node_id,
            boot_id=self.journal.boot_id,
            session=self.journal.session,
            agent_version=__version__,
            usage=usage(self.inventory.data_dir),
            disk_free_bytes=disk_space(self.inventory.data_dir).free_bytes,
            docker_problem=self.engine.problem,
        )

    def _observed(self, counter: int) -> ObservedDocument:
        containers, quarantined = self.executor.observed()
        document, facts = self.journal.document, self.journal.facts
        era, generation = document.order if document else (0, 0)
        return ObservedDocument(
            node_id=self.who.node_id,
            boot_id=self.journal.boot_id,
            session=self.journal.session,
            counter=counter,
            era=era,
            generation=generation,
            complete=self.world.complete,
            docker_problem=self.engine.problem,
            containers=containers,
            quarantined=quarantined,
            volumes=self.world.volume_ids,
            inventory=limited(self.inventory.inventory, self.policy.owner),
            runs=untold(facts.jobs.values(), known=facts.runs_known),
        )


@asynccontextmanager
async def open_agent(
    who: NodeSelf, config: AgentConfig, *, bus: Bus, runtime: Runtime
) -> AsyncIterator[NodeAgent]:
    """A running agent; leaving the block ends the agent and none of the containers."""
    agent = NodeAgent(who, config, bus, runtime)
    async with AsyncExitStack() as stack:
        await agent.start(stack)
        yield agent
