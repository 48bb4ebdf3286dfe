"""Starts the gateway: `python -m services.gateway`."""

from lattice.process import load, run
from services.gateway.process import build
from services.gateway.settings import GatewaySettings

if __name__ == "__main__":
    raise SystemExit(run("gateway", load(GatewaySettings), build))
