"""Which processes make a platform, in which order they start, and what each is told.  Pure: files, ports and settings in, specs out.

A part gets a small, named share of the environment of `lattice up`: what any program needs, and the settings of its own prefix
(`LATTICE_REGISTRY_…`), so one part can be tuned.  What the platform itself decides comes last and wins.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lattice.contracts.catalogue import SERVICES
from standalone import nats_server, postgres
from standalone.announcement import bootstrap_secret_file, operator_token_file
from standalone.credentials import CredentialFiles
from standalone.data_dir import DataDir
from standalone.databases import SERVICES_WITH_STATE, Databases
from standalone.http_check import Check, http_ready
from standalone.process_spec import ProcessSpec, nothing_to_prepare, python_argv
from standalone.settings import StandaloneSettings

AGENT = "agent"
NURSERY = "nursery"
LOOPBACK = "127.0.0.1"
EVERY_ADDRESS = ("0.0.0.0", "::")
# So many workloads may have a public port that is not http.
TCP_PORTS = 16
ONE_ROUTE = "ingress-tcp-"
PORT_NAMES = (
    "gateway",
    "ingress-http",
    "ingress-https",
    "ingress-tls",
    "ingress-tunnel",
    *(f"{ONE_ROUTE}{number:02}" for number in range(TCP_PORTS)),
    "nats",
    "nats-monitor",
    "postgres",
    *(f"{part}-health" for part in (*SERVICES, AGENT)),
)
# A process drains for up to 10 s when it is told to end.
STOP_TIMEOUT_S = 15.0

Prepare = Callable[[], Coroutine[Any, Any, None]]

_PASSED_ON = ("PATH", "HOME", "USER", "LANG", "LANGUAGE", "TZ", "TMPDIR", "PYTHONPATH")
_PASSED_ON_PREFIXES = ("LC_", "SSL_CERT_", "XDG_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")


@dataclass(frozen=True, slots=True)
class Servers:
    """The two servers that are not ours, ready to be run."""

    nats_binary: Path
    bus: nats_server.NatsConfig
    database: postgres.PostgresConfig
    database_runner: postgres.Runner


@dataclass(frozen=True, slots=True)
class Platform:
    """Everything that the plan is made from.

    `busy_ports` are those for single routes that another program has now: no new route gets one; whose route has one already waits for it.
    """

    data_dir: DataDir
    ports: Mapping[str, int]
    settings: StandaloneSettings
    credentials: CredentialFiles
    databases: Databases
    runtime_dir: Path
    ambient: Mapping[str, str] = field(repr=False)
    busy_ports: tuple[int, ...] = ()

    @property
    def url(self) -> str:
        """The gateway's address, as people and machines are told it."""
        return f"https://{self.settings.public_host}:{self.ports['gateway']}"

    @property
    def apps_url(self) -> str:
        """Where public names are, as visitors are told it; `{host}` stands for the name.

        Browsers do not know the platform's CA, so over HTTPS only with a certificate that somebody has given.
        """
        if self.settings.apps_cert_file is not None:
            return self.secure_apps_url
        return f"http://{{host}}.{self.settings.apps_domain}:{self.ports['ingress-http']}"

    @property
    def secure_apps_url(self) -> str:
        """The same over HTTPS."""
        return f"https://{{host}}.{self.settings.apps_domain}:{self.ports['ingress-https']}"

    @property
    def tls_url(self) -> str:
        """The same of workloads that have their own certificate."""
        return f"tls://{{host}}.{self.settings.apps_domain}:{self.ports['ingress-tls']}"

    @property
    def tcp_host(self) -> str:
        """The host of public ports.  The C library knows no names below `localhost`, so there it is the address itself."""
        near = self.settings.apps_domain.endswith("localhost")
        return self.settings.public_host if near else f"{{host}}.{self.settings.apps_domain}"


def is_for_one_route(port_name: str) -> bool:
    """Whether this port is for one workload; the platform starts without it, since the ingress tries it again until it is free."""
    return port_name.startswith(ONE_ROUTE)


def server_specs(platform: Platform, servers: Servers) -> list[ProcessSpec]:
    """The bus and the database."""
    logs = platform.data_dir.logs
    return [
        nats_server.process_spec(servers.nats_binary, servers.bus, log_file=logs / "nats.log"),
        postgres.process_spec(servers.database, servers.database_runner, log_file=logs / "postgres.log"),
    ]


