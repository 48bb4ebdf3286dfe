"""Reads single values of a compose file: what does not fit is told to its place, and None stands for it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from lattice.compose_file.findings import Place
from lattice.compose_file.support import MATRIX, Key, Support

T = TypeVar("T")
Mapping_ = Mapping[str, Any]
# These say which services there are: leaving them out would run something else than the file says.
_NEVER_LEFT_OUT = ("extends", "include", "profiles", "provider")


def read(parse: Callable[[object], T], value: object, place: Place) -> T | None:
    """What `parse` makes of a value that is given."""
    if value is None:
        return None
    try:
        return parse(value)
    except ValueError as error:
        place.refuse(str(error))
        return None


def mapping(value: object, place: Place) -> Mapping_:
    """A mapping whose keys are texts; nothing counts as an empty one."""
    if value is None:
        return {}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return value
    place.refuse("write a mapping here")
    return {}


def sequence(value: object, place: Place) -> list[tuple[Any, Place]]:
    """The entries of a list with their places; nothing counts as an empty one."""
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        place.refuse("write a list here")
        return []
    return [(entry, place.under(index)) for index, entry in enumerate(value)]


def text(value: object) -> str:
    """A text; ValueError for anything else."""
    if not isinstance(value, str) or not value:
        raise ValueError("write a text here")
    return value


def one_of(*choices: str) -> Callable[[object], str]:
    """A reader of words."""

    def parse(value: object) -> str:
        if value not in choices:
            raise ValueError(f"write one of {', '.join(choices)}")
        return str(value)

    return parse


def words(value: object) -> list[str]:
    """An argument list: a list as it is, a text split as compose splits it.  ValueError says what is accepted."""
    if isinstance(value, str):
        return shlex.split(value)
    if isinstance(value, (list, tuple)) and all(isinstance(word, (str, int, float)) for word in value):
        return [str(word) for word in value]
    raise ValueError("write a text or a list of texts")


def known(value: object, keys: Mapping[str, Key], place: Place) -> Iterator[tuple[str, Any, Place]]:
    """The keys that are mapped, each with its value and place; all others are told.  Extensions (`x-…`) are nobody's business."""
    for name, content in mapping(value, place).items():
        here, key = place.under(name), keys.get(name)
        if key is None and name.startswith("x-"):
            continue
        if key is None:
            here.refuse("the compose-spec has no such key")
        elif key.support is Support.MAPPED:
            yield name, content, here
        elif key.support is Support.NOTED and content is not False:
            here.note(key.how)
        elif not _is_default(name, content):
            _tell_refused(name, key, here)


def only(value: object, names: tuple[str, ...], place: Place, *, why: str = "") -> Mapping_:
    """The named keys of a small mapping; the others are told as not supported."""
    found = {}
    for name, content in mapping(value, place).items():
        if name in names:
            found[name] = content
        elif not name.startswith("x-"):
            place.under(name).unsupported(f"not supported{f': {why}' if why else ''}")
    return found


def _tell_refused(name: str, key: Key, place: Place) -> None:
    detail = f"not supported: {key.how} (all keys: {MATRIX})"
    if name in _NEVER_LEFT_OUT:
        place.refuse(detail)
    else:
        place.unsupported(detail)


def _is_default(name: str, content: object) -> bool:
    """Whether it asks for what is there anyway."""
    nothing = content is None or content == [] or content == {} or content is False
    plain_network = name == "networks" and content in (["default"], {"default": None}, {"default": {}})
    return plain_network or (nothing and name not in ("init", "build"))
