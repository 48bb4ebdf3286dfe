"""A whole platform on virtual time: registry, two schedulers and three nodes, the production code of each, over the doubles of `lattice.testing`.

A seed decides everything: which commands people give, what fails when and how it comes back.  `World.play` lets it go wrong for a while,
`World.heal` brings everything back and waits.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from agent.inventory import DiskSpace
from agent.naming import CLUSTER, EPOCH, SLOT, WORKLOAD
from agent.node import AgentConfig, NodeAgent, NodeSelf, open_agent
from lattice import pki
from lattice.background import Background
from lattice.cancelling import cancel_and_wait
from lattice.contracts import catalogue as c
from lattice.contracts import messages as m
from lattice.contracts.nouns import Amounts, Inventory
from lattice.contracts.spec import WorkloadSpec
from lattice.envelope import create_master_key
from lattice.errors import LatticeError
from lattice.ids import id_at
from lattice.runtime import ContainerOptions
from lattice.sealing import SealingKey, new_sealing_key
from lattice.testing.broker import MemoryBroker
from services.registry.accept import TlsIssuer
from services.registry.app import Keys, Registry
from services.registry.image_pinning import Answer, RegistryAnswer
from services.registry.image_registry import ImageRegistries
from services.registry.issuing import Issuer
from services.registry.tables import NodeRow
from services.registry.vault import Vault
from services.scheduler.app import Scheduler
from tests.simulation.link import Link
from tests.simulation.time import START, LoopClock
from tests.simulation.witness import (
    BAD,
    CLUSTER_ID,
    STRANGER,
    STRANGER_KEY,
    Engine,
    SeenStore,
    UnevenDatabase,
    Witness,
)

DIGEST = "sha256:" + "a" * 64
IMAGE = f"app@{DIGEST}"
NODES = ("nd-1", "nd-2", "nd-3")
CALLER = m.Caller(actor="user:ann")
# Three of these fit on a node.
RESOURCES = {"cpu": 1.2, "memory": "64Mi"}
NEVER_S = 1e9


_FAULTS = ("kill", "cut", "mend", "start", "erase", "exit", "vanish", "engine", "database", "late")


class _Registries(ImageRegistries):
    """Every image is there."""

    async def digest(self, reference: Any, login: str | None, *, monotonic_s: float) -> RegistryAnswer:
        return RegistryAnswer(Answer.FOUND, digest=DIGEST)


@cache
def _keys() -> Keys:
    """Made once for all worlds: keys take time, and no seed depends on them."""
    authority = pki.create_authority(name="simulation", now=START).authority
    tickets: Any = None  # nobody joins here
    issuer = Issuer(
        authority, tickets, cluster_id=CLUSTER_ID, nats_urls=("tls://none:1",), nats_server_name="n"
    )
    with tempfile.TemporaryDirectory() as folder:
        vault = Vault(create_master_key(Path(folder)))
    return Keys(issuer=issuer, vault=vault, tls=TlsIssuer(authority))


@cache
def _sealing(node_id: str) -> SealingKey:
    return new_sealing_key()


class Process(ABC):
    """Something that runs, dies and is started again."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.link: Link | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def runs(self) -> bool:
        return self._task is not None

    def start(self) -> None:
        self.link = Link(self.world.broker, self.name, self.world.chance, self.world.never)
        self.link.loss = self.world.loss
        self._task = asyncio.create_task(self._run(self.link))

    @abstractmethod
    async def _run(self, link: Link) -> None:
        """Live on this link until it is cancelled."""

    async def kill(self) -> None:
        """At once, wherever it is."""
        if self._task is None or self.link is None:
            return
        self.link.die()
        task, self._task = self._task, None
        await cancel_and_wait([task])

    def cut(self) -> None:
        if self.link is not None:
            self.link.disconnect()

    async def mend(self) -> None:
        if self.link is not None and self.runs and not self.link.connected:
            await self.link.reconnect()


