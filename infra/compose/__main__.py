"""What the containers of `compose.yaml` run besides the services themselves: `python -m infra.compose COMMAND`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from infra.compose import bus_server, renewal
from infra.compose.joining import agent_environment
from infra.compose.passwords import ensure_databases
from infra.compose.places import Places
from infra.compose.preparation import prepare
from infra.compose.settings import ComposeSettings
from lattice.clock import SystemClock
from lattice.errors import LatticeError, NotFound
from lattice.process import load, run
from lattice.process_log import set_up_logging
from standalone import nats_server
from standalone.data_dir import find_data_dir
from standalone.settings import ambient_environment

DONE, FAILED = 0, 1


def _init(settings: ComposeSettings) -> int:
    """make keys, passwords and configuration in the volumes, and end"""
    prepare(Places(settings.root), now=SystemClock().now())
    return DONE


def _renewer(settings: ComposeSettings) -> int:
    """keep certificates and tickets young"""
    return run("renewer", settings, renewal.build)


def _databases(settings: ComposeSettings) -> int:
    """make the database and its roles, and end"""
    asyncio.run(ensure_databases(Places(settings.root)))
    return DONE


def _bus(settings: ComposeSettings) -> int:
    """run the NATS server, and let it read renewed files"""
    places = Places(settings.root)
    binary = nats_server.find_binary(None, beside=Path(sys.executable))
    config = places.bus / "nats.conf"
    argv = (str(binary), "--config", str(config))
    return asyncio.run(bus_server.run_watched(argv, (config, places.credentials.nats_tls.certificate)))


def _registry(settings: ComposeSettings) -> NoReturn:
    """run the registry under the platform's own id"""
    data_dir = find_data_dir(Places(settings.root).authority)
    if data_dir is None:
        raise NotFound("The platform has no id yet: start the service `init` first.")
    _become(
        "services.registry", {**ambient_environment(), "LATTICE_REGISTRY_CLUSTER_ID": data_dir.cluster_id}
    )


def _agent(settings: ComposeSettings) -> NoReturn:
    """let this machine join, then run its agent"""
    _become("agent", asyncio.run(agent_environment(settings, ambient_environment())))


def _become(module: str, environment: Mapping[str, str]) -> NoReturn:
    os.execve(sys.executable, [sys.executable, "-P", "-m", module], dict(environment))


_COMMANDS: Mapping[str, Callable[[ComposeSettings], int]] = {
    "init": _init,
    "renewer": _renewer,
    "databases": _databases,
    "bus": _bus,
    "registry": _registry,
    "agent": _agent,
}


def main() -> int:
    """Run the command; an error of ours becomes its sentence and status 1."""
    parser = argparse.ArgumentParser(prog="python -m infra.compose", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in _COMMANDS.items():
        commands.add_parser(name, help=command.__doc__)
    chosen, settings = parser.parse_args().command, load(ComposeSettings)
    set_up_logging(chosen, settings)
    try:
        return _COMMANDS[chosen](settings)
    except LatticeError as error:
        sys.stderr.write(f"{error}\n")
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
