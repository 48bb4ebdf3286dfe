"""Starts the log store: `python -m services.logs`."""

from lattice.process import load, run
from services.logs.app import build
from services.logs.settings import LogsSettings

if __name__ == "__main__":
    raise SystemExit(run("logs", load(LogsSettings), build))
