"""Every lock holds what pyproject.toml asks for, and none says where packages come from."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_PROJECT = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
_SELF = re.compile(r"lattice-platform\[(?P<extras>[a-z,]+)\]")


def _asked_for(extra: str) -> set[str]:
    """The names an extra asks for, through the extras it is made of."""
    names = {_name(requirement) for requirement in _PROJECT["dependencies"]}
    for requirement in _PROJECT["optional-dependencies"][extra]:
        if made_of := _SELF.fullmatch(requirement):
            names.update(*(_asked_for(part) for part in made_of["extras"].split(",")))
        else:
            names.add(_name(requirement))
    return names


def _name(requirement: str) -> str:
    return re.split(r"[\[<>=;~! ]", requirement)[0].lower().replace("_", "-")


def _versions(lock: str) -> dict[str, str]:
    text = (_ROOT / "requirements" / f"{lock}.lock").read_text()
    return dict(re.findall(r"^([a-z0-9.-]+)(?:\[[a-z,]+\])?==(\S+)", text, re.MULTILINE))


@pytest.mark.parametrize("extra", ["agent", "cli", "services", "embedded", "dev"])
def test_a_lock_holds_all_that_its_extra_asks_for(extra: str) -> None:
    assert _asked_for(extra) - _versions(extra).keys() == set(), "run `make lock`"


@pytest.mark.parametrize("lock", ["agent", "cli", "services", "embedded", "images"])
def test_locks_agree_so_that_one_can_be_installed_over_another(lock: str) -> None:
    dev = _versions("dev")
    assert {name: dev.get(name) for name in _versions(lock)} == _versions(lock), "run `make lock`"


@pytest.mark.parametrize("path", sorted((_ROOT / "requirements").glob("*.lock")), ids=lambda path: path.name)
def test_a_lock_names_no_address(path: Path) -> None:
    assert re.findall(r"https?://\S+|--(?:extra-)?index-url|--find-links", path.read_text()) == []
