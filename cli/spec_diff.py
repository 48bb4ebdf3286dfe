"""What changed between two revisions, as lines that begin with `+`, `-` or a space.  Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from cli.output import to_yaml

_CONTEXT_LINES = 3


def spec_diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """A unified diff of two revisions as REST answers them: their specs, and the image that each was pinned to."""
    names = (f"revision {before['number']}", f"revision {after['number']}")
    lines = difflib.unified_diff(_text(before), _text(after), *names, lineterm="", n=_CONTEXT_LINES)
    return list(lines)


def _text(revision: Mapping[str, Any]) -> list[str]:
    return to_yaml({**revision["spec"], "pinned image": revision.get("image")}).splitlines()
