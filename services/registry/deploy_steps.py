"""How far an instance got for the first time, by what was known of it and what is reported now.  Pure.

What was not heard of step by step is one step for us: an image that was there already is pulled in no time.
"""

from __future__ import annotations

from collections.abc import Iterator

from lattice.contracts.nouns import Health, Phase

PLACED, PULLED, STARTED, READY = "placed", "pulled", "started", "ready"
_BEFORE_PULLED = (Phase.PENDING, Phase.PULLING)
_BEFORE_STARTED = (*_BEFORE_PULLED, Phase.STARTING)


def steps_reached(
    known: Phase, known_health: Health, reported: Phase, reported_health: Health, *, restarts: int
) -> Iterator[str]:
    """The steps; none of an instance that was started again, since it had got there before."""
    if restarts:
        return
    if known in _BEFORE_PULLED and reported in (Phase.STARTING, Phase.RUNNING):
        yield PULLED
    if known in _BEFORE_STARTED and reported is Phase.RUNNING:
        yield STARTED
    was_ready = known is Phase.RUNNING and known_health in (Health.HEALTHY, Health.UNHEALTHY)
    if not was_ready and reported is Phase.RUNNING and reported_health is Health.HEALTHY:
        yield READY
