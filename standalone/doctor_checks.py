"""What `lattice doctor` looks at, one function per question.  Each gives a finding: what was seen and, where something is wrong, what to do.

A question that has no answer now (the platform is not running) is neither right nor wrong.
"""

from __future__ import annotations

import re
import shutil
import ssl
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx

from lattice import pki_files
from lattice.errors import LatticeError, Temporary
from lattice.runtime import EngineInfo
from standalone import postgres
from standalone.announcement import Announcement
from standalone.credentials import CredentialFiles
from standalone.data_dir import FOLDERS
from standalone.gateway_client import open_gateway
from standalone.own_node import describe
from standalone.ports import port_is_free

OLDEST_ENGINE = (20, 10)
LEAST_FREE_BYTES = 2 * 2**30
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer: `ok` is None where the question makes no sense now."""

    name: str
    ok: bool | None
    detail: str
    remedy: str = ""


def check_engine_info(info: EngineInfo) -> Finding:
    """Whether the Engine is new enough."""
    found = re.match(r"(\d+)\.(\d+)", info.version)
    version = tuple(int(part) for part in found.groups()) if found else (0, 0)
    detail = f"Docker {info.version}, storage driver {info.storage_driver or 'unknown'}, {info.os}"
    remedy = f"update Docker to {OLDEST_ENGINE[0]}.{OLDEST_ENGINE[1]} or newer"
    return Finding("Docker Engine", version >= OLDEST_ENGINE, detail, remedy)


def check_disk(name: str, folder: Path) -> Finding:
    """Whether there is room where `folder` lies."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    remedy = "free some space, or choose another data directory (images: `docker image prune`)"
    return Finding(name, free >= LEAST_FREE_BYTES, f"{free / GIB:.1f} GiB free at {existing}", remedy)


def check_permissions(root: Path, *, uid: int) -> Finding:
    """Whether the data directory is ours and nobody else can look into it."""
    name = "data directory"
    if not root.exists():
        return Finding(name, None, f"{root} does not exist yet: `lattice up` makes it")
    wrong = [path for path in (root, *(root / each for each in FOLDERS)) if _is_open(path, uid)]
    detail = f"{root} is private" if not wrong else f"open to others: {', '.join(map(str, wrong))}"
    return Finding(
        name, not wrong, detail, "`lattice down`, then `lattice up`: it makes the folders private again"
    )


def check_ports(ports: Mapping[str, int], *, running: bool) -> Finding:
    """Whether each port is ours: in use while the platform runs, free while it does not."""
    name = "ports"
    if not ports:
        return Finding(name, None, "none chosen yet: the first `lattice up` does")
    wrong = [f"{port} ({part})" for part, port in ports.items() if port_is_free(port) is running]
    state = "nobody listens on" if running else "in use by another program:"
    detail = f"{state} {', '.join(wrong)}" if wrong else f"all {len(ports)} as they should be"
    remedy = (
        "`lattice status` shows which part is away" if running else "stop that program, or change ports.json"
    )
    return Finding(name, not wrong, detail, remedy)


def check_clock(files: CredentialFiles, *, now: datetime) -> Finding:
    """Whether the clock went back behind the platform's own beginning: then no certificate holds."""
    name, remedy = "clock", "set the clock (`timedatectl set-ntp true`)"
    try:
        began = pki_files.load_chain(files.ca)[0].not_valid_before_utc
    except LatticeError:
        return Finding(name, None, f"{now:%Y-%m-%d %H:%M} UTC; nothing to compare it with yet")
    return Finding(
        name, now >= began, f"{now:%Y-%m-%d %H:%M} UTC; this platform began {began:%Y-%m-%d}", remedy
    )


def check_certificates(files: CredentialFiles, *, now: datetime) -> Finding:
    """Whether every certificate still holds, and for how long."""
    name, expiries = "certificates", dict(_expiries(files))
    if not expiries:
        return Finding(name, None, "none made yet")
    first = min(expiries, key=lambda path: expiries[path])
    left_h = (expiries[first] - now).total_seconds() / 3600
    detail = f"the first to expire is {first.parent.name}/{first.name}, in {left_h:.1f} h"
    return Finding(name, left_h > 0, detail, "`lattice down`, then `lattice up`: each start issues all anew")


async def check_http(name: str, url: str, *, trusted: ssl.SSLContext | None = None) -> Finding:
    """Whether a server of ours answers that it is ready."""
    remedy = "`lattice status` shows its state; its log is in the data directory's folder `logs`"
    context = trusted or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        async with httpx.AsyncClient(verify=context, timeout=5, trust_env=False) as client:
            response = await client.get(url)
    except httpx.HTTPError as error:
        return Finding(name, False, f"{url} does not answer: {error or type(error).__name__}", remedy)
    return Finding(name, response.status_code == 200, f"{url} answers {response.status_code}", remedy)


async def check_postgres(config: postgres.PostgresConfig) -> Finding:
    """Whether the database answers a query."""
    name, remedy = "Postgres", "`lattice status`, then logs/postgres.log in the data directory"
    try:
        async with postgres.as_superuser(config) as connection:
            version = await connection.fetchval("SHOW server_version")
    except Temporary as error:
        return Finding(name, False, f"no answer: {error}", remedy)
    return Finding(name, True, f"{version} answers on port {config.port}")


async def check_node(announcement: Announcement, node_id: str) -> Finding:
    """Whether the registry says that this machine can work."""
    name, remedy = "this machine's node", "`lattice node show` and logs/agent.log in the data directory"
    try:
        async with open_gateway(announcement) as gateway:
            node = await gateway.get(f"/v1/nodes/{node_id}")
    except LatticeError as error:
        return Finding(name, False, str(error), remedy)
    return Finding(name, node["state"] == "ready", describe(node), remedy)


def check_images(wanted: Mapping[str, tuple[str, ...]], present: frozenset[str]) -> Finding:
    """Whether each template has an image here: the official one, or one that set-up built under any version."""
    repositories = {reference.rpartition(":")[0] for reference in present}
    missing = [
        template
        for template, images in wanted.items()
        if images and not any(image in present or image in repositories for image in images)
    ]
    detail = f"none here for: {', '.join(missing)}" if missing else f"all {len(wanted)} templates have one"
    return Finding("template images", not missing, detail, "`make setup` fetches or builds them")


def _is_open(path: Path, uid: int) -> bool:
    if not path.exists():
        return False
    found = path.stat()
    return found.st_uid != uid or bool(found.st_mode & (stat.S_IRWXG | stat.S_IRWXO))


def _expiries(files: CredentialFiles) -> Iterator[tuple[Path, datetime]]:
    for path in (files.ca, *sorted(files.folder.glob("*/*.pem"))):
        if path.exists():
            yield path, min(each.not_valid_after_utc for each in pki_files.load_chain(path))
