"""When a domain of somebody's own leads to a public name, and when it does no more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import TypeAdapter, ValidationError

from lattice.contracts.domain_name import DomainName
from lattice.contracts.spec import PortSpec
from services.registry.domain_rules import (
    GRACE,
    LATER_EVERY,
    SOON_EVERY,
    VERIFIED_EVERY,
    DnsAnswer,
    DomainJudgement,
    DomainState,
    KnownDomain,
    judge,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TARGET = "web--default.apps.example.com"
NOTHING = DnsAnswer()
PROOF = DnsAnswer(aliases=(TARGET,))


def known(state: DomainState = DomainState.PENDING, **more: object) -> KnownDomain:
    return KnownDomain(**{"name": "shop.example.org", "state": state, "created_at": NOW, **more})  # type: ignore[arg-type]


def judged(
    before: KnownDomain, answer: DnsAnswer, *, is_taken: bool = False, now: datetime = NOW
) -> DomainJudgement:
    return judge(before, answer, target=TARGET, is_taken=is_taken, now=now)


@pytest.mark.parametrize(
    "answer",
    [PROOF, DnsAnswer(aliases=("www.example.org", TARGET)), DnsAnswer(texts=("other", TARGET))],
    ids=["alias", "alias of an alias", "text beside it"],
)
def test_a_record_that_names_the_route_is_the_proof(answer: DnsAnswer) -> None:
    judgement = judged(known(), answer)
    assert judgement == DomainJudgement(
        state=DomainState.VERIFIED, reason="", next_check_at=NOW + VERIFIED_EVERY
    )


def test_pointing_at_another_tenant_or_at_the_platform_alone_is_no_proof() -> None:
    for answer in (
        DnsAnswer(aliases=("web--other.apps.example.com",)),
        DnsAnswer(texts=("apps.example.com",)),
    ):
        assert judged(known(), answer).state is DomainState.PENDING


def test_it_is_said_what_is_seen_and_what_to_write() -> None:
    assert judged(known(), NOTHING).reason == (
        f"no record leads there; write `shop.example.org CNAME {TARGET}`, or TXT {TARGET} at _lattice.shop.example.org"
    )
    assert judged(known(), DnsAnswer(aliases=("old.example.net",))).reason.startswith(
        "it is an alias of old.example.net; write"
    )


def test_who_waits_is_looked_up_often_and_who_does_not_seldom() -> None:
    assert judged(known(), NOTHING).next_check_at == NOW + SOON_EVERY
    later = NOW + timedelta(hours=1)
    assert judged(known(), NOTHING, now=later).next_check_at == later + LATER_EVERY


def test_two_may_ask_for_one_domain_and_the_proof_decides() -> None:
    """Only as long as the first one's record stands."""
    second = judged(known(), PROOF, is_taken=True)
    assert second.state is DomainState.PENDING and "another workload" in second.reason
    assert judged(known(), PROOF).state is DomainState.VERIFIED


def test_a_site_does_not_go_away_with_the_first_look() -> None:
    before = known(DomainState.VERIFIED)
    first = judged(before, NOTHING)
    assert first.state is DomainState.VERIFIED and first.failing_since == NOW and first.reason
    failing = known(DomainState.VERIFIED, failing_since=NOW)
    just_before, after = NOW + GRACE - timedelta(seconds=1), NOW + GRACE
    assert judged(failing, NOTHING, now=just_before).state is DomainState.VERIFIED
    assert judged(failing, NOTHING, now=after).state is DomainState.PENDING
    assert judged(failing, PROOF, now=after).failing_since is None


@pytest.mark.parametrize("state", list(DomainState))
def test_silence_of_dns_changes_nothing(state: DomainState) -> None:
    judgement = judged(
        known(state, failing_since=NOW), DnsAnswer(problem="no server answered"), now=NOW + 2 * GRACE
    )
    assert (judgement.state, judgement.reason) == (state, "no server answered")


@pytest.mark.parametrize("name", ["shop.example.org", "xn--bcher-kva.example", "a.b", "Shop.Example.ORG."])
def test_domains(name: str) -> None:
    assert TypeAdapter(DomainName).validate_python(name) == name.rstrip(".").lower()


@pytest.mark.parametrize(
    "name",
    [
        "localhost", "*.example.org", "shop.example.org:443", "http://shop.example.org", "192.0.2.7", "2001:db8::1", "a_b.example.org",
        "-a.example.org", "a..b", "", "bücher.example", f"{'a' * 64}.example.org", f"{'a.' * 127}example",
    ],
)  # fmt: skip
def test_what_is_no_domain(name: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(DomainName).validate_python(name)


def test_domains_are_of_public_names() -> None:
    domains = {"name": "http", "port": 80, "domains": ["shop.example.org"]}
    assert PortSpec.model_validate(domains | {"public": True}).domains == ("shop.example.org",)
    for port in ({}, {"public": True, "protocol": "tcp", "plaintext": True}):
        with pytest.raises(ValidationError, match="domains of port http lead nowhere"):
            PortSpec.model_validate(domains | port)
