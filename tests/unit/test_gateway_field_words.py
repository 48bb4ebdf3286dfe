"""Wrong fields are explained to people: no regular expression, no word of the framework."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from lattice.contracts.spec import WorkloadSpec
from services.gateway.field_words import in_words

GOOD = {"name": "web", "image": "nginx:1.27"}


def words(change: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(WorkloadSpec).validate_python({**GOOD, **change})
    (found,) = caught.value.errors()
    return in_words(found)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "Web_1"}, "use 2 to 28 lower-case letters"),
        ({"image": "no such image"}, "write an image as nginx:1.27"),
        ({"colour": "red"}, "there is no such field"),
        ({"resources": {"memory": "much"}}, "write a size as 512Mi"),
        ({"volumes": [{"name": "data"}]}, "is needed"),
    ],
)
def test_a_wrong_field_is_explained(change: dict[str, Any], said: str) -> None:
    assert words(change).startswith(said)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            {"type": "json_invalid", "msg": "JSON decode error", "ctx": {"error": "Expecting value"}},
            "is not JSON: Expecting value",
        ),
        (
            {"type": "model_attributes_type", "msg": "Input should be a valid dictionary or object"},
            "send a JSON object, with the header Content-Type: application/json",
        ),
        (
            {"type": "less_than_equal", "msg": "Input should be less than or equal to 65535"},
            "Input should be less than or equal to 65535",
        ),
    ],
)
def test_a_wrong_body_is_explained(found: dict[str, Any], said: str) -> None:
    assert in_words(found) == said
