"""What each process of the platform is told, and in which order they start."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from agent.settings import AgentSettings
from lattice.contracts.catalogue import SERVICES
from lattice.process import load
from lattice.settings import ProcessSettings
from services.alerts.settings import AlertsSettings
from services.gateway.settings import GatewaySettings
from services.ingress.settings import IngressSettings
from services.logs.settings import LogsSettings
from services.metrics.settings import MetricsSettings
from services.registry.settings import RegistrySettings
from services.scheduler.settings import SchedulerSettings
from standalone.credentials import credential_files
from standalone.data_dir import DataDir
from standalone.databases import Databases
from standalone.nursery import IMPORTS
from standalone.nursery_orders import can_be_forked
from standalone.postgres import PostgresConfig
from standalone.process_plan import (
    PORT_NAMES,
    TCP_PORTS,
    Platform,
    agent_environment,
    agent_spec,
    environment_for,
    nursery_spec,
    service_spec,
)
from standalone.process_spec import ProcessSpec, nothing_to_prepare, python_argv
from standalone.settings import StandaloneSettings
from standalone.supervisor import start_order

SETTINGS: Mapping[str, type[ProcessSettings]] = {
    "registry": RegistrySettings,
    "scheduler": SchedulerSettings,
    "logs": LogsSettings,
    "metrics": MetricsSettings,
    "gateway": GatewaySettings,
    "ingress": IngressSettings,
    "alerts": AlertsSettings,
    "agent": AgentSettings,
}
AMBIENT = {
    "PATH": "/usr/bin",
    "HTTPS_PROXY": "http://proxy:3128",
    "https_proxy": "http://proxy:3128",
    "AWS_SECRET_ACCESS_KEY": "not for us",
    "LATTICE_TOKEN": "lat_of_a_person",
    "LATTICE_REGISTRY_LOG_LEVEL": "DEBUG",
    "LATTICE_REGISTRY_CLUSTER_ID": "somebody",
    "LATTICE_AGENT_HEARTBEAT_S": "1",
}


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    data_dir = DataDir(tmp_path / "data", "abcd1234")
    ports = {name: 21000 + number for number, name in enumerate(PORT_NAMES)}
    return Platform(
        data_dir=data_dir,
        ports=ports,
        settings=StandaloneSettings(public_host="box.example"),
        credentials=credential_files(data_dir),
        databases=Databases(_written(PostgresConfig(data_dir.postgres, ports["postgres"]))),
        runtime_dir=tmp_path / "memory",
        ambient=AMBIENT,
    )


def _written(config: PostgresConfig) -> PostgresConfig:
    config.folder.mkdir(parents=True)
    config.password_file.write_text("superuser")
    return config


async def nothing() -> None:
    """The agent needs no preparation here."""


def spec_of(platform: Platform, part: str) -> ProcessSpec:
    if part == "agent":
        return agent_spec(platform, agent_environment(platform), nothing)
    return service_spec(platform, part)


@pytest.mark.parametrize("part", SETTINGS)
def test_each_part_understands_what_it_is_told(
    platform: Platform, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in AMBIENT:
        monkeypatch.delenv(name, raising=False)
    for name, value in spec_of(platform, part).env.items():
        monkeypatch.setenv(name, value)
    settings = load(SETTINGS[part])
    assert settings.health_port == platform.ports[f"{part}-health"]


def test_every_service_is_planned() -> None:
    assert set(SETTINGS) == {*SERVICES, "agent"}


def test_nodes_are_told_the_public_name_and_services_the_loopback(platform: Platform) -> None:
    env = spec_of(platform, "registry").env
    port = platform.ports["nats"]
    assert json.loads(env["LATTICE_REGISTRY_NODE_NATS_URLS"]) == [f"tls://box.example:{port}"]
    assert json.loads(env["LATTICE_NATS_URLS"]) == [f"tls://127.0.0.1:{port}"]
    gateway = spec_of(platform, "gateway").env["LATTICE_GATEWAY_PUBLIC_URL"]
    assert gateway == platform.url == f"https://box.example:{platform.ports['gateway']}"


@pytest.mark.parametrize(
    ("listen", "near"), [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("10.0.0.7", "10.0.0.7")]
)
def test_services_reach_the_bus_where_it_listens(platform: Platform, listen: str, near: str) -> None:
    listening = replace(platform, settings=StandaloneSettings(listen_host=listen))
    env = service_spec(listening, "scheduler").env
    assert json.loads(env["LATTICE_NATS_URLS"]) == [f"tls://{near}:{platform.ports['nats']}"]


def test_services_with_state_enter_as_themselves(platform: Platform) -> None:
    urls = {part: spec_of(platform, part).env.get("LATTICE_DATABASE_URL", "") for part in SERVICES}
    assert "//lattice_registry:" in urls["registry"] and "//lattice_gateway:" in urls["gateway"]
    assert "//lattice_alerts:" in urls["alerts"]
    assert urls["scheduler"] == urls["logs"] == ""


def test_a_part_gets_its_own_settings_and_no_others(platform: Platform) -> None:
    registry, agent = spec_of(platform, "registry").env, spec_of(platform, "agent").env
    assert registry["LATTICE_REGISTRY_LOG_LEVEL"] == "DEBUG" and "LATTICE_REGISTRY_LOG_LEVEL" not in agent
    assert agent["LATTICE_AGENT_HEARTBEAT_S"] == "1" and agent["https_proxy"] == "http://proxy:3128"
    for env in (registry, agent):
        assert not {"AWS_SECRET_ACCESS_KEY", "LATTICE_TOKEN"} & set(env)


def test_what_the_platform_decides_wins(platform: Platform) -> None:
    assert spec_of(platform, "registry").env["LATTICE_REGISTRY_CLUSTER_ID"] == "abcd1234"
    assert environment_for("logs", {"PATH": "/a"}, {"PATH": "/b"}) == {"PATH": "/b"}


def test_public_names_are_told_over_http_and_over_https_beside_it(platform: Platform) -> None:
    env, told = spec_of(platform, "registry").env, spec_of(platform, "ingress").env
    assert (
        env["LATTICE_REGISTRY_APPS_URL"] == f"http://{{host}}.apps.localhost:{platform.ports['ingress-http']}"
    )
    secure = f"https://{{host}}.apps.localhost:{platform.ports['ingress-https']}"
    assert env["LATTICE_REGISTRY_SECURE_APPS_URL"] == secure
    assert told["LATTICE_INGRESS_WEB_CERT_FILE"] == told["LATTICE_INGRESS_WEB_KEY_FILE"]
    assert told["LATTICE_INGRESS_WEB_CERT_FILE"] != told["LATTICE_INGRESS_TLS_CERT_FILE"]


def test_with_a_certificate_of_ones_own_people_are_told_https(platform: Platform) -> None:
    settings = StandaloneSettings(apps_cert_file=Path("/etc/web.pem"), apps_key_file=Path("/etc/web.key"))
    own = replace(platform, settings=settings)
    assert spec_of(own, "registry").env["LATTICE_REGISTRY_APPS_URL"] == own.secure_apps_url
    told = spec_of(own, "ingress").env
    assert (told["LATTICE_INGRESS_WEB_CERT_FILE"], told["LATTICE_INGRESS_WEB_KEY_FILE"]) == (
        "/etc/web.pem",
        "/etc/web.key",
    )


def test_no_new_route_gets_a_port_that_another_program_has(platform: Platform) -> None:
    busy = platform.ports["ingress-tcp-07"]
    told = spec_of(replace(platform, busy_ports=(busy,)), "registry").env["LATTICE_REGISTRY_TCP_PORTS"]
    assert len(told.split(",")) == TCP_PORTS - 1 and str(busy) not in told


def test_the_order(platform: Platform) -> None:
    servers = [ProcessSpec(name, ("true",), Path("log")) for name in ("nats", "postgres")]
    parts = [spec_of(platform, part) for part in SETTINGS]
    assert start_order([*servers, *parts]) == [
        ("nats", "postgres"),
        ("alerts", "gateway", "ingress", "logs", "metrics", "registry", "scheduler"),
        ("agent",),
    ]


def test_the_nursery_is_told_nothing_of_the_parts_and_can_fork_each(platform: Platform) -> None:
    nursery = nursery_spec(platform.data_dir, AMBIENT)
    assert not [name for name in nursery.env if name.startswith("LATTICE_")]
    agent = agent_spec(platform, agent_environment(platform), nothing_to_prepare)
    for spec in (*(service_spec(platform, service) for service in SERVICES), agent):
        assert spec.module is not None and spec.argv == python_argv(spec.module)
        assert can_be_forked(spec.env, nursery=nursery.env)
        assert f"{spec.module}.__main__" in IMPORTS
