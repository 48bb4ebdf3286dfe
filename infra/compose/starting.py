"""Parts that are told something only the volumes know: found out here, then this process becomes the part."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import NoReturn

from infra.compose.places import Places
from infra.compose.settings import ComposeSettings
from lattice.errors import NotFound
from standalone.data_dir import DataDir, find_data_dir
from standalone.settings import ambient_environment


def kept_data_dir(places: Places) -> DataDir:
    """The keys and the name of this platform.  Raises NotFound before the first start."""
    data_dir = find_data_dir(places.authority)
    if data_dir is None:
        raise NotFound(f"{places.authority} holds no platform: run the service `init` first.")
    return data_dir


def start_registry(settings: ComposeSettings) -> NoReturn:
    """Run the registry under the platform's own name."""
    cluster_id = kept_data_dir(Places(settings.root)).cluster_id
    become("services.registry", {**ambient_environment(), "LATTICE_REGISTRY_CLUSTER_ID": cluster_id})


def become(module: str, environment: Mapping[str, str]) -> NoReturn:
    """Go on as another module, in the same process."""
    os.execve(sys.executable, [sys.executable, "-P", "-m", module], dict(environment))
