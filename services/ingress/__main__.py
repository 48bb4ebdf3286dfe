"""Starts an ingress: `python -m services.ingress`."""

from lattice.process import load, run
from services.ingress.app import build
from services.ingress.settings import IngressSettings

if __name__ == "__main__":
    raise SystemExit(run("ingress", load(IngressSettings), build))
