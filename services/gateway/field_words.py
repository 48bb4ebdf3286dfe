"""What is wrong with a field, for people.  The framework speaks to programmers: of regular expressions, dictionaries and extra inputs.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lattice.contracts.nouns import NAME_PATTERN
from lattice.contracts.spec import IMAGE_PATTERN
from services.gateway.names import PROJECT_PATTERN

_NAME = "use 2 to 28 lower-case letters, digits and single hyphens; begin with a letter and do not end with a hyphen"
_IMAGE = "write an image as nginx:1.27 or ghcr.io/acme/api:1.4, its name in lower case"
_BY_TYPE = {
    "extra_forbidden": "there is no such field; look for a typo, /docs shows what there is",
    "missing": "is needed",
    "model_attributes_type": "send a JSON object, with the header Content-Type: application/json",
}


def in_words(found: Mapping[str, Any]) -> str:
    """A finding of the validation as a sentence."""
    context = found.get("ctx", {})
    pattern = str(context.get("pattern", ""))
    if pattern.startswith((NAME_PATTERN, PROJECT_PATTERN)):
        return _NAME
    if pattern.startswith(IMAGE_PATTERN):
        return _IMAGE
    if found["type"] == "json_invalid":
        return f"is not JSON: {context.get('error', 'it cannot be read')}"
    return _BY_TYPE.get(found["type"]) or str(found["msg"]).removeprefix("Value error, ")
