"""Starts the alerts service: `python -m services.alerts`."""

from lattice.process import load, run
from services.alerts.app import build
from services.alerts.settings import AlertsSettings

if __name__ == "__main__":
    raise SystemExit(run("alerts", load(AlertsSettings), build))