def nursery_spec(data_dir: DataDir, ambient: Mapping[str, str]) -> ProcessSpec:
    """What our services are forked from.  It is told nothing of theirs."""
    return ProcessSpec(
        name=NURSERY,
        argv=python_argv("standalone.nursery"),
        log_file=data_dir.logs / "nursery.log",
        env=environment_for(NURSERY, ambient, {}),
    )


def service_spec(platform: Platform, service: str) -> ProcessSpec:
    """One of our own services.  It would start without the others, but would fill its log with complaints."""
    env = {**_bus(platform, service), **_health(platform, service), **_own(platform, service)}
    needs_database, module = service in SERVICES_WITH_STATE, f"services.{service}"
    return ProcessSpec(
        name=service,
        argv=python_argv(module),
        module=module,
        log_file=platform.data_dir.logs / f"{service}.log",
        env=environment_for(service, platform.ambient, env),
        after=("nats", "postgres") if needs_database else ("nats",),
        ready=_ready(platform, service),
        prepare=platform.databases.ensure if needs_database else nothing_to_prepare,
        stop_timeout_s=STOP_TIMEOUT_S,
    )


def agent_environment(platform: Platform) -> dict[str, str]:
    """What the agent of this machine is told, but for its join token."""
    own = {
        "LATTICE_AGENT_DATA_DIR": str(platform.data_dir.agent),
        "LATTICE_AGENT_RUNTIME_DIR": str(platform.runtime_dir),
        "LATTICE_AGENT_DOCKER_URL": platform.settings.docker_url,
    }
    return environment_for(AGENT, platform.ambient, {**_health(platform, AGENT), **own})


def agent_spec(platform: Platform, env: Mapping[str, str], prepare: Prepare) -> ProcessSpec:
    """The agent of this machine; `prepare` lets it join where it has not yet."""
    return ProcessSpec(
        name=AGENT,
        argv=python_argv(AGENT),
        module=AGENT,
        log_file=platform.data_dir.logs / "agent.log",
        env=env,
        after=("registry", "gateway"),
        ready=_ready(platform, AGENT),
        prepare=prepare,
        stop_timeout_s=STOP_TIMEOUT_S,
    )


