"""What nodes are told: each of its own, ranges that touch as one, no message too long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lattice.contracts.messages import LogRange, LogsStored
from lattice.contracts.messages.log_blocks import MOST_RANGES
from lattice.number_ranges import inside, missing, together
from services.logs.confirmations import Told, messages, of_those_asked, words_to_nodes

told = st.tuples(
    st.sampled_from(["nd-a", "nd-b"]),
    st.sampled_from(["one", "two"]),
    st.tuples(st.integers(0, 30), st.integers(0, 9)).map(lambda pair: (pair[0], pair[0] + pair[1])),
)


def numbers(ranges: tuple[LogRange, ...]) -> list[tuple[str, int]]:
    return sorted((each.source, number) for each in ranges for number in range(each.first, each.last + 1))


@given(st.lists(told), st.lists(told))
def test_each_node_is_told_its_own_once(stored: list[Told], refused: list[Told]) -> None:
    said = dict(words_to_nodes(stored, refused))
    for node in ("nd-a", "nd-b"):
        message = said.get(node, LogsStored())
        for given_, ranges in ((stored, message.stored), (refused, message.refused)):
            mine = {
                (source, number) for at, source, (a, b) in given_ if at == node for number in range(a, b + 1)
            }
            assert numbers(ranges) == sorted(mine)


def test_many_ranges_are_told_in_several_messages() -> None:
    stored = [("nd-a", f"c{n}", (1, 2)) for n in range(MOST_RANGES + 1)]
    said = [message for _, message in words_to_nodes(stored, stored[:1])]
    assert [len(message.stored) for message in said] == [MOST_RANGES, 1]
    assert [len(message.refused) for message in said] == [1, 0]


def test_whoever_asks_is_answered_though_nothing_is_stored() -> None:
    assert list(messages(())) == [LogsStored()]
    assert list(words_to_nodes(())) == []


def test_a_range_that_is_none_is_not_told() -> None:
    assert list(words_to_nodes((), [("nd-a", "one", (5, 4))])) == []


def test_of_what_was_asked_the_stored_parts_are_told() -> None:
    asked = [LogRange(source="one", first=1, last=10), LogRange(source="two", first=1, last=10)]
    stored = {"one": ((1, 3), (5, 6), (9, 20)), "two": ()}
    found = of_those_asked(asked, lambda source, lines: inside(stored[source], lines))
    assert [(each.source, each.first, each.last) for each in found] == [
        ("one", 1, 3),
        ("one", 5, 6),
        ("one", 9, 10),
    ]


@given(st.lists(told), told)
def test_what_is_stored_and_what_is_missing_are_all(some: list[Told], asked: Told) -> None:
    covered = together(lines for _, _, lines in some)
    parts = [*inside(covered, asked[2]), *missing(covered, asked[2])]
    assert together(parts) == (asked[2],)
    assert sum(b - a + 1 for a, b in parts) == asked[2][1] - asked[2][0] + 1
