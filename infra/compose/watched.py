"""Runs a server that reads its files again only when a signal tells it to, where somebody in another container renews them:

    python -m infra.compose.watched FILE… -- SERVER ARGUMENT…

The server gets SIGHUP when one of the files was replaced, and what tells this process to end is passed on to it.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

LOOK_S = 5.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

Stamp = tuple[tuple[int, int], ...]


async def run_watched(argv: Sequence[str], files: Sequence[Path], *, look_s: float = LOOK_S) -> int:
    """Run a server until it ends, by itself or because we are told to; its exit status."""
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
            server.send_signal(signal.SIGHUP)


def main(arguments: Sequence[str]) -> int:
    """The server's exit status."""
    end = arguments.index("--")
    return asyncio.run(run_watched(arguments[end + 1 :], [Path(file) for file in arguments[:end]]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
