"""What the supervisor, the nursery and a newborn process say to each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standalone.nursery_orders import Answer, Order, can_be_forked, read_answer, read_order

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(words, st.lists(words), st.dictionaries(words, words), words, st.integers(1, 64))
def test_an_order_arrives_as_it_was_given(
    name: str, argv: list[str], environment: dict[str, str], folder: str, death_signal: int
) -> None:
    order = Order(name, tuple(argv), environment, folder, death_signal)
    assert read_order(order.encode()) == order


@pytest.mark.parametrize("answer", [Answer(pid=7), Answer(problem="no memory")])
def test_an_answer_arrives_as_it_was_given(answer: Answer) -> None:
    assert read_answer(answer.encode()) == answer


def test_no_answer_at_all_is_a_problem() -> None:
    assert read_answer(b"").pid == 0 and read_answer(b"").problem


@pytest.mark.parametrize(
    ("own", "can"),
    [
        ({"LATTICE_REGISTRY_PORT": "1", "HOME": "/root"}, True),
        ({"PYTHONPATH": "/other"}, False),
        ({"LANG": "de_DE.UTF-8"}, False),
        ({"TZ": "Europe/Berlin"}, False),
        ({"LD_PRELOAD": "/lib/other.so"}, False),
    ],
)
def test_what_is_read_once_must_be_the_same(own: dict[str, str], can: bool) -> None:
    nursery = {"PYTHONPATH": "/here", "PATH": "/bin"}
    assert can_be_forked({**nursery, **own}, nursery=nursery) is can


def test_what_is_missing_is_another_environment() -> None:
    assert not can_be_forked({}, nursery={"LC_ALL": "C.UTF-8"})
