"""One log for everything in a process: a JSON object per line on standard error, or readable text on a terminal.

What a request or an operation is about travels in a context (`log_context`), is added to every record made inside it, and crosses the bus
in headers, so that one id finds the lines of all parts.  Values of variables are never logged: a traceback shows code only.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC
from typing import TYPE_CHECKING, Any, TextIO

from loguru import logger

from lattice.metrics.every_process import LOG_RECORDS
from lattice.settings import ProcessSettings

if TYPE_CHECKING:
    from loguru import Message, Record

_CONTEXT: ContextVar[Mapping[str, str]] = ContextVar("lattice_log_context")

_TEXT = "<dim>{time:HH:mm:ss.SSS}</dim> <level>{level: <7}</level> <cyan>{extra[service]}</cyan> {message} <dim>{extra[shown]}</dim>\n"


def current_context() -> Mapping[str, str]:
    """What the work going on is about, e.g. `{"request_id": "…", "operation_id": "…"}`."""
    return _CONTEXT.get({})


@contextmanager
def log_context(**names: str | None) -> Iterator[None]:
    """Add names to every record made inside; those that are None or empty are left out."""
    given = {name: value for name, value in names.items() if value}
    token = _CONTEXT.set({**current_context(), **given})
    try:
        yield
    finally:
        _CONTEXT.reset(token)


def set_up_logging(service: str, settings: ProcessSettings, *, stream: TextIO | None = None) -> None:
    """Send the log of this process, and what libraries say through `logging`, to `stream` (default: standard error)."""
    out = stream or sys.stderr
    logger.remove()
    logger.configure(extra={"service": service}, patcher=_note)
    if settings.log_format == "text" or out.isatty():
        logger.add(out, level=settings.log_level, format=_text_format, backtrace=False, diagnose=False)
    else:
        logger.add(lambda message: _write_json(out, message), level=settings.log_level, format="{message}")
    logging.basicConfig(handlers=[_Intercept()], level=logging.INFO, force=True)
    logging.getLogger("httpx").setLevel(
        logging.WARNING
    )  # at INFO a line per request: a waiting agent asks every 2 s


class _Intercept(logging.Handler):
    """Hands the records of the standard library's `logging` over to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname if record.levelname in logging.getLevelNamesMapping() else record.levelno
        bound = logger.bind(logger=record.name)
        bound.opt(exception=record.exc_info).log(level, "{}", record.getMessage())


def _note(record: Record) -> None:
    """Every record comes by here once, whatever becomes of it."""
    record["extra"].update(current_context())
    LOG_RECORDS.labels(record["level"].name.lower()).inc()


def _text_format(record: Record) -> str:
    shown = {name: value for name, value in record["extra"].items() if name not in ("service", "shown")}
    record["extra"]["shown"] = " ".join(f"{name}={value}" for name, value in shown.items())
    return _TEXT + "{exception}"


def _write_json(out: TextIO, message: Message) -> None:
    out.write(json_line(message.record) + "\n")
    out.flush()


def json_line(record: Record) -> str:
    """A record as one JSON object."""
    return json.dumps(_as_json(record), default=str)


def _as_json(record: Record) -> dict[str, Any]:
    line: dict[str, Any] = {
        "time": record["time"].astimezone(UTC).isoformat(timespec="milliseconds"),
        "level": record["level"].name.lower(),
        **record["extra"],
        "message": record["message"],
    }
    if record["exception"] is not None:
        line["exception"] = _exception(record["exception"].value)
    return line


def _exception(error: BaseException | None) -> dict[str, str]:
    trace = "" if error is None else "".join(traceback.format_exception(error))
    return {"type": type(error).__name__, "message": str(error), "trace": trace}
