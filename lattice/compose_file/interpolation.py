"""Variables in the values of a compose file, as compose fills them: `${NAME}`, `${NAME:-default}`, `${NAME:?error}`, `${NAME:+other}`, `$$`.

Done where the file is read, with the variables of whoever applies it: the platform never sees the names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_START = re.compile(rf"\$(?:(?P<dollar>\$)|(?P<plain>{_NAME})|\{{(?P<braced>{_NAME})(?P<operator>:?[-?+])?)")


class BadVariable(ValueError):
    """A variable cannot be filled; the text says which, where and why."""


@dataclass(slots=True)
class Used:
    """Which variables were filled, and which were not set and stand for nothing."""

    filled: set[str] = field(default_factory=set)
    unset: set[str] = field(default_factory=set)


def interpolate(document: Any, variables: Mapping[str, str], used: Used, *, path: str = "") -> Any:
    """The document with its variables filled; keys stay as they are.  Raises BadVariable."""
    if isinstance(document, str):
        return _fill(document, variables, used, path)
    if isinstance(document, Mapping):
        return {
            key: _entry(key, value, variables, used, f"{path}.{key}" if path else str(key))
            for key, value in document.items()
        }
    if isinstance(document, list):
        return [
            interpolate(value, variables, used, path=f"{path}[{index}]")
            for index, value in enumerate(document)
        ]
    return document


def _entry(key: object, value: Any, variables: Mapping[str, str], used: Used, path: str) -> Any:
    filled = interpolate(value, variables, used, path=path)
    return _own_variables(filled, variables, used) if key == "environment" else filled


def _own_variables(environment: Any, variables: Mapping[str, str], used: Used) -> Any:
    """`environment` with variables that have no value taken from the caller; those that are not set there are left out, as in compose."""
    if isinstance(environment, list):
        named = [(str(entry), entry) for entry in environment]
        return [
            _with_value(name, entry, variables) for name, entry in named if _has_value(name, variables, used)
        ]
    if isinstance(environment, Mapping):
        return {
            name: variables[name] if value is None else value
            for name, value in environment.items()
            if value is not None or _has_value(str(name), variables, used)
        }
    return environment


def _with_value(name: str, entry: Any, variables: Mapping[str, str]) -> Any:
    return entry if "=" in name else f"{name}={variables[name]}"


def _has_value(name: str, variables: Mapping[str, str], used: Used) -> bool:
    if "=" in name:
        return True
    (used.filled if name in variables else used.unset).add(name)
    return name in variables


def _fill(text: str, variables: Mapping[str, str], used: Used, path: str) -> str:
    done, rest = "", text
    while (at := rest.find("$")) >= 0:
        done, rest = done + rest[:at], rest[at:]
        match = _START.match(rest)
        if match is None:
            raise BadVariable(f"{path}: cannot read {text!r}; write $$ for a dollar sign")
        rest = rest[match.end() :]
        if match["dollar"]:
            done += "$"
        elif match["plain"]:
            done += _value(match["plain"], variables, used)
        else:
            word, rest = _word(rest, text, path)
            done += _braced(match["braced"], match["operator"], word, variables, used, path)
    return done + rest


def _word(rest: str, text: str, path: str) -> tuple[str, str]:
    """What stands before the closing brace (braces may lie within), and what comes after it."""
    depth = 1
    for index, character in enumerate(rest):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return rest[:index], rest[index + 1 :]
    raise BadVariable(f"{path}: a brace is not closed in {text!r}")


def _braced(
    name: str, operator: str | None, word: str, variables: Mapping[str, str], used: Used, path: str
) -> str:
    if operator is None:
        if word:
            raise BadVariable(f"{path}: cannot read ${{{name}{word}}}; write ${{{name}:-default}}")
        return _value(name, variables, used)
    # With a colon an empty value counts as none.
    is_set = bool(variables.get(name)) if operator.startswith(":") else name in variables
    if operator.endswith("+"):
        return _fill(word, variables, used, path) if is_set else ""
    if is_set:
        return _value(name, variables, used)
    if operator.endswith("?"):
        raise BadVariable(
            f"{path}: {name} is not set{f': {_fill(word, variables, used, path)}' if word else ''}"
        )
    return _fill(word, variables, used, path)


def _value(name: str, variables: Mapping[str, str], used: Used) -> str:
    if name in variables:
        used.filled.add(name)
        return variables[name]
    used.unset.add(name)
    return ""


def read_env_file(text: str) -> dict[str, str]:
    """The variables of a `.env` file: `NAME=value` lines, comments, quotes around values.  Raises BadVariable."""
    found = {}
    for number, line in enumerate(text.splitlines(), start=1):
        entry = line.strip().removeprefix("export ").strip()
        if not entry or entry.startswith("#"):
            continue
        name, equals, value = entry.partition("=")
        if not equals or not re.fullmatch(_NAME, name.strip()):
            raise BadVariable(f"line {number} of .env: write NAME=value")
        found[name.strip()] = _unquoted(value.strip())
    return found


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return re.sub(r"\s+#.*$", "", value)
