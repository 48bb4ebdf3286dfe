"""Reads `--set K=V`: where the value goes in a workload's spec, and what it is.  Pure.

K is a path in the spec (`image`, `env.TZ`, `ports.0.port`).  A bare K that the template's schema knows means `values.K`; its declared type
then decides how V is read, so `version=16` is the text that the postgres template wants.  Otherwise V is a YAML 1.2 scalar or a flow list
or map; words such as `no` and `on` stay words.  `@FILE` takes the file's content as text, `@@…` stands for a text that begins with `@`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from cli.errors import CliError, usage

Path = tuple[str, ...]
ReadFile = Callable[[str], str]

_TEXT_ONLY = ("env",)  # whatever is below is text, also when it looks like a number


@dataclass(frozen=True, slots=True)
class TemplateSchema:
    """What a template's values may be: the JSON schema's properties."""

    template: str
    properties: Mapping[str, Any]

    def is_text(self, key: str) -> bool:
        return _types(self.properties.get(key) or {}) <= {"string", "null"}


def _types(schema: Mapping[str, Any]) -> set[str]:
    if "anyOf" in schema:
        return {kind for choice in schema["anyOf"] for kind in _types(choice)}
    declared = schema.get("type")
    if declared is None:
        return (
            {"string"} if schema.get("enum") and all(isinstance(v, str) for v in schema["enum"]) else {"any"}
        )
    return {declared} if isinstance(declared, str) else set(declared)


def apply_sets(
    spec: Mapping[str, Any],
    settings: Sequence[str],
    *,
    schema: TemplateSchema | None,
    known_fields: Sequence[str],
    read_file: ReadFile,
) -> dict[str, Any]:
    """`spec` with every `K=V` of `settings` put in, in their order.  A setting that makes no sense is a usage error."""
    result: dict[str, Any] = json.loads(json.dumps(spec))
    for setting in settings:
        key, text = split_setting(setting)
        path = locate(key, schema=schema, known_fields=known_fields)
        _put(result, path, read_value(path, text, schema=schema, read_file=read_file), setting=setting)
    return result


def split_setting(setting: str) -> tuple[str, str]:
    """(`env.TZ`, `UTC`) from `env.TZ=UTC`."""
    key, equals, text = setting.partition("=")
    if not equals or not all(key.split(".")):
        raise usage(f"Cannot read --set {setting!r}.", todo="write --set KEY=VALUE, e.g. --set env.TZ=UTC")
    return key, text


def locate(key: str, *, schema: TemplateSchema | None, known_fields: Sequence[str]) -> Path:
    """The path that `key` means: a template's own value first, then a field of the spec."""
    path = tuple(key.split("."))
    if schema is not None and path[0] in schema.properties:
        return ("values", *path)
    if path[0] not in known_fields:
        raise _unknown(path[0], schema, known_fields)
    return path


def _unknown(key: str, schema: TemplateSchema | None, known_fields: Sequence[str]) -> CliError:
    if schema is None:
        return usage(f"A workload has no field {key!r}.", todo=f"use one of {', '.join(known_fields)}")
    values = ", ".join(schema.properties) or "no values of its own"
    return usage(
        f"Neither the template {schema.template} nor a workload has {key!r}.",
        todo=f"{schema.template} knows {values}; a workload has {', '.join(known_fields)}",
    )


def read_value(path: Path, text: str, *, schema: TemplateSchema | None, read_file: ReadFile) -> Any:
    """What V means at `path`."""
    if text.startswith("@@"):
        return text[1:]
    if text.startswith("@"):
        return read_file(text[1:])
    return text if _wants_text(path, schema) else parse_scalar(text)


def _wants_text(path: Path, schema: TemplateSchema | None) -> bool:
    if path[0] == "values" and len(path) == 2 and schema is not None and path[1] in schema.properties:
        return schema.is_text(path[1])
    return path[0] in _TEXT_ONLY and len(path) > 1


def parse_scalar(text: str) -> Any:
    """A number, true, false, null, a flow list or map, or else the text itself."""
    if text[:1] in tuple("[{'\""):
        return _flow(text)
    try:
        return json.loads(text, parse_constant=str)
    except ValueError:
        return text


def _flow(text: str) -> Any:
    import yaml

    from lattice.plain_yaml import PlainLoader

    try:
        return yaml.load(text, Loader=PlainLoader)
    except yaml.YAMLError as error:
        raise usage(
            f"Cannot read the value {text!r}.", todo="close every quote and bracket, as in '[a, b]'"
        ) from error


def _put(target: Any, path: Path, value: Any, *, setting: str) -> None:
    for step, following in pairwise(path):
        empty: Any = [] if following.isdigit() else {}
        target = _child(target, step, empty, setting)
    _assign(target, path[-1], value, setting)


def _child(target: Any, step: str, empty: Any, setting: str) -> Any:
    if isinstance(target, dict):
        if target.get(step) is None:
            target[step] = empty
        return target[step]
    index = _index(target, step, setting)
    if index == len(target):
        target.append(empty)
    return target[index]


def _assign(target: Any, step: str, value: Any, setting: str) -> None:
    if isinstance(target, dict):
        target[step] = value
        return
    index = _index(target, step, setting)
    target[index : index + 1] = [value]


def _index(target: Any, step: str, setting: str) -> int:
    if not isinstance(target, list) or not step.isdigit() or int(step) > len(target):
        raise usage(f"--set {setting!r} points at nothing: {step!r} is not a place in {json.dumps(target)}.")
    return int(step)
