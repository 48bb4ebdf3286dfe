"""What differs between two specs, field by field."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.registry.spec_changes import spec_changes

leaves = st.one_of(st.none(), st.integers(0, 3), st.sampled_from(["a", "b"]), st.lists(st.integers(0, 2)))
specs = st.recursive(
    st.dictionaries(st.sampled_from("xyz"), leaves, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("xyz"), st.one_of(leaves, inner), max_size=3),
    max_leaves=8,
)


def test_each_field_is_named_by_its_path() -> None:
    before = {
        "image": "a:1",
        "env": {"V": "1", "OLD": "x"},
        "resources": None,
        "ports": [1],
        "same": {"a": 1},
    }
    after = {"image": "a:2", "env": {"V": "1", "NEW": "y"}, "resources": {"cpu": 1}, "ports": [1, 2], "same": {"a": 1}}  # fmt: skip
    assert [(each.path, each.before, each.after) for each in spec_changes(before, after)] == [
        ("image", "a:1", "a:2"),
        ("env.OLD", "x", None),
        ("env.NEW", None, "y"),
        ("resources", None, {"cpu": 1}),
        ("ports", [1], [1, 2]),
    ]


@given(specs)
def test_nothing_differs_from_itself(spec: dict[str, Any]) -> None:
    assert spec_changes(spec, spec) == ()


@given(specs, specs)
def test_the_way_back_is_the_way_there_turned_round(one: dict[str, Any], other: dict[str, Any]) -> None:
    there = {(each.path, str(each.before), str(each.after)) for each in spec_changes(one, other)}
    back = {(each.path, str(each.after), str(each.before)) for each in spec_changes(other, one)}
    assert there == back
