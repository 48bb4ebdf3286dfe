"""Addresses become subjects and subjects tokens again; nothing from outside can widen one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.bus_wire import map_subject, matches, stored_address, tokens_of
from lattice.contracts.catalogue import CHANNELS, DESIRED_DOCUMENT, RPCS, STATUS
from lattice.contracts.streams import DESIRED, OBSERVED, STREAMS
from lattice.contracts.subjects import Address, BadToken, check_token
from lattice.errors import Invalid

TOKENS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,20}", fullmatch=True)
ADDRESS = Address("lattice.node.{node_id}.event.{type}")


@given(TOKENS, TOKENS)
def test_a_subject_parses_back(node_id: str, kind: str) -> None:
    tokens = {"node_id": node_id, "type": kind}
    assert ADDRESS.parse(ADDRESS.subject(**tokens)) == tokens


@given(st.text(max_size=20).filter(lambda text: any(character in text for character in ".*> \t\r\n\0")))
def test_what_could_widen_a_subject_is_refused(text: str) -> None:
    with pytest.raises(BadToken):
        check_token("node_id", text)
    with pytest.raises(BadToken):
        ADDRESS.pattern(node_id=text)


def test_a_trailing_newline_is_refused() -> None:
    with pytest.raises(BadToken):
        check_token("node_id", "nd-1\n")


def test_a_missing_token_is_an_error_in_a_subject_and_any_in_a_pattern() -> None:
    with pytest.raises(KeyError):
        ADDRESS.subject(node_id="nd-1")
    assert ADDRESS.pattern(node_id="nd-1") == "lattice.node.nd-1.event.*"


@pytest.mark.parametrize(
    "subject",
    ["lattice.node.nd-1.event", "lattice.node.nd-1.event.oom.more", "lattice.evt.nd-1.event.oom", ""],
)
def test_another_subject_is_not_parsed(subject: str) -> None:
    assert ADDRESS.parse(subject) is None


@given(TOKENS)
def test_what_a_stream_stores_leads_back_to_the_tokens(node_id: str) -> None:
    assert OBSERVED.transform is not None
    stored = map_subject(OBSERVED.transform, STATUS.address.subject(node_id=node_id))
    assert tokens_of(STATUS, stored) == {"node_id": node_id}
    assert matches(stored_address(STATUS).pattern(node_id=node_id), stored)
    assert matches(
        OBSERVED.transform[1].replace("{{partition(16,1)}}", "*").replace("{{wildcard(1)}}", "*"), stored
    )


def test_tokens_of_a_foreign_subject() -> None:
    with pytest.raises(Invalid):
        tokens_of(STATUS, "lattice.node.nd-1.heartbeat")


def test_republishing_names_the_same_node() -> None:
    assert DESIRED.republish is not None
    subject = DESIRED_DOCUMENT.address.subject(node_id="nd-1")
    assert map_subject(DESIRED.republish, subject) == "lattice.node.nd-1.deploy"


@pytest.mark.parametrize(
    ("pattern", "subject", "fits"),
    [
        ("a.b", "a.b", True),
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", False),
        ("a.*", "a", False),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        (">", "a", True),
        ("*.b", "a.b", True),
        ("a.b.c", "a.b", False),
    ],
)
def test_which_subjects_a_pattern_hears(pattern: str, subject: str, fits: bool) -> None:
    assert matches(pattern, subject) is fits


def test_a_subject_belongs_to_one_channel() -> None:
    addresses = [it.address for it in CHANNELS] + [it.address for it in RPCS]
    example = {place: f"x-{place.replace('_', '-')}" for address in addresses for place in address.places}
    for address in addresses:
        subject = address.subject(**example)
        assert [other for other in addresses if other.parse(subject) is not None] == [address]


def test_the_subjects_of_a_channel_are_those_of_its_stream() -> None:
    for channel in CHANNELS:
        if channel.stream is not None:
            example = channel.address.subject(**dict.fromkeys(channel.address.places, "MAX_DELIVERIES"))
            holding = [it for it in STREAMS if any(matches(pattern, example) for pattern in it.subjects)]
            assert holding == [channel.stream], channel.name
