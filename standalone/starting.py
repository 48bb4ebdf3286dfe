"""`lattice up`: starts the platform here or in the background, or finds that it runs already, and prints how to reach it."""

from __future__ import annotations

import time

from lattice.errors import Conflict, LatticeError, Temporary
from standalone import printing
from standalone.announcement import Announcement, read_announcement
from standalone.data_dir import DataDir, open_data_dir
from standalone.detached import log_as_supervisor, start_detached, supervisor_log
from standalone.ports import read_ports
from standalone.preparation import Options
from standalone.printing import say
from standalone.reports import Kind, News
from standalone.running import run_platform
from standalone.settings import StandaloneSettings
from standalone.supervisor import SupervisorStatus, read_status

DONE = 0
LOOK_S = 0.1


def up_here(options: Options, settings: StandaloneSettings, *, output: str) -> int:
    """Run the platform in this process until it is told to stop."""
    data_dir = open_data_dir(options.data_dir)
    if _running(data_dir) is not None:
        return _already(data_dir, options, settings, wait=False, output=output)
    log_as_supervisor(to=supervisor_log(data_dir))
    say(f"Starting Lattice in {data_dir.root}; Ctrl-C stops it.")

    def tell(news: News) -> None:
        _hear(news)
        if news.kind is Kind.READY and news.announcement is not None:
            show(news.announcement, output=output)

    return run_platform(options, settings, tell)


def up_detached(options: Options, settings: StandaloneSettings, *, wait: bool, output: str) -> int:
    """Start the platform in the background; with `wait`, return when it is ready."""
    data_dir = open_data_dir(options.data_dir)
    if _running(data_dir) is not None:
        return _already(data_dir, options, settings, wait=wait, output=output)
    enough = Kind.READY if wait else Kind.STARTED
    say(f"Starting Lattice in {data_dir.root}.")
    show(_follow(data_dir, options, enough), output=output)
    return DONE


def ensure_up(options: Options, settings: StandaloneSettings) -> Announcement:
    """A platform that is ready, in the background: the one that runs, or a new one."""
    data_dir = open_data_dir(options.data_dir)
    if _running(data_dir) is not None:
        return read_announcement(data_dir) or _wait_for(data_dir, settings.start_timeout_s)
    return _follow(data_dir, options, Kind.READY)


def _follow(data_dir: DataDir, options: Options, enough: Kind) -> Announcement:
    """Start in the background and listen until `enough` is told.  Raises Temporary with what went wrong."""
    for news in start_detached(data_dir, options):
        if news.kind is Kind.FAILED:
            break
        _hear(news)
        if news.kind is enough and news.announcement is not None:
            return news.announcement
    raise Temporary(news.text)


def show(announcement: Announcement, *, output: str) -> None:
    """How to reach the platform: exactly the five names for programs, sentences for people."""
    if printing.is_for_programs(output):
        printing.answer_data(announcement.model_dump(mode="json"), output=output)
        return
    if output == printing.NAME:
        printing.answer(announcement.url)
        return
    printing.answer(
        f"Lattice answers at {announcement.url}\n"
        f"  CA to trust    {announcement.ca}\n"
        f"  admin token    in {announcement.data_dir / 'keys' / 'operator-token'}; `lattice` on this machine uses it\n"
        f"  next           lattice deploy postgres --name orders-db\n"
        f"  stop           lattice down --data-dir {announcement.data_dir}"
    )


def _hear(news: News) -> None:
    if news.kind is Kind.PROGRESS:
        say(f"  {news.text}")
    if news.kind is Kind.FAILED:
        say(f"Error: {news.text}")


def _running(data_dir: DataDir) -> SupervisorStatus | None:
    status = read_status(data_dir.status_file)
    return status if status is not None and status.alive else None


def _already(
    data_dir: DataDir, options: Options, settings: StandaloneSettings, *, wait: bool, output: str
) -> int:
    """Say that it runs, and how to reach it; another port than asked for is a contradiction."""
    port = read_ports(data_dir).get("gateway")
    if options.port not in (None, port):
        raise Conflict(
            f"A platform runs on {data_dir.root} already, with port {port}: stop it with `lattice down` first."
        )
    say(f"Lattice runs on {data_dir.root} already.")
    announcement = read_announcement(data_dir)
    if announcement is None and (wait or printing.is_for_programs(output)):
        announcement = _wait_for(data_dir, settings.start_timeout_s)
    if announcement is not None:
        show(announcement, output=output)
    return DONE


def _wait_for(data_dir: DataDir, timeout_s: float) -> Announcement:
    """Until a platform that somebody else starts is ready."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s and _running(data_dir) is not None:
        announcement = read_announcement(data_dir)
        if announcement is not None:
            return announcement
        time.sleep(LOOK_S)
    raise LatticeError(f"The platform on {data_dir.root} did not become ready: `lattice status` shows why.")
