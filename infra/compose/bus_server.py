"""The NATS server under watch: it reads its configuration and certificate only when told by a signal, and the one who renews them is in another
container, so whoever runs the server looks at the files.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path

from loguru import logger

LOOK_S = 5.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

Stamp = tuple[tuple[int, int], ...]


async def run_watched(argv: Sequence[str], files: Sequence[Path], *, look_s: float = LOOK_S) -> int:
    """Run a server until it ends or we are told to; SIGHUP it when one of `files` was replaced.  Its exit status."""
    seen = stamp(files)
    server = await asyncio.create_subprocess_exec(*argv)
    loop = asyncio.get_running_loop()
    for signum in STOP_SIGNALS:
        loop.add_signal_handler(signum, server.send_signal, signum)
    following = asyncio.create_task(_follow(server, files, seen, look_s))
    try:
        return await server.wait()
    finally:
        following.cancel()
        for signum in STOP_SIGNALS:
            loop.remove_signal_handler(signum)


def stamp(files: Sequence[Path]) -> Stamp:
    """Changes whenever a file is replaced."""
    found = [path.stat() for path in files]
    return tuple((each.st_ino, each.st_mtime_ns) for each in found)


async def _follow(
    server: asyncio.subprocess.Process, files: Sequence[Path], seen: Stamp, look_s: float
) -> None:
    while True:
        await asyncio.sleep(look_s)
        now = stamp(files)
        if now != seen:
            seen = now
            logger.info("the server's files were renewed: it reads them again")
            server.send_signal(signal.SIGHUP)
