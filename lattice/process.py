"""The life of every process, in one place: log, health, build, work, drain, exit.

A service's `__main__` is two lines and its `app.py` an async context manager that builds the service, yields its readiness checks and, on
leaving, takes it down again:

    # __main__.py
    raise SystemExit(run("registry", load(RegistrySettings), build))

    # app.py
    @asynccontextmanager
    async def build(settings: RegistrySettings) -> AsyncIterator[Checks]:
        async with open_bus(settings.bus) as bus, open_store(settings.database) as store, Background() as background:
            background.start("relay", Relay(bus, store).run)
            yield {"bus": bus.ready, "database": store.ready}

The health server answers before `build` is entered, so a part that waits for another is alive and not ready, never dead.  SIGTERM or
SIGINT leaves the block, which may take `drain_timeout_s`; a second signal, or the time, cuts it short.

Exit codes: 0 ended as told, 1 failed or did not end in time, 2 wrong settings.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from http import HTTPStatus
from typing import TypeVar

from loguru import logger
from pydantic import ValidationError

from lattice.background import Background
from lattice.cancelling import cancel_and_wait
from lattice.errors import LatticeError
from lattice.files import PUBLIC, write_durably
from lattice.process_health import Check, Checks, HealthServer, Readiness
from lattice.process_log import current_context, log_context, set_up_logging
from lattice.settings import ProcessSettings

__all__ = [
    "Background",
    "Check",
    "Checks",
    "Readiness",
    "current_context",
    "live",
    "load",
    "log_context",
    "run",
]

S = TypeVar("S", bound=ProcessSettings)
Build = Callable[[S], AbstractAsyncContextManager[Checks]]

DONE, FAILED, WRONG_SETTINGS = 0, 1, 2
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def load(kind: type[S]) -> S:
    """The settings of this process from its environment; a wrong one ends the process with a plain sentence and code 2."""
    try:
        return kind()
    except ValidationError as error:
        for problem in error.errors(include_input=False):
            name = "__".join(str(part) for part in problem["loc"]).upper()
            prefix = kind.model_config.get("env_prefix", "")
            sys.stderr.write(f"Setting {prefix}{name} is wrong: {problem['msg']}.\n")
        raise SystemExit(WRONG_SETTINGS) from None


def run(service: str, settings: S, build: Build[S]) -> int:
    """Live until told to end; the exit code."""
    set_up_logging(service, settings)
    use_all_descriptors()
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        return runner.run(live(service, settings, build))


def use_all_descriptors() -> None:
    """Open as many files and connections as the system allows this process, and not as few as a login shell starts with (1,024).

    The lower limit is there for programs that use select(2); ours do not, and Go's runtime does the same for its programs.
    """
    try:
        import resource  # absent on Windows
    except ImportError:
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # absent on Windows
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


async def live(
    service: str,
    settings: S,
    build: Build[S],
    *,
    readiness: Readiness | None = None,
    stop: asyncio.Event | None = None,
) -> int:
    """What `run` runs, for those who have a loop already.  Where `stop` is given it ends the process, and signals are left alone."""
    readiness, cut = readiness or Readiness(), asyncio.Event()
    stop = stop or _told_by_signals(cut)
    health = HealthServer(service, readiness)
    try:
        await _listen(health, settings)
        return await _work_until(stop, cut, settings, build, readiness)
    except Exception as error:
        _tell(service, error, readiness)
        return FAILED
    finally:
        await health.close()


def _tell(service: str, error: Exception, readiness: Readiness) -> None:
    """A start that was refused (a used join token, a taken folder) explains itself; a trace would only bury the sentence."""
    if (
        isinstance(error, LatticeError)
        and error.status < HTTPStatus.INTERNAL_SERVER_ERROR
        and readiness.stage == "starting"
    ):
        logger.error("{} cannot start: {}", service, error.detail)
    else:
        logger.opt(exception=error).error("{} failed and ends", service)


def _told_by_signals(cut: asyncio.Event) -> asyncio.Event:
    """The first signal sets the event returned, the second `cut`."""
    stop = asyncio.Event()

    def told() -> None:
        (cut if stop.is_set() else stop).set()

    for signum in _SIGNALS:
        with suppress(NotImplementedError):  # Windows
            asyncio.get_running_loop().add_signal_handler(signum, told)
    return stop


async def _listen(health: HealthServer, settings: ProcessSettings) -> None:
    port = await health.start(settings.health_host, settings.health_port)
    if settings.health_port_file is not None:
        write_durably(settings.health_port_file, f"{port}\n".encode(), mode=PUBLIC)
    logger.info("health on {}:{}, process {}", settings.health_host, port, os.getpid())


async def _work_until(
    stop: asyncio.Event, cut: asyncio.Event, settings: S, build: Build[S], readiness: Readiness
) -> int:
    work = asyncio.create_task(_work(stop, settings, build, readiness))
    told = asyncio.create_task(_time_is_up(stop, cut, settings.drain_timeout_s, readiness))
    await asyncio.wait({work, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if work.done():
        work.result()
        return DONE
    return await _cut_short(work, readiness)


async def _work(stop: asyncio.Event, settings: S, build: Build[S], readiness: Readiness) -> None:
    async with build(settings) as checks:
        readiness.checks, readiness.stage = checks, ""
        logger.info("started")
        await stop.wait()
        readiness.stage = "ending"
        logger.info("ending")
    logger.info("ended")


async def _time_is_up(
    stop: asyncio.Event, cut: asyncio.Event, drain_timeout_s: float, readiness: Readiness
) -> None:
    """Returns at once when the process never started: then there is no work to end."""
    await stop.wait()
    if readiness.stage != "starting":
        with suppress(TimeoutError):
            await asyncio.wait_for(cut.wait(), drain_timeout_s)


async def _cut_short(work: asyncio.Task[None], readiness: Readiness) -> int:
    await cancel_and_wait([work])
    if readiness.stage == "starting":
        logger.info("told to end before it had started")
        return DONE
    logger.warning("the process did not end in time and was cut short")
    return FAILED
