"""The thin shell around `reconcile.diff`: load, decide, apply.

Each slot has at most one worker, which takes one step at a time and decides anew before the next, so a document, an exit or a removal that
comes meanwhile is honoured at once.  Slots work beside each other: eight at most on the Engine, which both cores of a small machine already
saturate, and three at most on the network.  A step that fails is remembered with its reason and tried again after a pause.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta

from loguru import logger

from agent.backoff import delay_s
from agent.dead_runs import note_dead
from agent.exits import note_exits
from agent.facts import Facts, key_text
from agent.health import HealthChecks
from agent.job_runs import advance
from agent.journal import Journal
from agent.last_exits import VANISHED, note_vanished, with_last_words
from agent.log_shipping import LogShipping
from agent.naming import Slot, key_from, slot_of
from agent.node_events import NodeEvents
from agent.observed import Activity, Sight, observe, quarantined
from agent.outages import Outage, forgive
from agent.reconcile import Plan, Step, Verb, diff, plan_slot, refusal_of
from agent.slot_views import slot_views
from agent.steps import StepTaker
from agent.world import World
from lattice.cancelling import cancel_and_wait
from lattice.clock import Clock
from lattice.contracts.messages import DesiredDocument, DesiredInstance
from lattice.contracts.nouns import ObservedContainer, QuarantinedContainer
from lattice.contracts.spec import BackoffSpec
from lattice.runtime import Container

ON_THE_ENGINE, ON_THE_NETWORK = 8, 3
_LONGEST_SLEEP_S = 30.0
_SLOT_BACKOFF = BackoffSpec(initial=0.5, max=60.0)


Refused = Callable[[DesiredDocument | None, Facts], dict[str, str]]
"""Which instances the owner of the machine does not let in, and why."""


class Executor:
    """Makes the node as its document says."""

    def __init__(
        self,
        journal: Journal,
        world: World,
        steps: StepTaker,
        health: HealthChecks,
        logs: LogShipping,
        events: NodeEvents,
        refused: Refused,
        *,
        clock: Clock,
        chance: random.Random,
        changed: Callable[[], None],
    ) -> None:
        self._journal, self._world, self._steps = journal, world, steps
        self._health, self._logs, self._events, self._refused_by_owner = health, logs, events, refused
        self._clock, self._chance, self._changed = clock, chance, changed
        self._wake = asyncio.Event()
        self._workers: dict[Slot, asyncio.Task[None]] = {}
        self._current: dict[Slot, Step] = {}
        self._paused: dict[Slot, tuple[int, datetime]] = {}
        self._engine_limit = asyncio.Semaphore(ON_THE_ENGINE)
        self._network_limit = asyncio.Semaphore(ON_THE_NETWORK)
        self._told: set[str] = set()
        # When something is due next, as it was when it was decided last: by now it may be due, which a new look would no longer tell.
        self._wake_at: datetime | None = None
        self._outage: Outage | None = None

    # ------------------------------------------------------------------------------------ input

    async def offer(self, document: DesiredDocument) -> bool:
        """Take a document if it is newer than the kept one; it is on the disk when this returns True."""
        if not await self._journal.accept(document):
            return False
        self._steps.forget_prepared(document)
        self._paused.clear()
        self.wake()
        return True

    async def engine_returned(self, outage: Outage) -> None:
        """Forgive what the Engine's outage did, before anything is decided anew."""
        self._outage = outage
        self._paused.clear()
        self._health.forgive()
        await self._journal.keep(forgive(self._journal.facts, outage))

    def wake(self) -> None:
        """Decide anew soon."""
        self._wake.set()

    # ------------------------------------------------------------------------------------ output

    def observed(self) -> tuple[tuple[ObservedContainer, ...], tuple[QuarantinedContainer, ...]]:
        """What is there and what becomes of it, as it is reported."""
        plan, now = self._plan(), self._clock.now()
        views, _ = slot_views(self._journal.document, self._world.containers, self._journal.facts)
        activities = {key_text(step.key): self._activity(step) for step in self._current.values()}
        making = {
            slot: step.instance
            for slot, step in self._current.items()
            if step.verb is Verb.CREATE and step.instance is not None
        }
        sight = Sight(
            activities=activities,
            making=making,
            health=self._health.results,
            last_logs=self._logs.tails(self._ended()),
        )
        containers = observe(views, plan.slots, self._journal.facts, sight, now)
        return containers, quarantined(plan.quarantined)

    # ------------------------------------------------------------------------------------ the loop

    async def run(self) -> None:
        """Keep the node as it should be, for ever."""
        try:
            while True:
                self._wake.clear()
                await self._decide()
                # Not `wait_for`: Python 3.11's forgets a cancellation that comes together with the event.
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._sleep_s()):
                        await self._wake.wait()
        finally:
            await self._end_workers()

    async def settled(self) -> bool:
        """Whether nothing is being done and nothing is to be done now."""
        return not self._workers and self._plan().idle and not self._wake.is_set()

    async def _decide(self) -> None:
        self._wake_at = None
        if not self._world.complete:
            return  # what is there is not known: a container that is not seen may well be running
        await self._logs.catch_up(self._ended())  # their last words are part of how they ended
        await self._note_exits()
        await self._note_dead()
        await self._advance_jobs()
        plan = self._plan()
        self._wake_at = plan.wake_at
        self._tell_refusals(plan)
        for slot, slot_plan in plan.slots.items():
            if slot_plan.steps and slot not in self._workers and not self._is_paused(slot):
                self._begin(slot)
        self._cancel_pulls(plan)
        await self._steps.remove_volumes(self._journal.document)
        self._watch_running()
        self._changed()

    def _plan(self) -> Plan:
        return diff(
            self._journal.document,
            self._world.containers,
            self._journal.facts,
            self._clock.now(),
            prepared=self._steps.prepared,
            refused=self._refused(),
        )

    def _refused(self) -> dict[str, str]:
        return self._refused_by_owner(self._journal.document, self._journal.facts)

    def _begin(self, slot: Slot) -> None:
        worker = asyncio.create_task(self._work(slot))
        self._workers[slot] = worker
        worker.add_done_callback(lambda _: self._ended_work(slot))

    def _ended_work(self, slot: Slot) -> None:
        self._workers.pop(slot, None)
        self._current.pop(slot, None)
        self._changed()
        self.wake()

    async def _work(self, slot: Slot) -> None:
        while (step := self._next_step(slot)) is not None:
            self._current[slot] = step
            limit = self._network_limit if step.verb is Verb.PULL else self._engine_limit
            async with limit:
                if step != self._next_step(slot):
                    continue  # while it waited for its turn something changed
                self._changed()
                done = await self._steps.take(step, self._changed)
            if not done:
                if step.instance is None:
                    self._pause(slot)
                return
            self._paused.pop(slot, None)
            self._watch_running()

    def _next_step(self, slot: Slot) -> Step | None:
        views, _ = slot_views(self._journal.document, self._of_slot(slot), self._journal.facts)
        if slot not in views:
            return None
        plan = plan_slot(
            views[slot],
            self._journal.facts,
            self._clock.now(),
            prepared=self._steps.prepared,
            refused=self._refused(),
        )
        return plan.steps[0] if plan.steps else None

    def _of_slot(self, slot: Slot) -> tuple[Container, ...]:
        keyed = ((key_from(each.labels), each) for each in self._world.containers)
        return tuple(each for key, each in keyed if key is not None and slot_of(key) == slot)

    def _cancel_pulls(self, plan: Plan) -> None:
        """A pull may take minutes; one that no document asks for any more must not hold up its slot."""
        for slot, step in self._current.items():
            slot_plan = plan.slots.get(slot)
            wanted = slot_plan is not None and any(
                each.verb is Verb.PULL and each.key == step.key for each in slot_plan.steps
            )
            if step.verb is Verb.PULL and not wanted:
                self._workers[slot].cancel()

    def _is_paused(self, slot: Slot) -> bool:
        return slot in self._paused and self._clock.now() < self._paused[slot][1]

    def _pause(self, slot: Slot) -> None:
        """A removal that failed belongs to no instance that could remember it: its slot waits instead."""
        failures = self._paused.get(slot, (0, None))[0] + 1
        pause_s = delay_s(failures, _SLOT_BACKOFF, self._chance.random())
        self._paused[slot] = (failures, self._clock.now() + timedelta(seconds=pause_s))

    def _sleep_s(self) -> float:
        dues = [until for _, until in self._paused.values()]
        due = min([*dues, *([self._wake_at] if self._wake_at else [])], default=None)
        if due is None:
            return _LONGEST_SLEEP_S
        return min(_LONGEST_SLEEP_S, max(0.01, (due - self._clock.now()).total_seconds()))

    async def _end_workers(self) -> None:
        await cancel_and_wait(list(self._workers.values()))

    # ------------------------------------------------------------------------------------ noticing

    async def _note_exits(self) -> None:
        facts, fresh = note_exits(
            self._journal.document,
            self._world.containers,
            self._journal.facts,
            self._clock.now(),
            self._chance.random(),
            outage=self._outage,
        )
        facts, vanished = note_vanished(
            self._journal.document, self._world.containers, facts, self._clock.now()
        )
        facts = self._with_last_words(facts)
        if facts is not self._journal.facts:
            await self._journal.keep(facts)
        for gone in vanished:
            self._events.tell("vanished", VANISHED, key=gone.key)
        wanted = self._wanted()
        for container in fresh:
            instance = wanted[container.name]
            last = facts.record(instance.key).last_exit
            reason = last.reason if last else ""
            logger.info("{} {}", container.name, reason)
            type_ = "oom" if container.oom_killed else "exit"
            self._events.tell(type_, reason, key=instance.key, exit_code=container.exit_code)

    def _with_last_words(self, facts: Facts) -> Facts:
        ids = [record.last_exit.container_id for record in facts.records.values() if record.last_exit]
        up = {container.id for container in self._world.containers if container.is_up}
        return with_last_words(facts, self._logs.tails(ids), up=up)

    async def _note_dead(self) -> None:
        """Give up the runs of which their liveness check says so; the plan then ends them."""
        facts, fresh = note_dead(
            self._journal.document,
            self._world.containers,
            self._journal.facts,
            self._health.dead,
            self._clock.now(),
        )
        if fresh:
            await self._journal.keep(facts)
        for instance in fresh:
            dead = facts.record(instance.key).dead
            reason = dead.reason if dead else ""
            logger.warning("{} is ended: {}", key_text(instance.key), reason)
            self._events.tell("liveness_failed", reason, key=instance.key)

    async def _advance_jobs(self) -> None:
        """Begin the runs that are due and note the ones that have ended; what is not journalled is not done."""
        document, facts = self._journal.document, self._journal.facts
        if document is None or not (facts.jobs or any(i.run.job is not None for i in document.instances)):
            return
        views, _ = slot_views(document, self._world.containers, facts)
        refused = frozenset(r.key for r in map(refusal_of, views.values()) if r is not None)
        advanced = advance(
            document,
            self._world.containers,
            facts,
            self._clock.now(),
            self._chance.random(),
            refused=refused,
            tails=self._logs.tails(self._ended()),
        )
        if advanced != facts:
            await self._journal.keep(advanced)

    def _tell_refusals(self, plan: Plan) -> None:
        refusals = [each.refusal for each in plan.slots.values() if each.refusal is not None]
        for refusal in refusals:
            if key_text(refusal.key) not in self._told:
                logger.warning("{} refused: {}", key_text(refusal.key), refusal.reason)
                self._events.tell("refused", refusal.reason, key=refusal.key)
        self._told = {key_text(refusal.key) for refusal in refusals}

    def _watch_running(self) -> None:
        wanted = self._wanted()
        running = {
            each.id: (wanted[each.name], each)
            for each in self._world.containers
            if each.is_up and each.name in wanted
        }
        self._health.watch(running)
        self._logs.watch(self._world.containers, is_complete=self._world.complete)

    def _wanted(self) -> Mapping[str, DesiredInstance]:
        document = self._journal.document
        if document is None:
            return {}
        wanted = {i.key: i for i in document.instances}
        keyed = ((key_from(each.labels), each.name) for each in self._world.containers)
        return {name: wanted[key] for key, name in keyed if key in wanted}

    def _ended(self) -> list[str]:
        return [each.id for each in self._world.containers if not each.is_up]

    def _activity(self, step: Step) -> Activity:
        return Activity(verb=step.verb, progress=self._steps.progress.get(key_text(step.key), ""))