def environment_for(part: str, ambient: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """All of a part's environment."""
    prefixes = (*_PASSED_ON_PREFIXES, f"LATTICE_{part.upper()}_")
    passed_on = {
        name: value
        for name, value in ambient.items()
        if name in _PASSED_ON or name.upper().startswith(prefixes)
    }
    return {**passed_on, **own}


def _ready(platform: Platform, part: str) -> Check:
    return http_ready(f"http://{LOOPBACK}:{platform.ports[f'{part}-health']}/readyz")


def _health(platform: Platform, part: str) -> dict[str, str]:
    return {f"LATTICE_{part.upper()}_HEALTH_PORT": str(platform.ports[f"{part}-health"])}


def _bus(platform: Platform, service: str) -> dict[str, str]:
    files, host = platform.credentials, platform.settings.listen_host
    near = LOOPBACK if host in EVERY_ADDRESS else host
    return {
        "LATTICE_NATS_URLS": json.dumps([f"tls://{near}:{platform.ports['nats']}"]),
        "LATTICE_NATS_CA_FILE": str(files.ca),
        "LATTICE_NATS_CERT_FILE": str(files.certificate(service)),
        "LATTICE_NATS_KEY_FILE": str(files.certificate(service)),
        "LATTICE_NATS_CREDS_FILE": str(files.ticket(service)),
    }


def _own(platform: Platform, service: str) -> dict[str, str]:
    own = {
        "registry": _registry,
        "gateway": _gateway,
        "logs": _logs,
        "ingress": _ingress,
        "alerts": _alerts,
        "metrics": _metrics,
    }.get(service)
    return {} if own is None else own(platform)


def _registry(platform: Platform) -> dict[str, str]:
    data_dir = platform.data_dir
    node_url = f"tls://{platform.settings.public_host}:{platform.ports['nats']}"
    return {
        "LATTICE_DATABASE_URL": platform.databases.url("registry"),
        "LATTICE_REGISTRY_SYSTEM_CREDS_FILE": str(platform.credentials.system_ticket),
        "LATTICE_REGISTRY_PKI_DIR": str(data_dir.pki),
        "LATTICE_REGISTRY_AUTHORITY_DIR": str(data_dir.keys),
        "LATTICE_REGISTRY_MASTER_KEY_DIR": str(data_dir.keys),
        "LATTICE_REGISTRY_CLUSTER_ID": data_dir.cluster_id,
        "LATTICE_REGISTRY_NODE_NATS_URLS": json.dumps([node_url]),
        "LATTICE_REGISTRY_INGRESS_ADDRESSES": json.dumps([_ingress_address(platform)]),
        "LATTICE_REGISTRY_APPS_DOMAIN": platform.settings.apps_domain,
        "LATTICE_REGISTRY_APPS_URL": platform.apps_url,
        "LATTICE_REGISTRY_SECURE_APPS_URL": platform.secure_apps_url,
        "LATTICE_REGISTRY_TLS_URL": platform.tls_url,
        "LATTICE_REGISTRY_TCP_HOST": platform.tcp_host,
        "LATTICE_REGISTRY_TCP_PORTS": ",".join(
            str(port)
            for name, port in sorted(platform.ports.items())
            if is_for_one_route(name) and port not in platform.busy_ports
        ),
    }


def _ingress_address(platform: Platform) -> str:
    """Where nodes and the gateway dial."""
    return f"{platform.settings.public_host}:{platform.ports['ingress-tunnel']}"


def _gateway(platform: Platform) -> dict[str, str]:
    files = platform.credentials
    return {
        "LATTICE_DATABASE_URL": platform.databases.url("gateway"),
        "LATTICE_GATEWAY_LISTEN_HOST": platform.settings.listen_host,
        "LATTICE_GATEWAY_PORT": str(platform.ports["gateway"]),
        "LATTICE_GATEWAY_PUBLIC_URL": platform.url,
        "LATTICE_GATEWAY_TLS_CERT_FILE": str(files.gateway_tls),
        "LATTICE_GATEWAY_TLS_KEY_FILE": str(files.gateway_tls),
        "LATTICE_GATEWAY_CA_FILE": str(files.ca),
        "LATTICE_GATEWAY_INGRESS_ADDRESSES": json.dumps([_ingress_address(platform)]),
        "LATTICE_GATEWAY_BOOTSTRAP_SECRET_FILE": str(bootstrap_secret_file(platform.data_dir)),
        "LATTICE_GATEWAY_OPERATOR_TOKEN_FILE": str(operator_token_file(platform.data_dir)),
    }


def _logs(platform: Platform) -> dict[str, str]:
    return {"LATTICE_LOGS_DATA_DIR": str(platform.data_dir.log_store)}


def _alerts(platform: Platform) -> dict[str, str]:
    return {
        "LATTICE_DATABASE_URL": platform.databases.url("alerts"),
        "LATTICE_ALERTS_KEY_DIR": str(platform.data_dir.alerts),
    }


def _metrics(platform: Platform) -> dict[str, str]:
    return {"LATTICE_METRICS_DATA_DIR": str(platform.data_dir.metrics)}


def _ingress(platform: Platform) -> dict[str, str]:
    files, settings = platform.credentials, platform.settings
    certificate = settings.apps_cert_file or files.ingress_web
    return {
        "LATTICE_INGRESS_LISTEN_HOST": settings.listen_host,
        "LATTICE_INGRESS_HTTP_PORT": str(platform.ports["ingress-http"]),
        "LATTICE_INGRESS_HTTPS_PORT": str(platform.ports["ingress-https"]),
        "LATTICE_INGRESS_TLS_PORT": str(platform.ports["ingress-tls"]),
        "LATTICE_INGRESS_TUNNEL_PORT": str(platform.ports["ingress-tunnel"]),
        "LATTICE_INGRESS_APPS_DOMAIN": settings.apps_domain,
        "LATTICE_INGRESS_TLS_CERT_FILE": str(files.ingress_tls),
        "LATTICE_INGRESS_TLS_KEY_FILE": str(files.ingress_tls),
        "LATTICE_INGRESS_CA_FILE": str(files.ca),
        "LATTICE_INGRESS_WEB_CERT_FILE": str(certificate),
        "LATTICE_INGRESS_WEB_KEY_FILE": str(settings.apps_key_file or certificate),
    }