class RegistryProcess(Process):
    async def _run(self, link: Link) -> None:
        world = self.world
        link_seen = _Witnessed(link, world.witness)
        registry = Registry(
            store=SeenStore(world.witness),
            bus=link_seen,
            keys=_keys(),
            clock=world.clock,
            ids=world.new_id,
            registries=_Registries(),
            mass_loss_hold=timedelta(seconds=20),
        )
        async with Background(clock=world.clock, chance=world.chance.random) as background:
            while True:
                try:
                    await registry.start(background)
                    break
                except LatticeError:
                    await asyncio.sleep(1)
            await asyncio.Event().wait()


class _Witnessed:
    """The registry's link; commits of placements are seen."""

    def __init__(self, link: Link, witness: Witness) -> None:
        self._link, self._witness = link, witness

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    async def serve(self, rpc: Any, handler: Callable[[Any], Awaitable[Any]], **more: Any) -> Any:
        if rpc is not c.COMMIT_PLACEMENTS:
            return await self._link.serve(rpc, handler, **more)

        async def seen(request: Any) -> Any:
            term = self._witness.term
            reply = await handler(request)
            self._witness.placements_committed(request, reply, term)
            return reply

        return await self._link.serve(rpc, seen, **more)


class SchedulerProcess(Process):
    async def _run(self, link: Link) -> None:
        await Scheduler(link, holder=self.name, lease_ttl_s=6, sweep_s=10, clock=self.world.clock).run()


class AgentProcess(Process):
    def __init__(self, world: World, node_id: str, folder: Path) -> None:
        super().__init__(world, node_id)
        self.folder = folder
        self.engine = Engine(node_id, world.witness, clock=world.clock)
        self.engine.registry[IMAGE] = None

    async def plant_stranger(self) -> None:
        """A container that carries our labels and that nobody knows."""
        self.engine._images["stranger:1"] = "sha256:" + "e" * 64
        key = STRANGER_KEY
        labels = {CLUSTER: CLUSTER_ID, WORKLOAD: key.workload_id, SLOT: str(key.slot), EPOCH: str(key.epoch)}
        options = ContainerOptions(
            name=STRANGER, image="stranger:1", labels=labels, network="none", cpu_millis=1, memory_bytes=1, pids=1
        )  # fmt: skip
        await self.engine.create(options)
        await self.engine.start(STRANGER)

    async def _run(self, link: Link) -> None:
        who = NodeSelf(self.name, CLUSTER_ID, _sealing(self.name))
        config = AgentConfig(
            data_dir=self.folder / "data",
            files_root=self.folder / "files",
            clock=self.world.clock,
            chance=self.world.chance,
            new_id=self.world.new_id,
            port_is_free=lambda _: True,
            disk_space=lambda _: DiskSpace(free_bytes=100 * 2**30, used_percent=10.0),
            measure_every_s=NEVER_S,  # nobody decides by what is measured, and no two machines measure the same
        )
        async with open_agent(who, config, bus=link, runtime=self.engine) as agent:
            await self._watch(agent)

    async def _watch(self, agent: NodeAgent) -> None:
        """Containers of a bad version end; orders only become newer."""
        while True:
            for found in self.engine.there():
                if found.is_up and self.engine.options_of(found.name).env.get("V") == BAD:
                    self.engine.end(found.name, exit_code=1)
            if agent.journal.document is not None:
                self.world.witness.journalled(self.name, agent.journal.document.order)
            self.world.witness.look()
            await asyncio.sleep(0.4)


