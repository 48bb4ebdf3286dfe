"""What the environment tells the CLI.  Read here and nowhere else, once per run, without pydantic: that import alone would cost a
third of the time in which `lattice --help` has to answer.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SYSTEM_DATA_DIR = Path("/var/lib/lattice")


@dataclass(frozen=True, slots=True)
class Environment:
    """The variables that matter to the CLI, and the folders that follow from them."""

    config_dir: Path
    data_dir: Path
    data_dir_chosen: bool  # by LATTICE_DATA_DIR: then this platform is meant and no other
    url: str | None = None
    token: str | None = None
    ca_file: Path | None = None
    project: str | None = None

    @property
    def contexts_file(self) -> Path:
        return self.config_dir / "lattice" / "contexts.json"


def environment_from(variables: Mapping[str, str], *, home: Path, is_root: bool) -> Environment:
    """The settings in `variables`; an empty variable counts as not set."""
    given = {name: value for name, value in variables.items() if value}
    default_data = SYSTEM_DATA_DIR if is_root else home / ".local" / "share" / "lattice"
    return Environment(
        config_dir=Path(given.get("XDG_CONFIG_HOME", home / ".config")),
        data_dir=Path(given.get("LATTICE_DATA_DIR", default_data)),
        data_dir_chosen="LATTICE_DATA_DIR" in given,
        url=given.get("LATTICE_URL"),
        token=given.get("LATTICE_TOKEN"),
        ca_file=Path(given["LATTICE_CA"]) if "LATTICE_CA" in given else None,
        project=given.get("LATTICE_PROJECT"),
    )


def this_environment() -> Environment:
    """The settings of this process."""
    return environment_from(os.environ, home=Path.home(), is_root=os.geteuid() == 0)


def caller_variables() -> dict[str, str]:
    """All variables of whoever runs the CLI: what a file that they apply may name."""
    return dict(os.environ)


def child_environment(**more: str) -> dict[str, str]:
    """What a process started by the CLI gets: everything this one has, and `more`."""
    return {**os.environ, **more}
