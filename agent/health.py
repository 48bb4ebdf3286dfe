"""Whether instances work: the checks of each running container, and the rules that turn single answers into healthy or unhealthy.

Readiness (`health`) says whether an instance serves, and ends nothing.  Liveness says whether it is still worth running: when it fails, the run
is given up (`dead_runs`).  So a failure of liveness counts only where the Engine answers at that moment: else it may be the Engine's.

Until the first success checks come fast (0.1 s, growing to the interval), so that a deploy is not slower than the service it starts.  Failures
during `start_period` do not count; the first success ends it.  Without a check, running is healthy; only what may end by itself must first stay
up for a moment, else a job that fails at once would have been a success.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from loguru import logger

from agent.dead_runs import Verdict, run_id
from agent.health_probes import Probe
from lattice.cancelling import cancel_and_wait
from lattice.clock import Clock
from lattice.contracts.messages import DesiredInstance
from lattice.contracts.nouns import Health
from lattice.contracts.spec import HealthSpec, RestartMode
from lattice.errors import LatticeError
from lattice.runtime import Container, RunState, Runtime

FIRST_PAUSE_S = 0.1
_GROWTH = 1.5
# As long as Docker Swarm watches a new task by default (its `--update-monitor`).
SETTLES_S = 5.0
# An Engine that is busy answers within this; one that does not may be what the check failed of.
_ENGINE_ANSWERS_S = 5.0


class Check(StrEnum):
    """Which of a container's checks, in the words with which its reasons begin."""

    READINESS = "health check"
    LIVENESS = "liveness check failed"


@dataclass(frozen=True, slots=True)
class CheckState:
    """What checks have said so far."""

    health: Health = Health.UNKNOWN
    reason: str = ""
    failures: int = 0
    ever_succeeded: bool = False
    worked_until: datetime | None = None
    pause_s: float = FIRST_PAUSE_S


def after_check(
    state: CheckState,
    problem: str,
    spec: HealthSpec,
    started_at: datetime,
    now: datetime,
    *,
    check: Check = Check.READINESS,
) -> CheckState:
    """The state after one more check; `problem` is empty when it succeeded."""
    if not problem:
        return CheckState(Health.HEALTHY, ever_succeeded=True, worked_until=now, pause_s=spec.interval)
    pause_s = spec.interval if state.ever_succeeded else min(spec.interval, state.pause_s * _GROWTH)
    starting = not state.ever_succeeded and now - started_at < timedelta(seconds=spec.start_period)
    if starting:
        return replace(state, pause_s=pause_s, reason=f"starting: {problem}")
    failures = state.failures + 1
    if failures < spec.retries:
        return replace(state, failures=failures, pause_s=pause_s)
    return replace(
        state, failures=failures, pause_s=pause_s, health=Health.UNHEALTHY, reason=f"{check}: {problem}"
    )


def unasked(state: CheckState, spec: HealthSpec) -> CheckState:
    """The state after a check that could not be asked, or of which it is not known whose failure it was: failures are counted anew."""
    known = Health.HEALTHY if state.ever_succeeded else Health.UNKNOWN
    return replace(state, failures=0, health=known, reason="", pause_s=spec.interval)


def together(ready: CheckState, live: CheckState | None) -> tuple[Health, str]:
    """What is reported of a container: a run that is given up serves nobody."""
    said = live if live is not None and live.health is Health.UNHEALTHY else ready
    return said.health, said.reason


def unsettled_s(mode: RestartMode, started_at: datetime | None, now: datetime) -> float:
    """How long a container without a check must still stay up to count as healthy; 0 where it is restarted whenever it ends."""
    if mode is RestartMode.ALWAYS:
        return 0.0
    up_s = (now - started_at).total_seconds() if started_at is not None else 0.0
    return max(0.0, SETTLES_S - up_s)


Watched = tuple[str, datetime | None, Check]


