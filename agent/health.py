"""Whether instances work: a check per running container, and the rules that turn single answers into healthy or unhealthy.

Until the first success checks come fast (0.1 s, growing to the interval), so that a deploy is not slower than the service it starts.  Failures
during `start_period` do not count; the first success ends it.  Without a check, running is healthy; only what may end by itself must first stay
up for a moment, else a job that fails at once would have been a success.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from loguru import logger

from agent.health_probes import Probe
from lattice.cancelling import cancel_and_wait
from lattice.clock import Clock
from lattice.contracts.messages import DesiredInstance
from lattice.contracts.nouns import Health
from lattice.contracts.spec import HealthSpec, RestartMode
from lattice.errors import LatticeError
from lattice.runtime import Container, Runtime

FIRST_PAUSE_S = 0.1
_GROWTH = 1.5
# As long as Docker Swarm watches a new task by default (its `--update-monitor`).
SETTLES_S = 5.0


@dataclass(frozen=True, slots=True)
class CheckState:
    """What checks have said so far."""

    health: Health = Health.UNKNOWN
    reason: str = ""
    failures: int = 0
    ever_succeeded: bool = False
    pause_s: float = FIRST_PAUSE_S


def after_check(
    state: CheckState, problem: str, spec: HealthSpec, started_at: datetime, now: datetime
) -> CheckState:
    """The state after one more check; `problem` is empty when it succeeded."""
    if not problem:
        return CheckState(Health.HEALTHY, ever_succeeded=True, pause_s=spec.interval)
    pause_s = spec.interval if state.ever_succeeded else min(spec.interval, state.pause_s * _GROWTH)
    starting = not state.ever_succeeded and now - started_at < timedelta(seconds=spec.start_period)
    if starting:
        return replace(state, pause_s=pause_s, reason=f"starting: {problem}")
    failures = state.failures + 1
    if failures < spec.retries:
        return replace(state, failures=failures, pause_s=pause_s)
    return replace(
        state, failures=failures, pause_s=pause_s, health=Health.UNHEALTHY, reason=f"health check: {problem}"
    )


def unsettled_s(mode: RestartMode, started_at: datetime | None, now: datetime) -> float:
    """How long a container without a check must still stay up to count as healthy; 0 where it is restarted whenever it ends."""
    if mode is RestartMode.ALWAYS:
        return 0.0
    up_s = (now - started_at).total_seconds() if started_at is not None else 0.0
    return max(0.0, SETTLES_S - up_s)


Watched = tuple[str, datetime | None]


class HealthChecks:
    """A running check per container that needs one."""

    def __init__(self, runtime: Runtime, clock: Clock, changed: Callable[[], None]) -> None:
        self._runtime, self._clock, self._changed = runtime, clock, changed
        self._tasks: dict[Watched, asyncio.Task[None]] = {}
        self._states: dict[str, CheckState] = {}

    @property
    def results(self) -> Mapping[str, tuple[Health, str]]:
        """Container id -> what is known of it."""
        return {container_id: (state.health, state.reason) for container_id, state in self._states.items()}

    def watch(self, running: Mapping[str, tuple[DesiredInstance, Container]]) -> None:
        """Check exactly these (by container id); one that was started anew begins anew."""
        wanted = {(c.id, c.started_at): (i, c) for i, c in running.values()}
        for watched in self._tasks.keys() - wanted.keys():
            self._tasks.pop(watched).cancel()
        for container_id in self._states.keys() - running.keys():
            del self._states[container_id]
        for watched, (instance, container) in wanted.items():
            if watched not in self._tasks:
                self._begin(watched, instance, container)

    async def close(self) -> None:
        """Stop checking."""
        tasks = list(self._tasks.values())
        await cancel_and_wait(tasks)

    def _begin(self, watched: Watched, instance: DesiredInstance, container: Container) -> None:
        spec = instance.run.health
        if spec is not None:
            self._states[container.id] = CheckState()
            checking = self._check(instance, container, spec)
        else:
            wait_s = unsettled_s(instance.run.restart, container.started_at, self._clock.now())
            settled = CheckState(Health.HEALTHY)
            self._states[container.id] = (
                CheckState(reason="seeing whether it stays up") if wait_s else settled
            )
            checking = self._settle(container.id, wait_s)
        self._tasks[watched] = asyncio.create_task(checking)

    async def _settle(self, container_id: str, wait_s: float) -> None:
        if wait_s:
            await asyncio.sleep(wait_s)
            self._states[container_id] = CheckState(Health.HEALTHY)
            self._changed()

    async def _check(self, instance: DesiredInstance, container: Container, spec: HealthSpec) -> None:
        probe = Probe(self._runtime, instance.run, container, spec)
        started_at = container.started_at or self._clock.now()
        async with probe:
            while True:
                problem = await _ask(probe, spec)
                before = self._states[container.id]
                after = after_check(before, problem, spec, started_at, self._clock.now())
                self._states[container.id] = after
                if (after.health, after.reason) != (before.health, before.reason):
                    self._changed()
                await asyncio.sleep(after.pause_s)


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
