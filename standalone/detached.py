"""The platform in the background: a supervisor in a session of its own, and what it tells while it starts.

The supervisor is a fresh process rather than a fork of the command: it keeps nothing of the terminal, and `ps` shows what it is.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from lattice.errors import Temporary
from lattice.process_log import set_up_logging
from lattice.settings import ProcessSettings
from standalone.data_dir import DataDir
from standalone.log_files import open_log, tail
from standalone.preparation import Options
from standalone.reports import Kind, News, read_news
from standalone.settings import ambient_environment


def supervisor_log(data_dir: DataDir) -> Path:
    """What the supervisor itself says."""
    return data_dir.logs / "supervisor.log"


def log_as_supervisor(*, to: Path | None = None) -> None:
    """Log as every process does, to standard error or to this file."""
    stream = None if to is None else io.TextIOWrapper(open_log(to), encoding="utf-8", write_through=True)
    set_up_logging("supervisor", ProcessSettings(), stream=stream)


def start_detached(data_dir: DataDir, options: Options) -> Iterator[News]:
    """Start the supervisor and yield its news up to READY or FAILED; it goes on when nobody listens any more.

    Raises Temporary, with the end of its log, if it dies without a word.
    """
    process = _spawn(data_dir, options)
    assert process.stdout is not None, "a pipe was asked for"
    with process.stdout as news_pipe:
        for line in news_pipe:
            news = read_news(line)
            if news is not None:
                yield news
            if news is not None and news.kind in (Kind.READY, Kind.FAILED):
                return
    log = supervisor_log(data_dir)
    raise Temporary(f"The platform ended before it was ready. The end of {log}:\n{tail(log)}")


def _spawn(data_dir: DataDir, options: Options) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-m", "standalone", "--data-dir", str(data_dir.root)]
    command += ["--port", str(options.port)] if options.port else []
    command += [] if options.with_agent else ["--no-agent"]
    with open_log(supervisor_log(data_dir)) as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd="/",
            env=ambient_environment(),
            start_new_session=True,
            text=True,
        )
