"""Everything between `lattice up` and the first process: folders, ports, keys, configuration, and how each process is to be run.

All of it may be repeated: a start that was cut off is continued by the next one.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from lattice.contracts.catalogue import SERVICES
from lattice.contracts.permissions import node_permissions
from lattice.errors import Invalid
from lattice.identity import operator_config
from lattice.pki_files import website_context
from lattice.port_numbers import read_port_numbers
from standalone import nats_server, postgres
from standalone.announcement import Announcement, ensure_bootstrap_secret, renew_operator_token
from standalone.credentials import Authorities, credential_files, ensure_authorities, issue_all
from standalone.data_dir import DataDir
from standalone.databases import Databases
from standalone.own_node import prepare_agent
from standalone.ports import check_ports, keep_ports, port_is_free
from standalone.process_plan import (
    PORT_NAMES,
    Platform,
    Servers,
    agent_environment,
    agent_spec,
    is_for_one_route,
    server_specs,
    service_spec,
)
from standalone.process_spec import ProcessSpec
from standalone.settings import StandaloneSettings

SYSTEM_RUNTIME_DIR = Path("/run/lattice")


@dataclass(frozen=True, slots=True)
class Options:
    """What `lattice up` was asked."""

    data_dir: Path
    port: int | None = None
    with_agent: bool = True


@dataclass(frozen=True, slots=True)
class Prepared:
    """A platform that can be started."""

    platform: Platform
    authorities: Authorities
    announcement: Announcement
    specs: tuple[ProcessSpec, ...]
    issued_at: datetime

    @property
    def lifetime(self) -> timedelta:
        return timedelta(seconds=self.platform.settings.service_credential_ttl_s)

    def issue(self, now: datetime) -> None:
        """Write the credentials of all processes anew."""
        settings = self.platform.settings
        issue_all(
            self.platform.credentials,
            self.authorities,
            gateway_names=(settings.public_host, socket.gethostname()),
            bus_names=(settings.public_host,),
            ingress_names=(settings.public_host,),
            apps_domain=settings.apps_domain,
            now=now,
            lifetime=self.lifetime,
        )


def prepare(
    data_dir: DataDir,
    options: Options,
    settings: StandaloneSettings,
    *,
    ambient: Mapping[str, str],
    now: datetime,
) -> Prepared:
    """Make what is missing.  The data directory must be held.  Raises Conflict for a busy port, and LatticeError."""
    _check_own_certificate(settings)
    ports = _ports(data_dir, options, settings)
    check_ports({name: port for name, port in ports.items() if not is_for_one_route(name)})
    busy = tuple(port for name, port in ports.items() if is_for_one_route(name) and not port_is_free(port))
    database = postgres.PostgresConfig(data_dir.postgres, ports["postgres"])
    authorities = ensure_authorities(data_dir, first_start=not database.data.exists(), now=now)
    ensure_bootstrap_secret(data_dir)
    platform = Platform(
        data_dir=data_dir,
        ports=ports,
        settings=settings,
        credentials=credential_files(data_dir),
        databases=Databases(database),
        runtime_dir=runtime_dir(data_dir, ambient),
        ambient=ambient,
        busy_ports=busy,
    )
    servers = _prepare_servers(platform, authorities, database)
    prepared = Prepared(platform, authorities, _announcement(platform), (), now)
    prepared.issue(now)
    return replace(prepared, specs=_specs(prepared, servers, with_agent=options.with_agent))


def _ports(data_dir: DataDir, options: Options, settings: StandaloneSettings) -> dict[str, int]:
    return keep_ports(
        data_dir,
        PORT_NAMES,
        fixed={"gateway": options.port} if options.port else None,
        allowed=read_port_numbers(settings.port_range),
    )


def _check_own_certificate(settings: StandaloneSettings) -> None:
    """Raises Invalid for one that visitors cannot be shown, while there is somebody to be told."""
    certificate, key = settings.apps_cert_file, settings.apps_key_file
    for path in (certificate, key):
        if path is not None and not path.is_absolute():
            raise Invalid(f"The platform does not run in this folder: give {path} with its whole path.")
    if certificate is not None:
        website_context(certificate, key or certificate)
    elif key is not None:
        raise Invalid(
            "LATTICE_APPS_KEY_FILE is set without LATTICE_APPS_CERT_FILE: give the certificate too."
        )


def runtime_dir(data_dir: DataDir, ambient: Mapping[str, str]) -> Path:
    """A folder in memory for what containers are handed: the machine's for root, else the user's."""
    if os.geteuid() == 0:
        return SYSTEM_RUNTIME_DIR
    return Path(ambient.get("XDG_RUNTIME_DIR") or data_dir.run) / "lattice"


def _prepare_servers(
    platform: Platform, authorities: Authorities, database: postgres.PostgresConfig
) -> Servers:
    binary = nats_server.find_binary(platform.settings.nats_server, beside=Path(sys.executable))
    bus = nats_server.NatsConfig(
        server_name=f"lattice-{platform.data_dir.cluster_id}",
        host=platform.settings.listen_host,
        port=platform.ports["nats"],
        monitor_port=platform.ports["nats-monitor"],
        folder=platform.data_dir.nats,
        tls=platform.credentials.nats_tls,
        operator=operator_config(authorities.tickets, node_permissions=node_permissions()),
    )
    nats_server.write_config(bus)
    runner = postgres.choose_runner(database.folder, database.cluster)
    postgres.ensure_cluster(database, runner)
    return Servers(binary, bus, database, runner)


def _announcement(platform: Platform) -> Announcement:
    token = renew_operator_token(platform.data_dir)
    return Announcement(
        url=platform.url,
        console=platform.url,
        ca=platform.credentials.ca,
        token=token.text,
        data_dir=platform.data_dir.root,
    )


def _specs(prepared: Prepared, servers: Servers, *, with_agent: bool) -> tuple[ProcessSpec, ...]:
    platform = prepared.platform
    specs = [*server_specs(platform, servers), *(service_spec(platform, name) for name in SERVICES)]
    if with_agent:
        environment = agent_environment(platform)
        join = partial(prepare_agent, prepared.announcement, platform.data_dir.agent, environment)
        specs.append(agent_spec(platform, environment, join))
    return tuple(specs)
