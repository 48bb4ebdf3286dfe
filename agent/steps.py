"""Taking one step on the Engine, and remembering how it went.

Whatever a step needs to be told apart after a crash is in the journal before it is done; everything done twice is done once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from loguru import logger

from agent.exits import note_failure, note_started
from agent.facts import Failure, key_text
from agent.journal import Journal
from agent.last_exits import with_last_words
from agent.launch import Launcher
from agent.links import Links
from agent.log_shipping import LogShipping
from agent.naming import INSTANCE, container_name, networks_in, networks_of, slot_of, volume_name
from agent.node_events import NodeEvents
from agent.reconcile import Step, Verb
from agent.world import World
from lattice.clock import Clock
from lattice.contracts.messages import DesiredDocument, DesiredInstance, SealedValue
from lattice.errors import Forbidden, Invalid, LatticeError, NotFound, Unauthenticated
from lattice.runtime import Container, EarlierRunLeft, ImageNotFound, PortTaken, Runtime

_DRAIN_TIMEOUT_S = 5.0
# The Engine ends a log's stream some milliseconds after its container; a restart is not held up for more.
_READ_OUT_S = 0.5
_ATTEMPTS = 5
_FINAL = (Forbidden, Invalid, NotFound, Unauthenticated)


class StepTaker:
    """Does what `reconcile` decided."""

    def __init__(
        self,
        runtime: Runtime,
        journal: Journal,
        world: World,
        launcher: Launcher,
        logs: LogShipping,
        events: NodeEvents,
        links: Links,
        *,
        cluster_id: str,
        clock: Clock,
        chance: random.Random,
    ) -> None:
        self._runtime, self._journal, self._world = runtime, journal, world
        self._launcher, self._logs, self._events, self._links = launcher, logs, events, links
        self._cluster_id, self._clock, self._chance = cluster_id, clock, chance
        self._made_again: dict[str, int] = {}
        self._network_locks: dict[str, asyncio.Lock] = {}
        self.prepared: frozenset[str] = frozenset()
        self.progress: dict[str, str] = {}

    async def take(self, step: Step, changed: Callable[[], None]) -> bool:
        """Take a step; False when it failed, which is then on record."""
        logger.info("{} {}: {}", step.verb, key_text(step.key), step.reason)
        try:
            await self._take(step, changed)
        except (LatticeError, OSError) as error:
            await self._remember(step, error)
            return False
        return True

    def forget_prepared(self, document: DesiredDocument) -> None:
        """Keep in mind only the images of instances that are still wanted."""
        wanted = {key_text(instance.key) for instance in document.instances}
        self.prepared &= wanted

    async def remove_volumes(self, document: DesiredDocument | None) -> None:
        """Remove the volumes that were ordered to be gone; one that is still in use waits for its container's end."""
        here = self._world.volume_ids
        ordered = [each for each in document.remove_volumes if each in here] if document else []
        try:
            for volume_id in ordered:
                await self._runtime.remove_volume(volume_name(self._cluster_id, volume_id))
                logger.info("removed volume {} as ordered", volume_id)
            if ordered:
                await self._world.look_at_volumes()
        except LatticeError as error:
            logger.info("a volume stays for now: {}", error.detail)

    async def _take(self, step: Step, changed: Callable[[], None]) -> None:
        made = step.container
        name = made.name if made else container_name(self._cluster_id, step.key, step.run_id)
        match step.verb:
            case Verb.PULL:
                await self._pull(_instance(step), changed)
            case Verb.STOP:
                timeout_s = _container(step).stop_timeout_s
                await self._world.act(name, self._runtime.stop(name, timeout_s=timeout_s))
            case Verb.REMOVE:
                await self._remove(name, _container(step))
            case Verb.CREATE:
                await self._create(name, step)
            case Verb.START:
                await self._start(name, _instance(step), restart=step.restart)

    async def _pull(self, instance: DesiredInstance, changed: Callable[[], None]) -> None:
        text = key_text(instance.key)

        def tell(percent: str) -> None:
            self.progress[text] = f"pulling {instance.run.image}: {percent}"
            changed()

        try:
            await self._launcher.fetch_image(instance, self._sealed(), tell)
        finally:
            self.progress.pop(text, None)
        self.prepared |= {text}

    async def _remove(self, name: str, container: Container) -> None:
        await self._logs.drain(container, timeout_s=_DRAIN_TIMEOUT_S)
        await self._world.act(name, self._gone(name))
        instance_id = container.labels.get(INSTANCE, "")
        if not any(each.labels.get(INSTANCE) == instance_id for each in self._world.containers):
            self._launcher.remove_files(instance_id)  # other runs of a job may still read them
        for network in networks_in(container.labels):
            await self._leave_network(network)

    async def _leave_network(self, network: str) -> None:
        async with self._network_lock(network):
            if not any(network in networks_in(each.labels) for each in self._world.containers):
                await self._launcher.leave_network(network)

    async def _gone(self, name: str) -> None:
        await self._runtime.remove(name)

    async def _create(self, name: str, step: Step) -> None:
        instance = _instance(step)
        self._launcher.check_fixed_ports(instance, self._world.containers)
        ports = self._launcher.choose_ports(instance, self._journal.facts)
        facts = self._journal.facts.with_ports(slot_of(instance.key), ports)
        record = facts.record(instance.key)
        restarts = record.restarts + (1 if step.restart else 0)
        record = record.model_copy(update={"restarts": restarts, "admitted": True})
        await self._journal.keep(facts.with_record(record))
        try:
            async with self._network_locks_of(instance):
                known = self._journal.facts.volumes
                making = self._launcher.make_container(instance, self._sealed(), ports, known, step.run_id)
                await self._world.act(name, making)
        except ImageNotFound:
            self.prepared -= {key_text(instance.key)}  # it was there a moment ago: fetch it again
            raise
        except NotFound:
            self._launcher.doubt_networks(networks_of(instance))
            raise
        await self._remember_made(instance)

    def _network_lock(self, network: str) -> asyncio.Lock:
        """A network is made and joined in one step, else the last one to leave it could remove it in between."""
        return self._network_locks.setdefault(network, asyncio.Lock())

    @asynccontextmanager
    async def _network_locks_of(self, instance: DesiredInstance) -> AsyncIterator[None]:
        """All in one order, so that no two wait for each other."""
        async with AsyncExitStack() as held:
            for network in sorted(set(networks_of(instance))):
                await held.enter_async_context(self._network_lock(network))
            yield

    async def _remember_made(self, instance: DesiredInstance) -> None:
        facts = self._journal.facts
        record = facts.record(instance.key).model_copy(update={"was_made": True, "failure": None})
        mine = {volume.volume_id for volume in instance.run.volumes}
        await self._journal.keep(facts.with_record(record).with_volumes(facts.volumes | mine))
        if mine:
            await self._world.look_at_volumes()

    async def _start(self, name: str, instance: DesiredInstance, *, restart: bool) -> None:
        if restart:
            await self._keep_last_words(name)
        made = self._world.get(name)
        if made is not None and not self._launcher.is_in_its_networks(instance, made):
            await self._make_again(
                name, instance, NotFound(f"{name} is not in all its networks"), restart=restart
            )
            return
        if instance.run.files:  # a reboot empties the folder in memory
            await self._launcher.make_files(instance, self._sealed())
        try:
            if made is not None:
                await self._links.listen(made)
        except NotFound as error:
            await self._make_again(name, instance, error, restart=restart)
            return
        try:
            await self._world.act(name, self._runtime.start(name))
        except PortTaken as error:
            await self._move_port(name, instance, error, restart=restart)
            return
        except (EarlierRunLeft, NotFound) as error:
            # Gone, or its network is: a network made anew under the same name is another one, and only a new container can join it.
            await self._make_again(name, instance, error, restart=restart)
            return
        self._made_again.pop(key_text(instance.key), None)
        started = self._world.get(name)
        record = note_started(
            self._journal.facts.record(instance.key),
            restart=restart,
            container_id=started.id if started else "",
        )
        await self._journal.keep(self._journal.facts.with_record(record))

    async def _keep_last_words(self, name: str) -> None:
        """What the next run prints would push them out."""
        ended = self._world.get(name)
        if ended is None:
            return
        await self._logs.read_out(ended.id, timeout_s=_READ_OUT_S)
        facts = with_last_words(self._journal.facts, self._logs.tails([ended.id]), up=())
        if facts is not self._journal.facts:
            await self._journal.keep(facts)

    async def _move_port(
        self, name: str, instance: DesiredInstance, error: PortTaken, *, restart: bool
    ) -> None:
        """A container's ports are fixed when it is made, so it is made again with others; one with a fixed host port waits for that."""
        self._launcher.check_fixed_ports(instance, self._world.containers)
        self._events.tell("port_conflict", error.detail, key=instance.key)
        await self._journal.keep(self._journal.facts.with_ports(slot_of(instance.key), {}))
        await self._make_again(name, instance, error, restart=restart)

    async def _make_again(
        self, name: str, instance: DesiredInstance, error: LatticeError, *, restart: bool
    ) -> None:
        """Remove a container that cannot start as it is, so that it is made anew; nothing of it is lost, volumes stay."""
        text = key_text(instance.key)
        self._made_again[text] = self._made_again.get(text, 0) + 1
        self._launcher.doubt_networks(networks_of(instance))
        if (made := self._world.get(name)) is not None:
            await self._logs.drain(made, timeout_s=_DRAIN_TIMEOUT_S)
        await self._world.act(name, self._gone(name))
        before = self._journal.facts.record(instance.key)
        record = before.model_copy(update={"was_made": False, "restarts": before.restarts + restart})
        await self._journal.keep(self._journal.facts.with_record(record))
        if self._made_again[text] > _ATTEMPTS:
            raise error

    async def _remember(self, step: Step, error: LatticeError | OSError) -> None:
        detail = error.detail if isinstance(error, LatticeError) else str(error)
        logger.warning("{} {} failed: {}", step.verb, key_text(step.key), detail)
        if step.instance is None:
            return
        final = isinstance(error, _FINAL)
        failure = Failure(step=step.verb, reason=detail, final=final)
        record = self._journal.facts.record(step.key)
        noted = note_failure(record, step.instance, failure, self._clock.now(), self._chance.random())
        if record.failure is None or record.failure.reason != detail:
            self._events.tell(f"{step.verb}_failed", detail, key=step.key)
        await self._journal.keep(self._journal.facts.with_record(noted))

    def _sealed(self) -> Mapping[str, SealedValue]:
        document = self._journal.document
        return {value.secret_id: value for value in document.secrets} if document else {}


def _instance(step: Step) -> DesiredInstance:
    assert step.instance is not None, step
    return step.instance


def _container(step: Step) -> Container:
    assert step.container is not None, step
    return step.container
