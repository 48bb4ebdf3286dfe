"""Starts the scheduler: `python -m services.scheduler`."""

from lattice.process import load, run
from services.scheduler.app import build
from services.scheduler.settings import SchedulerSettings

if __name__ == "__main__":
    raise SystemExit(run("scheduler", load(SchedulerSettings), build))
