"""What the handlers about workloads need beyond `Deps`: templates, image registries, the vault, and who signs certificates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.registry.accept import TlsIssuer
from services.registry.change import Deps
from services.registry.image_registry import ImageRegistries
from services.registry.template import Template
from services.registry.vault import Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadDeps(Deps):
    """What requests about workloads use beyond the store."""

    templates: Mapping[str, Template]
    registries: ImageRegistries
    vault: Vault
    tls: TlsIssuer
