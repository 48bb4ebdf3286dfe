"""Whether and when a process that ended is started again.  Pure: the caller brings the facts and the chance.

A crash right after the start waits longer each time, so a broken configuration does not eat the machine; one
that ran well for a while begins anew.  The jitter keeps processes that fell together from rising together.
"""

from __future__ import annotations

from dataclasses import dataclass

# So many quick ends in a row, before it was ever ready, are no accident.  With the pauses of the default policy that takes six seconds.
HOPELESS_AFTER = 6


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How patient the supervisor is with one process."""

    initial_s: float = 0.2
    max_s: float = 30.0
    jitter: float = 0.2
    settled_after_s: float = 60.0
    again: bool = True


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: its status (negative: the signal), how long it ran, how often it failed before."""

    returncode: int
    ran_s: float
    failures_before: int


@dataclass(frozen=True, slots=True)
class Restart:
    """Start it again after a pause."""

    delay_s: float
    failures: int
    reason: str


@dataclass(frozen=True, slots=True)
class Leave:
    """It stays down."""

    reason: str


def decide(exit_: Exit, policy: RestartPolicy, *, stopping: bool, chance: float) -> Restart | Leave:
    """What to do about an exit; `chance` is a random number from 0 to 1."""
    how = describe(exit_.returncode)
    if stopping:
        return Leave(f"{how}; it was asked to stop")
    if not policy.again:
        return Leave(f"{how}; it is not restarted")
    failures = 1 if exit_.ran_s >= policy.settled_after_s else exit_.failures_before + 1
    delay_s = min(policy.max_s, policy.initial_s * 2.0 ** min(failures - 1, 32))
    delay_s *= 1 + policy.jitter * (2 * chance - 1)
    return Restart(
        delay_s, failures, f"{how} after {exit_.ran_s:.1f} s; attempt {failures} in {delay_s:.1f} s"
    )


def is_hopeless(restart: Restart, *, was_ready: bool) -> bool:
    """Whether whoever waits for the first readiness waits in vain; the process is started again all the same."""
    return not was_ready and restart.failures >= HOPELESS_AFTER


def describe(returncode: int) -> str:
    """An exit status in words."""
    if returncode < 0:
        return f"killed by signal {-returncode}"
    return f"ended with status {returncode}"
