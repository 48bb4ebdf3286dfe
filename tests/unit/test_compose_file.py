"""`compose.yaml` runs every part of this version, and gives none of them a right that it does not need."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import yaml

from infra.compose.owners import owners
from infra.compose.passwords import PORT as DATABASE_PORT
from infra.compose.places import Places
from infra.compose.preparation import BUS_MONITOR_PORT, BUS_PORT
from infra.compose.settings import ComposeSettings
from infra.docker.platform_image import REPOSITORY
from infra.setup.places import ROOT
from lattice.contracts.catalogue import SERVICES
from standalone.databases import SERVICES_WITH_STATE, role_of

TEXT = (ROOT / "compose.yaml").read_text()
FILE: dict[str, Any] = yaml.safe_load(TEXT)
CONTAINERS: dict[str, dict[str, Any]] = FILE["services"]
# Who starts as root, and the rights that are left of it.
ROOT_FOR_A_REASON = {
    "init": {"CHOWN", "SETUID", "SETGID"},
    "agent": {"CHOWN", "DAC_OVERRIDE", "FOWNER"},
}
PLACES = Places(ComposeSettings.model_fields["root"].default)


def test_every_service_of_the_platform_has_a_container() -> None:
    assert {*SERVICES, "agent", "nats", "postgres"} <= CONTAINERS.keys()


def test_the_image_is_the_one_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    ours = {service["image"] for name, service in CONTAINERS.items() if name != "postgres"}
    assert ours == {f"${{LATTICE_IMAGE:-{REPOSITORY}:{version}}}"}


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_has_no_right_but_those_it_needs(name: str) -> None:
    container = CONTAINERS[name]
    assert container["read_only"] is True
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert set(container.get("cap_add", ())) == ROOT_FOR_A_REASON.get(name, set())
    assert (container.get("user") == "0:0") == (name in ROOT_FOR_A_REASON)
    assert "privileged" not in container


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_cannot_take_the_machine_for_itself(name: str) -> None:
    container = CONTAINERS[name]
    assert container["mem_limit"]
    assert container["pids_limit"]
    assert container["logging"]["options"]["max-size"]


def test_only_the_agent_reaches_the_engine() -> None:
    assert [name for name, text in mounts().items() if "docker.sock" in text] == ["agent"]


def test_only_who_signs_reads_the_authority() -> None:
    reading = {name for name, text in mounts().items() if "authority:" in text}
    assert reading == {"init", "renewer", "registry"}


def test_a_service_gets_nobody_elses_credentials() -> None:
    for service in SERVICES:
        text = mounts()[service]
        assert re.findall(r"(\S+)-own:", text) == [service]


def test_ports_are_published_on_the_loopback_unless_somebody_says_otherwise() -> None:
    ports = [port for container in CONTAINERS.values() for port in container.get("ports", ())]
    assert len(ports) == 7
    assert all(port.startswith("${LATTICE_LISTEN_HOST:-127.0.0.1}:") for port in ports)


def test_every_volume_that_is_prepared_has_an_owner_and_every_owner_a_volume() -> None:
    prepared = {volume.split(":")[1] for volume in CONTAINERS["init"]["volumes"]}
    assert prepared == {str(path) for path in owners(PLACES)}
    assert {volume.split(":")[0] for volume in CONTAINERS["init"]["volumes"]} == FILE["volumes"].keys() - {
        "agent"
    }


def test_addresses_and_roles_are_those_that_the_code_knows() -> None:
    assert f"tls://nats:{BUS_PORT}" in TEXT
    assert f"http://127.0.0.1:{BUS_MONITOR_PORT}/healthz" in TEXT
    for service in SERVICES_WITH_STATE:
        url = CONTAINERS[service]["environment"]["LATTICE_DATABASE_URL"]
        assert url == f"postgresql+asyncpg://{role_of(service)}@postgres:{DATABASE_PORT}/lattice"
    rules = (ROOT / "infra" / "compose" / "pg_hba.conf").read_text()
    assert ",".join(role_of(service) for service in SERVICES_WITH_STATE) in rules


def mounts() -> dict[str, str]:
    """What each container sees of volumes and of this machine, as text."""
    return {name: " ".join(container.get("volumes", ())) for name, container in CONTAINERS.items()}
