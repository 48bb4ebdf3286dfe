"""The supervisor in the background: `python -m standalone --data-dir D [--port P] [--no-agent]`, started by `lattice up --detach`.

News of the start go to standard output as lines of JSON (`reports`); the log goes to standard error.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from standalone.detached import log_as_supervisor
from standalone.preparation import Options
from standalone.reports import teller
from standalone.running import run_platform
from standalone.settings import StandaloneSettings


def main() -> int:
    """Run the platform; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m standalone", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--port", type=int)
    parser.add_argument("--no-agent", action="store_true")
    given = parser.parse_args()
    log_as_supervisor()
    options = Options(given.data_dir, given.port, with_agent=not given.no_agent)
    return run_platform(options, StandaloneSettings(), teller(sys.stdout))


if __name__ == "__main__":
    sys.exit(main())
