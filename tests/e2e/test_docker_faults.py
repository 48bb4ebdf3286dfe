"""The Engine under the running product is killed and restarted, with and without live-restore: what is wanted runs again within 30 s."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from signal import Signals

import pytest

from tests.fixtures.engine import Engine, running_engine
from tests.fixtures.platform import Platform, platforms, until
from tests.fixtures.reliability import Record

WITHIN_S = 30.0
NAMES = ("one", "two")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, image_test: str) -> Iterator[Engine]:
    """An Engine of these tests alone."""
    with running_engine(tmp_path_factory.mktemp("engine"), image_test) as engine:
        yield engine


@pytest.fixture(scope="module")
def platform(engine: Engine, image_test: str) -> Iterator[Platform]:
    """A platform on that Engine, with two workloads."""
    with platforms() as make:
        platform = make(LATTICE_DOCKER_URL=engine.url)
        platform.up()
        for name in NAMES:
            quick = ("--set", "restart.backoff.initial=0.1s")
            platform.ok("run", image_test, "--name", name, *quick, "--", "sleep", "86400")
        yield platform


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("live_restore", [False, True], ids=["stops-with-docker", "live-restore"])
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "ended"])
def test_after_a_docker_restart_all_runs_again(
    platform: Platform,
    engine: Engine,
    signum: Signals,
    live_restore: bool,
    full_size: bool,
    record: Record,
) -> None:
    options = ("--live-restore",) if live_restore else ()
    engine.end(signal.SIGTERM)
    engine.start(*options)
    until(lambda: all_run(platform), timeout_s=2 * WITHIN_S, what="everything running at first")
    times_s = [restart(platform, engine, signum, *options) for _ in range(10 if full_size else 1)]
    record(
        f"Docker {'killed' if signum is signal.SIGKILL else 'restarted'}{' with live-restore' if live_restore else ''}",
        f"{len(times_s)} times: all ran again, slowest {max(times_s):.1f} s after Docker was back",
    )


def restart(platform: Platform, engine: Engine, signum: Signals, *options: str) -> float:
    """Restart the Engine; how long it took until all ran again, as the Engine and as the platform see it."""
    before = platform.lives()
    engine.end(signum)
    engine.start(*options)
    began_s = time.monotonic()
    until(lambda: all_run(platform), timeout_s=WITHIN_S, what="everything running again")
    took_s = time.monotonic() - began_s
    for name in NAMES:
        platform.until_state(name, "running")
    after = platform.lives()
    assert set(after) == set(before), "the same containers, none made anew"
    if "--live-restore" in options:
        assert after == before, "live-restore keeps them running, and the agent leaves them alone"
    return took_s


def all_run(platform: Platform) -> bool:
    states = [each["State"]["Running"] for each in platform.containers()]
    return len(states) == len(NAMES) and all(states)