class HealthChecks:
    """The running checks of each container that needs them."""

    def __init__(self, runtime: Runtime, clock: Clock, changed: Callable[[], None]) -> None:
        self._runtime, self._clock, self._changed = runtime, clock, changed
        self._tasks: dict[Watched, asyncio.Task[None]] = {}
        self._states: dict[str, dict[Check, CheckState]] = {}
        self._dead: dict[str, Verdict] = {}

    @property
    def results(self) -> Mapping[str, tuple[Health, str]]:
        """Container id -> what is known of it."""
        return {
            container_id: together(states[Check.READINESS], states.get(Check.LIVENESS))
            for container_id, states in self._states.items()
            if Check.READINESS in states
        }

    @property
    def dead(self) -> Mapping[str, Verdict]:
        """`run_id` -> why its liveness check gives the run up."""
        return dict(self._dead)

    def forgive(self) -> None:
        """The Engine was away: what liveness checks have said so far counts for nothing."""
        self._dead.clear()
        for states in self._states.values():
            if Check.LIVENESS in states:
                states[Check.LIVENESS] = replace(states[Check.LIVENESS], failures=0, health=Health.UNKNOWN)

    def watch(self, running: Mapping[str, tuple[DesiredInstance, Container]]) -> None:
        """Check exactly these (by container id); one that was started anew begins anew."""
        wanted = {(c.id, c.started_at, check): (i, c) for i, c in running.values() for check in _checks(i, c)}
        for watched in self._tasks.keys() - wanted.keys():
            self._tasks.pop(watched).cancel()
            self._states.get(watched[0], {}).pop(watched[2], None)
        for container_id in self._states.keys() - running.keys():
            del self._states[container_id]
        for gone in self._dead.keys() - {run_id(container) for _, container in running.values()}:
            del self._dead[gone]
        for watched, (instance, container) in wanted.items():
            if watched not in self._tasks:
                self._begin(watched, instance, container)

    async def close(self) -> None:
        """Stop checking."""
        tasks = list(self._tasks.values())
        await cancel_and_wait(tasks)

    def _begin(self, watched: Watched, instance: DesiredInstance, container: Container) -> None:
        check = watched[2]
        states = self._states.setdefault(container.id, {})
        spec = _spec(instance, check)
        if spec is not None:
            states[check] = CheckState()
            checking = self._check(check, instance, container, spec)
        else:
            wait_s = unsettled_s(instance.run.restart, container.started_at, self._clock.now())
            settled = CheckState(Health.HEALTHY)
            states[check] = CheckState(reason="seeing whether it stays up") if wait_s else settled
            checking = self._settle(states, wait_s)
        self._tasks[watched] = asyncio.create_task(checking)

    async def _settle(self, states: dict[Check, CheckState], wait_s: float) -> None:
        if wait_s:
            await asyncio.sleep(wait_s)
            states[Check.READINESS] = CheckState(Health.HEALTHY)
            self._changed()

    async def _check(
        self, check: Check, instance: DesiredInstance, container: Container, spec: HealthSpec
    ) -> None:
        probe = Probe(self._runtime, instance.run, container, spec)
        started_at = container.started_at or self._clock.now()
        states = self._states[container.id]
        async with probe:
            while True:
                problem = await _ask(probe, spec)
                counts = not problem or check is Check.READINESS or await self._engine_answers()
                before, now = states[check], self._clock.now()
                if counts:
                    states[check] = after_check(before, problem, spec, started_at, now, check=check)
                else:
                    states[check] = unasked(before, spec)
                self._note(check, container, before, states[check])
                await asyncio.sleep(states[check].pause_s)

    def _note(self, check: Check, container: Container, before: CheckState, after: CheckState) -> None:
        if check is Check.LIVENESS and after.health is Health.UNHEALTHY:
            self._dead[run_id(container)] = Verdict(after.reason, before.worked_until)
        elif check is Check.LIVENESS:
            self._dead.pop(run_id(container), None)
        if (after.health, after.reason) != (before.health, before.reason):
            self._changed()

    async def _engine_answers(self) -> bool:
        try:
            async with asyncio.timeout(_ENGINE_ANSWERS_S):
                await self._runtime.info()
        except (TimeoutError, LatticeError):
            return False
        return True


def _checks(instance: DesiredInstance, container: Container) -> tuple[Check, ...]:
    """What is frozen by an operator cannot answer, and is not to be ended for that."""
    live = instance.run.liveness is not None and container.state is RunState.RUNNING
    return (Check.READINESS, Check.LIVENESS) if live else (Check.READINESS,)


def _spec(instance: DesiredInstance, check: Check) -> HealthSpec | None:
    return instance.run.health if check is Check.READINESS else instance.run.liveness


async def _ask(probe: Probe, spec: HealthSpec) -> str:
    try:
        async with asyncio.timeout(spec.timeout):
            return await probe.problem()
    except TimeoutError:
        return f"no answer in {spec.timeout:g} s"
    except LatticeError as error:
        return error.detail
    except Exception as error:
        logger.exception("a health check broke")
        return f"the check itself failed: {type(error).__name__}"
