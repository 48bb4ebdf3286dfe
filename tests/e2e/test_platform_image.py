"""The image of Lattice itself holds everything that its processes import, and runs without any right."""

from __future__ import annotations

import pytest

from infra.setup.commands import run

_IMPORT_ALL = """
import importlib, pkgutil
for root in ("lattice", "services", "agent", "cli", "standalone"):
    for module in pkgutil.walk_packages(importlib.import_module(root).__path__, root + "."):
        if not module.name.endswith("__main__") and ".migrations." not in module.name:
            importlib.import_module(module.name)
"""


def _in(image: str, *command: str) -> str:
    restricted = ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none"]
    return run(["docker", "run", "--rm", *restricted, image, *command]).strip()


@pytest.mark.timeout(300)
def test_every_module_can_be_imported_in_the_image(platform_image: str) -> None:
    assert _in(platform_image, "python", "-W", "error::ImportWarning", "-c", _IMPORT_ALL) == ""


@pytest.mark.timeout(300)
def test_the_image_has_the_programs_of_a_platform(platform_image: str) -> None:
    assert _in(platform_image, "nats-server", "--version").startswith("nats-server: v")
    assert "Usage" in _in(platform_image, "lattice", "--help")


@pytest.mark.timeout(300)
def test_the_image_runs_as_a_plain_user(platform_image: str) -> None:
    assert _in(platform_image, "id", "-u") == "10001"
