"""Starts the agent: `python -m agent`."""

from agent.app import build
from agent.settings import AgentSettings
from lattice.process import load, run

if __name__ == "__main__":
    raise SystemExit(run("agent", load(AgentSettings), build))
