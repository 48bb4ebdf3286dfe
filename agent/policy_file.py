"""Reads the owner's policy: strictly, and with the line of what is wrong.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

import yaml
from pydantic import ValidationError

from agent.policy import NodePolicy
from lattice.plain_yaml import PlainLoader


class BadPolicy(ValueError):
    """The file cannot be used; the text says where and why, for people."""


def parse_policy(text: str) -> NodePolicy:
    """The policy that a file holds.  Raises BadPolicy."""
    try:
        tree = yaml.compose(text, Loader=PlainLoader)
        data = yaml.load(text, Loader=PlainLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadPolicy(f"line {line}: {error.problem or error.context or 'not valid YAML'}") from error
    except yaml.YAMLError as error:
        raise BadPolicy(f"not valid YAML: {error}") from error
    if tree is None or not isinstance(data, dict):
        raise BadPolicy("line 1: write rules such as `images: [...]`; to allow everything, remove the file")
    try:
        return NodePolicy.model_validate(data)
    except ValidationError as error:
        raise BadPolicy(
            "; ".join(_told(each["loc"], each["type"], each["msg"], tree) for each in error.errors())
        ) from None


def _told(place: Sequence[int | str], kind: str, message: str, tree: yaml.Node) -> str:
    what = "there is no such rule" if kind == "extra_forbidden" else message.removeprefix("Value error, ")
    name = ".".join(str(part) for part in place)
    return f"line {_line(place, tree)}: {name}: {what}" if name else f"line {_line(place, tree)}: {what}"


def _line(place: Sequence[int | str], node: yaml.Node) -> int:
    """The line of the innermost part of `place` that is in the file."""
    line = node.start_mark.line
    for part in place:
        found = _child(node, part)
        if found is None:
            break
        line, node = found
    return line + 1


def _child(node: yaml.Node, part: int | str) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        return next(
            ((key.start_mark.line, value) for key, value in node.value if key.value == str(part)), None
        )
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark.line, node.value[part]
    return None
