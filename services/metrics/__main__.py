"""Starts the gatherer of metrics: `python -m services.metrics`."""

from lattice.process import load, run
from services.metrics.app import build
from services.metrics.settings import MetricsSettings

if __name__ == "__main__":
    raise SystemExit(run("metrics", load(MetricsSettings), build))
