"""On which node an app has to be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.registry.app_homes import Stand, home_of


def stand(part: str, node: str, *, data: bool = False) -> Stand:
    return Stand(id=part, node_id=node, data=data)


def test_an_app_that_is_nowhere_may_go_anywhere() -> None:
    assert home_of([]) is None


def test_data_decides() -> None:
    stands = [stand("in-1", "a"), stand("in-2", "a"), stand("vo-1", "b", data=True)]
    assert home_of(stands) == "b"


def test_without_data_it_is_where_most_of_it_is_and_of_equals_where_the_oldest_part_is() -> None:
    assert home_of([stand("in-1", "a"), stand("in-2", "b"), stand("in-3", "b")]) == "b"
    assert home_of([stand("in-2", "b"), stand("in-1", "a")]) == "a"


_STANDS = st.lists(
    st.builds(stand, st.integers(0, 99).map("in-{:02}".format), st.sampled_from("abc"), data=st.booleans()),
    min_size=1,
    unique_by=lambda each: each.id,
)


@given(_STANDS)
def test_what_follows_home_and_what_leaves_elsewhere_never_changes_it(stands: list[Stand]) -> None:
    """So parts that were torn apart meet, and none of them passes another on the way."""
    home = home_of(stands)
    assert home is not None
    assert home_of([*stands, stand("in-99-new", home)]) == home
    for each in stands:
        if each.node_id != home and not each.data:
            assert home_of([other for other in stands if other is not each]) == home
