"""A platform while it runs: holds the data directory, starts everything, tells when it is ready, and stops everything when told.

The data directory stays locked until the last process has ended, so a second start can never meet the first.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any

from loguru import logger

from lattice.background import Background
from lattice.clock import Clock, SystemClock
from lattice.errors import LatticeError, Temporary
from standalone.announcement import announce, withdraw
from standalone.data_dir import DataDir, exclusive, open_data_dir
from standalone.engine import check_engine
from standalone.forking import Nursery
from standalone.gateway_client import GatewayClient, open_gateway
from standalone.leftovers import end_leftovers
from standalone.own_node import own_node_id, wait_until_ready
from standalone.preparation import Options, Prepared, prepare
from standalone.process_plan import AGENT, nursery_spec
from standalone.renewal import keep_renewing, reload_nats
from standalone.reports import Kind, News, Tell
from standalone.settings import StandaloneSettings, ambient_environment
from standalone.spawning import execute
from standalone.stopped import stopped_workloads, words_on_stopped
from standalone.supervisor import Supervisor, read_status

DONE, FAILED = 0, 1
LOOK_S = 0.05
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run_platform(options: Options, settings: StandaloneSettings, tell: Tell) -> int:
    """Run until told to stop; the exit code.  What goes wrong before it is ready is told as FAILED."""
    try:
        asyncio.run(_run(options, settings, tell))
        return DONE
    except LatticeError as error:
        logger.error("the platform ends: {}", error)
        tell(News(kind=Kind.FAILED, text=str(error)))
        return FAILED


async def _run(options: Options, settings: StandaloneSettings, tell: Tell) -> None:
    clock, data_dir = SystemClock(), open_data_dir(options.data_dir)
    with _told_by_signals() as stop, exclusive(data_dir):
        await _clear_the_way(data_dir)
        if options.with_agent:
            await _check_engine(settings.docker_url)
        ambient = ambient_environment()
        async with _nursery(data_dir, settings, ambient) as nursery:
            prepared = prepare(data_dir, options, settings, ambient=ambient, now=clock.now())
            tell(News(kind=Kind.STARTED, announcement=prepared.announcement))
            _warn_of_busy_ports(prepared.platform.busy_ports, tell)
            await _supervise(prepared, nursery, tell, stop, clock)


@asynccontextmanager
async def _nursery(
    data_dir: DataDir, settings: StandaloneSettings, ambient: Mapping[str, str]
) -> AsyncIterator[Nursery | None]:
    """It imports while the rest is prepared, so nothing waits for it that would not have waited for its own imports."""
    if not settings.nursery:
        yield None
        return
    nursery = Nursery(nursery_spec(data_dir, ambient))
    try:
        await nursery.start()
        yield nursery
    finally:
        await nursery.stop()


def _warn_of_busy_ports(busy: Sequence[int], tell: Tell) -> None:
    if not busy:
        return
    text = (
        f"port {', '.join(map(str, busy))} of public TCP addresses is in use by another program: a workload that has it cannot be reached "
        "there until that program ends"
    )
    logger.warning(text)
    tell(News(kind=Kind.PROGRESS, text=text))


async def _clear_the_way(data_dir: DataDir) -> None:
    """A supervisor that was killed may have left its processes ending, and its word that it is ready."""
    withdraw(data_dir)
    await end_leftovers(read_status(data_dir.status_file))


async def _check_engine(docker_url: str) -> None:
    try:
        await check_engine(docker_url)
    except Temporary as error:
        raise Temporary(
            f"This machine cannot become a node: {error} Without a node: `lattice up --no-agent`."
        ) from error


async def _supervise(
    prepared: Prepared, nursery: Nursery | None, tell: Tell, stop: asyncio.Event, clock: Clock
) -> None:
    data_dir = prepared.platform.data_dir
    spawn = nursery.spawn if nursery is not None else execute
    supervisor = Supervisor(prepared.specs, status_file=data_dir.status_file, spawn=spawn)
    try:
        async with Background(clock=clock) as background:
            background.start("renewal", partial(_renew, prepared, supervisor, clock))
            if await _unless_told(stop, _start(prepared, supervisor, tell)):
                await stop.wait()
    finally:
        withdraw(data_dir)
        logger.info("stopping the platform")
        if nursery is not None:
            await nursery.stop()  # first, so that nothing waits any more for a process from there
        await supervisor.stop()


async def _unless_told(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Whether the work was done before we were told to stop.  Raises what it raises."""
    working, told = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait({working, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if working.done():
        working.result()
        return True
    working.cancel()
    await asyncio.wait({working})
    return False


async def _start(prepared: Prepared, supervisor: Supervisor, tell: Tell) -> None:
    platform, began_s = prepared.platform, time.monotonic()
    timeout_s = platform.settings.start_timeout_s
    reporting = asyncio.create_task(_report(supervisor, tell))
    try:
        await supervisor.start(timeout_s=timeout_s)
    finally:
        reporting.cancel()
    async with open_gateway(prepared.announcement) as gateway:
        if any(spec.name == AGENT for spec in prepared.specs):
            node_id = own_node_id(platform.data_dir.agent)
            await wait_until_ready(gateway, node_id, timeout_s=timeout_s)
            tell(_progress("this machine is a node", began_s))
        await _tell_what_stays_stopped(gateway, tell)
    announce(platform.data_dir, prepared.announcement)
    logger.info("the platform is ready after {:.1f} s", time.monotonic() - began_s)
    tell(News(kind=Kind.READY, announcement=prepared.announcement))


async def _tell_what_stays_stopped(gateway: GatewayClient, tell: Tell) -> None:
    """A sentence for people, so a platform that cannot answer it is no less ready."""
    with suppress(LatticeError):
        if stopped := await stopped_workloads(gateway):
            tell(News(kind=Kind.PROGRESS, text=words_on_stopped(stopped)))


async def _report(supervisor: Supervisor, tell: Tell) -> None:
    """Tell of each process when it becomes ready for the first time."""
    began_s, told = time.monotonic(), set[str]()
    while True:
        for process in supervisor.status.processes:
            if process.ready and process.name not in told:
                told.add(process.name)
                tell(_progress(f"{process.name} is ready", began_s))
        await asyncio.sleep(LOOK_S)


def _progress(text: str, began_s: float) -> News:
    return News(kind=Kind.PROGRESS, text=f"{text} ({time.monotonic() - began_s:.1f} s)")


async def _renew(prepared: Prepared, supervisor: Supervisor, clock: Clock) -> None:
    await keep_renewing(
        prepared.issue,
        lambda: reload_nats(supervisor.status),
        issued_at=prepared.issued_at,
        lifetime=prepared.lifetime,
        clock=clock,
    )


@contextmanager
def _told_by_signals() -> Iterator[asyncio.Event]:
    """An event that is set when this process is told to end; while stopping, a second signal changes nothing."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for signum in STOP_SIGNALS:
        loop.add_signal_handler(signum, stop.set)
    try:
        yield stop
    finally:
        for signum in STOP_SIGNALS:
            loop.remove_signal_handler(signum)