@dataclass
class World:
    """Everything, from one seed."""

    seed: int
    folder: Path
    chance: random.Random = field(init=False)
    clock: LoopClock = field(default_factory=LoopClock)
    loss: float = 0.0
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.never = asyncio.Event()
        self._numbers = 0
        # Of a source of its own: what happens does not depend on how long it takes.
        pace = random.Random(self.seed)
        database = UnevenDatabase(statement_s=pace.choice((0.0, 0.002, 0.02)), chance=pace)
        self.witness = Witness(database)
        self.broker = MemoryBroker(self.clock, seed=self.seed)
        self.broker.duplicates = self.chance.random() < 0.4
        self.broker.reorder = self.chance.random() < 0.4
        self.loss = self.chance.choice((0.0, 0.0, 0.1, 0.3))
        self.registry = RegistryProcess(self, "registry")
        self.schedulers = [SchedulerProcess(self, f"scheduler-{number}") for number in (1, 2)]
        self.agents = {node: AgentProcess(self, node, self.folder / node) for node in NODES}
        self.people = Link(self.broker, "gateway", self.chance, self.never)
        self.names: list[str] = []

    @property
    def processes(self) -> list[Process]:
        return [self.registry, *self.schedulers, *self.agents.values()]

    def new_id(self, prefix: str) -> str:
        self._numbers += 1
        return id_at(prefix, at=self.clock.now(), randomness=self._numbers.to_bytes(8, "big"))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[World]:
        """Everything started, and ended at the end."""
        await self._enrol()
        for agent in self.agents.values():
            await agent.plant_stranger()
        for process in self.processes:
            process.start()
        try:
            yield self
        finally:
            for process in self.processes:
                await process.kill()
            self.people.die()

    async def _enrol(self) -> None:
        capacity = Amounts(cpu_millis=4000, memory_bytes=8 * 2**30, disk_bytes=100 * 2**30)
        async with SeenStore(self.witness).transaction() as tx:
            for node in NODES:
                tx.add(
                    NodeRow(
                        id=node,
                        name=node,
                        membership="approved",
                        liveness="joining",
                        inventory=Inventory(capacity=capacity).model_dump(mode="json"),
                        fingerprint=node,
                        nkey=node,
                        sealing_key=_sealing(node).public,
                        created_at=START,
                    )
                )

    # --- what people do ------------------------------------------------------------------------------------

    async def ask(self, rpc: Any, request: Any) -> None:
        """A command; a refusal is an answer like any other."""
        try:
            await self.people.ask(rpc, request, timeout_s=5)
            self.note(f"{rpc.name} {getattr(request, 'workload', '') or getattr(request, 'node', '')}")
        except LatticeError as error:
            self.note(f"{rpc.name} refused: {error.detail[:60]}")

    def note(self, what: str) -> None:
        self.log.append(f"{asyncio.get_running_loop().time():7.2f} {what}")

    async def command(self) -> None:
        """One thing that a person might do now."""
        chance = self.chance
        if not self.names or (len(self.names) < 3 and chance.random() < 0.5):
            await self._deploy()
            return
        name = chance.choice(self.names)
        plain = m.WorkloadCommand(caller=CALLER, workload=name)
        await chance.choice(
            (
                lambda: self._update(name, str(chance.randrange(100))),
                lambda: self._update(name, BAD),
                lambda: self.ask(
                    c.SCALE_WORKLOAD,
                    m.ScaleWorkload(caller=CALLER, workload=name, replicas=chance.randrange(4)),
                ),
                lambda: self.ask(c.STOP_WORKLOAD, plain),
                lambda: self.ask(c.START_WORKLOAD, plain),
                lambda: self.ask(c.RESTART_WORKLOAD, plain),
                lambda: self.ask(c.ROLLBACK_WORKLOAD, m.RollbackWorkload(caller=CALLER, workload=name)),
                lambda: self._remove(name),
                lambda: self._on_node(c.DRAIN_NODE, m.DrainNode),
                lambda: self._on_node(c.UNCORDON_NODE, m.NodeCommand),
            )
        )()

    async def _deploy(self) -> None:
        name = f"app-{len(self.log)}"
        volume = self.chance.random() < 0.3
        spec = WorkloadSpec.model_validate(
            {
                "name": name,
                "image": "app:1",
                "env": {"V": "1"},
                "resources": RESOURCES,
                "replicas": 1 if volume else self.chance.randrange(1, 4),
                "volumes": [{"name": "data", "path": "/data"}] if volume else [],
                "update": {"healthy_deadline": "20s"},
                "on_node_loss": {"lost_after": "10s"},
                "restart": {"backoff": {"initial": "1s", "max": "4s"}},
            }
        )
        self.names.append(name)
        await self.ask(c.CREATE_WORKLOAD, m.CreateWorkload(caller=CALLER, spec=spec))

    async def _update(self, name: str, version: str) -> None:
        request = m.UpdateWorkload(caller=CALLER, workload=name, patch={"env": {"V": version}})
        await self.ask(c.UPDATE_WORKLOAD, request)

    async def _remove(self, name: str) -> None:
        volumes = self.chance.random() < 0.5
        await self.ask(c.DELETE_WORKLOAD, m.DeleteWorkload(caller=CALLER, workload=name, volumes=volumes))

    async def _on_node(self, rpc: Any, kind: type[Any]) -> None:
        await self.ask(rpc, kind(caller=CALLER, node=self.chance.choice(NODES)))

    # --- what goes wrong -----------------------------------------------------------------------------------

    async def fault(self) -> None:
        """One thing that might go wrong now."""
        chance, process = self.chance, self.chance.choice(self.processes)
        agent = chance.choice(list(self.agents.values()))
        kind = chance.choice(_FAULTS)
        self.note(f"fault {kind} {process.name if kind in ('kill', 'cut') else agent.name}")
        match kind:
            case "kill":
                await process.kill()
            case "cut":
                process.cut()
            case "mend" | "start":
                await self._bring_back()
            case "erase":
                await self._erase_bus()
            case "exit" | "vanish":
                self._hit_a_container(agent, vanish=kind == "vanish")
            case "late":
                await self._deliver_late(agent)
            case "engine":
                agent.engine.restart_engine()
            case "database":
                self.witness.db.away = not self.witness.db.away

    def _hit_a_container(self, agent: AgentProcess, *, vanish: bool) -> None:
        up = [found.name for found in agent.engine.there() if found.is_up and found.name != STRANGER]
        if up:
            name = self.chance.choice(sorted(up))
            if vanish:
                agent.engine.vanish(name)
            else:
                agent.engine.end(name)

    async def _deliver_late(self, agent: AgentProcess) -> None:
        """Orders of long ago arrive once more, and so does a report."""
        orders = [each for each in self.people.sent(c.DESIRED_DOCUMENT) if each.node_id == agent.name]
        if orders:
            await self.people.publish(c.DEPLOY, self.chance.choice(orders), node_id=agent.name)
        reports = [each for each in self.people.sent(c.STATUS) if each.node_id == agent.name]
        if reports:
            again = f"late-{len(self.log)}"
            await self.people.append(c.STATUS, self.chance.choice(reports), msg_id=again, node_id=agent.name)

    async def _erase_bus(self) -> None:
        """The bus loses everything it kept, and every link with it."""
        for process in self.processes:
            process.cut()
        for stream in self.broker._streams.values():
            stream.entries.clear()
            for consumer in stream.consumers.values():
                consumer.waiting.clear()
        await self._bring_back()

    async def _bring_back(self) -> None:
        for process in self.processes:
            if not process.runs:
                process.start()
            else:
                await process.mend()

    # --- the whole -----------------------------------------------------------------------------------------

    async def play(self, steps: int) -> None:
        """Let people and faults have their way."""
        await asyncio.sleep(8)
        for _ in range(steps):
            await self.command()
            if self.chance.random() < 0.6:
                await self.fault()
            await asyncio.sleep(self.chance.choice((0.02, 0.3, 2.0, 8.0)))

    async def heal(self, seconds: float) -> None:
        """Everything comes back, nodes take work again, and there is time."""
        self.witness.db.away = False
        self.loss = 0.0
        for _ in range(2):
            await self._bring_back()
            await asyncio.sleep(5)
        for process in self.processes:
            if process.link is not None:
                process.link.loss = 0.0
        for node in NODES:
            await self.ask(c.UNCORDON_NODE, m.NodeCommand(caller=CALLER, node=node))
        await asyncio.sleep(seconds)
        self.note("healed")
