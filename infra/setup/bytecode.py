"""Compiles Lattice's own sources once, so that no process does it again at its start.

pip does this for the packages it installs, not for a project that is run from its folder.  Python compares times, so what is
edited later is compiled anew, and what has not changed costs one look at each file.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from infra.setup.commands import succeeds
from infra.setup.python_env import Environment


def compile_sources(environment: Environment) -> str:
    """Compile what the project installs and what sets it up.  Where nothing can be written each process compiles for itself."""
    argv = [str(environment.python), "-m", "compileall", "-q", "-j", "0"]
    folders = [str(environment.root / package) for package in (*_packages(environment.root), "infra")]
    return "compiled" if succeeds([*argv, *folders]) else "not compiled, each start takes longer"


def _packages(root: Path) -> list[str]:
    project = tomllib.loads((root / "pyproject.toml").read_text())
    return list(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
