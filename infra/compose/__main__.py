"""What the containers of `compose.yaml` run besides the services themselves: `python -m infra.compose COMMAND`.

A command's module is loaded when it is chosen: the registry's container should not pay for what makes databases.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from importlib import import_module

from infra.compose.settings import ComposeSettings
from lattice.errors import LatticeError
from lattice.process import load
from lattice.process_log import set_up_logging

DONE, FAILED = 0, 1

_COMMANDS: Mapping[str, tuple[str, str]] = {
    "init": ("preparation", "prepare_volumes"),
    "renewer": ("renewal", "renew"),
    "databases": ("databases", "make_databases"),
    "registry": ("starting", "start_registry"),
    "agent": ("joining", "start_agent"),
}


def main() -> int:
    """Run the command; an error of ours becomes its sentence and status 1."""
    parser = argparse.ArgumentParser(prog="python -m infra.compose", description=__doc__)
    parser.add_argument("command", choices=_COMMANDS)
    chosen, settings = parser.parse_args().command, load(ComposeSettings)
    set_up_logging(chosen, settings)
    module, function = _COMMANDS[chosen]
    try:
        return getattr(import_module(f"infra.compose.{module}"), function)(settings) or DONE
    except LatticeError as error:
        sys.stderr.write(f"{error}\n")
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
