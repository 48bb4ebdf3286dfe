"""What all tests share: one fixture module per outside system, and the option for long proofs."""

from __future__ import annotations

import pytest

pytest_plugins = [
    "tests.fixtures.docker",
    "tests.fixtures.containers",
    "tests.fixtures.nats",
    "tests.fixtures.platform",
    "tests.fixtures.postgres",
    "tests.fixtures.registry",
    "tests.fixtures.reliability",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option `make soak` uses."""
    parser.addoption(
        "--full-size", action="store_true", help="run the long proofs (marker soak) at full size"
    )


@pytest.fixture(scope="session")
def full_size(pytestconfig: pytest.Config) -> bool:
    """Whether long proofs run at full size; a proof picks its numbers by it."""
    return bool(pytestconfig.getoption("--full-size"))
