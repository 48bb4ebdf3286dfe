"""The person's own terminal while a command runs elsewhere: raw mode, its size, its input as a stream."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator

_PIECE_BYTES = 32_768
_PIECES_AHEAD = 16


@contextlib.contextmanager
def raw_mode(*, wanted: bool) -> Iterator[None]:
    """Keys reach the remote command one by one and unchanged; the terminal is as before afterwards, whatever happens."""
    if not wanted:
        yield
        return
    before = termios.tcgetattr(sys.stdin.fileno())
    try:
        tty.setraw(sys.stdin.fileno())
        yield
    finally:
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, before)


def size() -> tuple[int, int]:
    """(rows, columns), within what an exec session accepts."""
    found = shutil.get_terminal_size()
    return min(max(found.lines, 1), 1000), min(max(found.columns, 1), 1000)


@contextlib.contextmanager
def on_resize(call: Callable[[], None]) -> Iterator[None]:
    """Calls `call` in the running loop whenever the window changes its size."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGWINCH, call)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)


def read_stdin() -> asyncio.Queue[bytes]:
    """Pieces of stdin, ended by an empty one.

    A thread reads, because a loop cannot watch a regular file; it is a daemon, because nothing can wake it from a read when the command is
    over.  The queue is short: a fast file waits for a slow connection.
    """
    pieces: asyncio.Queue[bytes] = asyncio.Queue(maxsize=_PIECES_AHEAD)
    loop = asyncio.get_running_loop()
    threading.Thread(target=_pump, args=(loop, pieces), daemon=True, name="stdin").start()
    return pieces


def _pump(loop: asyncio.AbstractEventLoop, pieces: asyncio.Queue[bytes]) -> None:
    piece = b" "
    while piece:
        try:
            piece = os.read(sys.stdin.fileno(), _PIECE_BYTES)
        except OSError:  # the terminal went away
            piece = b""
        if not _handed_over(loop, pieces, piece):
            return


def _handed_over(loop: asyncio.AbstractEventLoop, pieces: asyncio.Queue[bytes], piece: bytes) -> bool:
    hand_over = pieces.put(piece)
    try:
        asyncio.run_coroutine_threadsafe(hand_over, loop).result()
    except (
        RuntimeError,
        asyncio.CancelledError,
        TimeoutError,
    ):  # the loop has ended, and the session with it
        hand_over.close()
        return False
    return True
