"""Whether a domain of somebody's own may lead to a public name: pure, from what DNS says.

Who can write a domain's records decides where it leads, so the proof is a record that names the very route: a CNAME to it or, at the top of a zone
where no CNAME may stand (RFC 1034 3.6.2), a TXT record beside it.  That it merely points to this platform proves nothing about which of
its tenants may have it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

# A record was written a moment ago while somebody waits; later it is a domain that nobody got round to.
SOON, SOON_EVERY, LATER_EVERY = timedelta(minutes=10), timedelta(seconds=15), timedelta(minutes=10)
VERIFIED_EVERY = timedelta(hours=1)
# Zones are moved, and records are forgotten for some hours: a site does not go away with the first look.
GRACE = timedelta(hours=24)


class DomainState(StrEnum):
    PENDING = "pending"
    VERIFIED = "verified"


@dataclass(frozen=True, slots=True)
class DnsAnswer:
    """The names that a domain is an alias of, in order, and the texts beside it; or why nobody could say."""

    aliases: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownDomain:
    """What is known of a domain before DNS is asked again."""

    name: str
    state: DomainState
    created_at: datetime
    failing_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainJudgement:
    """What holds from now on, why, and when to ask again."""

    state: DomainState
    reason: str
    next_check_at: datetime
    failing_since: datetime | None = None


def text_name(domain: str) -> str:
    """Where the TXT record of a domain is looked for."""
    return f"_lattice.{domain}"


def record_for(domain: str, target: str) -> str:
    """The record that its owner is to write."""
    return f"{domain} CNAME {target}"


def judge(
    known: KnownDomain, answer: DnsAnswer, *, target: str, is_taken: bool, now: datetime
) -> DomainJudgement:
    """`target` is the public name that it is to lead to, `is_taken` whether it leads to another one with a proof."""
    if answer.problem and not is_proved(answer, target):
        return _unknown(known, answer.problem, now)
    if not is_proved(answer, target):
        return _not_proved(known, _what_is_seen(answer, known.name, target), now)
    if is_taken:
        return _pending(
            known, "it leads to another workload of this platform, whose record still stands", now
        )
    return DomainJudgement(state=DomainState.VERIFIED, reason="", next_check_at=now + VERIFIED_EVERY)


def is_proved(answer: DnsAnswer, target: str) -> bool:
    """Whether a record names the public name."""
    return target in answer.aliases or target in answer.texts


def _what_is_seen(answer: DnsAnswer, domain: str, target: str) -> str:
    seen = f"it is an alias of {answer.aliases[-1]}" if answer.aliases else "no record leads there"
    return f"{seen}; write `{record_for(domain, target)}`, or TXT {target} at {text_name(domain)}"


def _unknown(known: KnownDomain, problem: str, now: datetime) -> DomainJudgement:
    """Silence proves nothing, and takes nothing away."""
    return DomainJudgement(
        state=known.state,
        reason=problem,
        next_check_at=now + _every(known, now),
        failing_since=known.failing_since,
    )


def _not_proved(known: KnownDomain, reason: str, now: datetime) -> DomainJudgement:
    since = known.failing_since or now
    if known.state is DomainState.VERIFIED and now - since < GRACE:
        return DomainJudgement(
            state=DomainState.VERIFIED, reason=reason, next_check_at=now + LATER_EVERY, failing_since=since
        )
    return _pending(known, reason, now)


def _pending(known: KnownDomain, reason: str, now: datetime) -> DomainJudgement:
    return DomainJudgement(state=DomainState.PENDING, reason=reason, next_check_at=now + _every(known, now))


def _every(known: KnownDomain, now: datetime) -> timedelta:
    return SOON_EVERY if now - known.created_at < SOON else LATER_EVERY
