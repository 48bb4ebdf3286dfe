"""How long to wait before something is tried again.

The pause doubles from `initial` to `max`, with up to a tenth more by chance, so that a hundred containers that failed together do not return
together.  A container that ran for a while and ends is started again at once: waiting would only lengthen the outage, and one that keeps
ending soon after its start runs into the doubling with its second exit.
"""

from __future__ import annotations

from lattice.contracts.spec import BackoffSpec

STABLE_S = 10.0
JITTER_PART = 0.1
# 2 to the power of more than this overflows nothing, but says nothing either: every maximum is reached long before.
_MOST_DOUBLINGS = 32


def delay_s(failures: int, backoff: BackoffSpec, chance: float) -> float:
    """The pause after the `failures`-th failure in a row; `chance` is in [0, 1)."""
    doublings = min(max(failures - 1, 0), _MOST_DOUBLINGS)
    pause = min(backoff.max, backoff.initial * 2.0**doublings)
    return float(pause * (1 + JITTER_PART * chance))


def is_stable(ran_s: float, last_delay_s: float) -> bool:
    """Whether a run was long enough for what failed before it to be forgotten."""
    return ran_s >= max(STABLE_S, 2 * last_delay_s)


def crashes_in_a_row(before: int, ran_s: float, last_delay_s: float) -> int:
    """How many exits in a row there are with this one: one that came after a stable run begins to count anew."""
    return 1 if is_stable(ran_s, last_delay_s) else before + 1


def restart_delay_s(crashes: int, ran_s: float, backoff: BackoffSpec, chance: float) -> float:
    """The pause before a container that ended by itself is started again."""
    if crashes == 1 and ran_s >= backoff.initial:
        return 0.0
    return delay_s(crashes, backoff, chance)
