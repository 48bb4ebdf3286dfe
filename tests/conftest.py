"""What all tests share: one fixture module per outside system, and the option for long proofs."""

from __future__ import annotations

import gc
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = [
    "tests.fixtures.telling",
    "tests.fixtures.docker",
    "tests.fixtures.containers",
    "tests.fixtures.nats",
    "tests.fixtures.object_store",
    "tests.fixtures.platform",
    "tests.fixtures.postgres",
    "tests.fixtures.registry",
    "tests.fixtures.registry_world",
    "tests.fixtures.reliability",
]


def pytest_configure() -> None:
    """How long a busy machine takes to think of an example, or to try one, says nothing about the code."""
    settings.register_profile("lattice", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("lattice")
    gc.disable()  # until everything is collected: it all stays, and looking for garbage in it takes as long as the rest


def pytest_collection_finish() -> None:
    """What was imported and collected is there to the end: never looked through again, a test that computes takes a sixth less."""
    gc.freeze()
    gc.enable()


# At the end no worker should be left alone with a file that takes minutes.
_LONG_FILES_FIRST = ("simulation", "e2e", "integration", "contract", "unit")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with folders of long files, and number tests that share a name."""
    items.sort(key=lambda item: _turn(item.path.relative_to(config.rootpath)))
    _tell_apart(items)


def _turn(file: Path) -> int:
    return next((turn for turn, folder in enumerate(_LONG_FILES_FIRST) if folder in file.parts), 0)


def _tell_apart(items: list[pytest.Item]) -> None:
    """Schemathesis makes tests of one name, one for each operation, and workers run only one test of each name."""
    seen: Counter[str] = Counter()
    for item in items:
        name = item.nodeid
        seen[name] += 1
        if seen[name] > 1:
            item._id = replace(item._id, params=str(seen[name]))  # there is no public way


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option `make soak` uses."""
    parser.addoption(
        "--full-size", action="store_true", help="run the long proofs (marker soak) at full size"
    )


@pytest.fixture(scope="session")
def full_size(pytestconfig: pytest.Config) -> bool:
    """Whether long proofs run at full size; a proof picks its numbers by it."""
    return bool(pytestconfig.getoption("--full-size"))
