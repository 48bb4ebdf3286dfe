"""Starts the registry: `python -m services.registry`."""

from lattice.process import load, run
from services.registry.app import build
from services.registry.settings import RegistrySettings

if __name__ == "__main__":
    raise SystemExit(run("registry", load(RegistrySettings), build))
