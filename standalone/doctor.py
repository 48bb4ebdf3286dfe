"""`lattice doctor`: asks everything the platform needs, in the order in which one thing rests on another, and says what to do."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from lattice import pki_files
from lattice.errors import LatticeError
from services.registry.template import Template, complete_values, fill, load_templates
from standalone import doctor_checks as checks
from standalone import nats_server, postgres, printing
from standalone.announcement import Announcement, read_announcement
from standalone.credentials import credential_files
from standalone.data_dir import DataDir, find_data_dir
from standalone.doctor_checks import Finding
from standalone.engine import check_engine, open_engine
from standalone.own_node import own_node_id
from standalone.ports import read_ports
from standalone.printing import answer, answer_data
from standalone.settings import StandaloneSettings
from standalone.supervisor import read_status

HEALTHY, UNHEALTHY = 0, 1
MARKS = {True: "✓", False: "✗", None: "-"}


async def examine(root: Path, settings: StandaloneSettings, *, output: str) -> int:
    """Print every finding; 1 if something must be done."""
    findings = [finding async for finding in diagnose(root, settings)]
    if printing.is_for_programs(output):
        answer_data({"items": [asdict(each) for each in findings]}, output=output)
    else:
        answer("\n".join(lines(findings)))
    return UNHEALTHY if any(each.ok is False for each in findings) else HEALTHY


def lines(findings: list[Finding]) -> list[str]:
    """Numbered, with a remedy below what is wrong, and a verdict at the end."""
    said = []
    for number, each in enumerate(findings, start=1):
        said.append(f"{number:>2}. {MARKS[each.ok]} {each.name}: {each.detail}")
        if each.ok is False:
            said.append(f"      → {each.remedy}")
    wrong = sum(each.ok is False for each in findings)
    return [*said, "Nothing is wrong." if not wrong else f"{wrong} of {len(findings)} need attention."]


async def diagnose(root: Path, settings: StandaloneSettings) -> AsyncIterator[Finding]:
    """Every finding, one after the other."""
    now, uid = datetime.now(UTC), os.geteuid()
    async for finding in _engine(settings):
        yield finding
    yield checks.check_disk("disk space", root)
    yield checks.check_permissions(root, uid=uid)
    data_dir = find_data_dir(root)
    if data_dir is None:
        yield Finding("platform", None, f"none was started in {root}: `lattice up --detach --wait`")
        return
    files = credential_files(data_dir)
    yield checks.check_clock(files, now=now)
    yield checks.check_certificates(files, now=now)
    status = read_status(data_dir.status_file)
    alive = status is not None and status.alive
    processes = tuple(each.name for each in status.processes) if status is not None and alive else ()
    yield checks.check_ports(_expected_ports(data_dir, processes), running=alive)
    async for finding in _platform(data_dir, alive=alive):
        yield finding


async def _engine(settings: StandaloneSettings) -> AsyncIterator[Finding]:
    try:
        info = await check_engine(settings.docker_url)
        yield checks.check_engine_info(info)
        yield checks.check_disk("disk space of Docker", Path(info.data_dir or "/"))
        async with open_engine(settings.docker_url) as engine:
            present = frozenset(name for image in await engine.images() for name in image.references)
        yield checks.check_images(_template_images(), present)
    except LatticeError as error:
        yield Finding(
            "Docker Engine", False, str(error), "start Docker, or let this user use it (group `docker`)"
        )


def _template_images() -> dict[str, tuple[str, ...]]:
    """Each template with the images that serve it: as its defaults name it, and as set-up builds it."""
    return {name: _images(template) for name, template in load_templates().items()}


def _images(template: Template) -> tuple[str, ...]:
    values = complete_values(template, {})
    places = {f"values.{name}": value for name, value in values.items() if isinstance(value, str)}
    official = fill(template.image, places) if template.image else None
    return tuple(image for image in (official, template.local_image) if image)


def _expected_ports(data_dir: DataDir, processes: tuple[str, ...]) -> dict[str, int]:
    """Without those of parts that this platform was told not to run."""
    kept = read_ports(data_dir)
    servers = {"gateway", "nats", "nats-monitor", "postgres"}
    wanted = servers | {f"{name}-health" for name in processes}
    return {name: port for name, port in kept.items() if not processes or name in wanted}


async def _platform(data_dir: DataDir, *, alive: bool) -> AsyncIterator[Finding]:
    if not alive:
        yield Finding("platform", None, "it is not running: `lattice up --detach --wait` starts it")
        return
    ports, announcement = read_ports(data_dir), read_announcement(data_dir)
    monitor = f"http://{nats_server.LOOPBACK}:{ports['nats-monitor']}/healthz"
    yield await checks.check_http("NATS", monitor)
    yield await checks.check_postgres(postgres.PostgresConfig(data_dir.postgres, ports["postgres"]))
    if announcement is None:
        yield Finding(
            "platform", False, "it has not become ready", "`lattice status` shows which part is not"
        )
        return
    trusted = pki_files.client_context(announcement.ca)
    yield await checks.check_http("gateway", f"{announcement.url}/readyz", trusted=trusted)
    yield await _node(announcement, data_dir)


async def _node(announcement: Announcement, data_dir: DataDir) -> Finding:
    try:
        node_id = own_node_id(data_dir.agent)
    except LatticeError as error:
        return Finding("this machine's node", None, str(error))
    return await checks.check_node(announcement, node_id)
