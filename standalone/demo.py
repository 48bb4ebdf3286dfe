"""`make demo`: from a set-up machine to a database with an address, in a few seconds, and how to go on from there.

It uses the platform as anybody would: through the gateway, as the operator of this machine.  Running it again finds what is there already.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import time
from pathlib import Path
from typing import Any

import asyncpg

from lattice.errors import LatticeError, NotFound, Temporary
from standalone import starting
from standalone.announcement import Announcement
from standalone.gateway_client import GatewayClient, open_gateway
from standalone.preparation import Options
from standalone.printing import answer, say
from standalone.settings import StandaloneSettings, default_data_dir

NAME = "demo-db"
DEPLOY_TIMEOUT_S = 180.0
QUERY_TIMEOUT_S = 30.0
LOG_LINES = 5
LONGEST_LINE = 120
POLL_S = 0.2


def main() -> int:
    """Run the demonstration; the exit code."""
    settings, began_s = StandaloneSettings(), time.monotonic()
    options = Options((settings.data_dir or default_data_dir()).absolute())
    try:
        say("Starting the platform on this machine")
        asyncio.run(_show(starting.ensure_up(options, settings), began_s))
    except LatticeError as error:
        say(f"\nThe demo cannot go on: {error}")
        say("`lattice doctor` checks this machine and says what to do.")
        return 1
    return 0


async def _show(announcement: Announcement, began_s: float) -> None:
    async with open_gateway(announcement) as gateway:
        workload = await _running_database(gateway)
        credentials = await gateway.get(f"/v1/workloads/{NAME}/credentials")
        say(
            f"Connecting to {credentials['host']}:{credentials['port']}, its certificate verified by the platform's CA"
        )
        version = await ask_version(credentials)
        logs = await _last_lines(gateway)
    took_s = time.monotonic() - began_s
    answer(report(announcement, workload, credentials, version, logs, took_s=took_s))


async def _running_database(gateway: GatewayClient) -> dict[str, Any]:
    try:
        workload = await gateway.get(f"/v1/workloads/{NAME}")
    except NotFound:
        say(f"Deploying a Postgres as {NAME}")
        port = {"name": "postgres", "port": 5432, "protocol": "tcp", "public": True}
        body = {"name": NAME, "template": "postgres", "values": {"database": "demo"}, "ports": [port]}
        # With the data and the password of an earlier demo, if its volume is still there.
        await gateway.post("/v1/workloads", body, adopt=True)
    else:
        say(f"{NAME} exists already: {workload['state']}")
        if workload["desired_state"] != "running":
            await gateway.post(f"/v1/workloads/{NAME}/start")
    return await _until_running(gateway)


async def _until_running(gateway: GatewayClient) -> dict[str, Any]:
    deadline_s, told = time.monotonic() + DEPLOY_TIMEOUT_S, ""
    while time.monotonic() < deadline_s:
        workload: dict[str, Any] = await gateway.get(f"/v1/workloads/{NAME}")
        if _is_well(workload):
            return workload
        if workload["state"] == "failed":
            raise LatticeError(f"{NAME} failed: {workload['reason']}. Look at `lattice show {NAME}`.")
        if (now := _stage(workload)) != told:
            say(f"  {now}")
            told = now
        await asyncio.sleep(POLL_S)
    raise Temporary(f"{NAME} is still {told} after {DEPLOY_TIMEOUT_S:.0f} s. Look at `lattice show {NAME}`.")


def _is_well(workload: dict[str, Any]) -> bool:
    """Running, and its health check has succeeded: a first start prepares its data for a few seconds."""
    healthy = all(instance["health"] == "healthy" for instance in workload["instances"])
    return workload["state"] == "running" and healthy


def _stage(workload: dict[str, Any]) -> str:
    """What its instance is doing, in words."""
    instance = next(iter(workload["instances"]), None)
    if instance is None:
        return str(workload["state"])
    return str(
        instance["progress"] or (instance["state"] if instance["state"] != "running" else "getting ready")
    )


async def ask_version(credentials: dict[str, Any]) -> str:
    """The database's own answer, over TLS with its name and certificate verified.  Raises Temporary with what went wrong."""
    trusted = ssl.create_default_context(cadata=credentials["ca"])
    try:
        connection = await asyncpg.connect(
            host=credentials["host"],
            port=credentials["port"],
            user=credentials["username"],
            password=credentials["password"],
            database=credentials["database"],
            ssl=trusted,
            timeout=QUERY_TIMEOUT_S,
        )
        try:
            return str(await connection.fetchval("select version()"))
        finally:
            await connection.close()
    except (OSError, asyncpg.PostgresError) as error:
        raise Temporary(f"{NAME} runs but does not answer a query: {error}") from error


async def _last_lines(gateway: GatewayClient) -> list[str]:
    try:
        lines = await gateway.lines(f"/v1/workloads/{NAME}/logs", limit=LOG_LINES)
        return [str(line["message"]) for line in lines if line.get("message")]
    except LatticeError as error:
        return [f"(no log yet: {error})"]


def report(
    announcement: Announcement,
    workload: dict[str, Any],
    credentials: dict[str, Any],
    version: str,
    logs: list[str],
    *,
    took_s: float,
) -> str:
    """Everything a newcomer wants to copy."""
    cli = command_line(announcement)
    return "\n".join(
        [
            "",
            f"{NAME} answers: {version}",
            "",
            f"  Address      {credentials['host']}:{credentials['port']} (TLS)",
            f"  Credentials  {credentials['uri']}",
            f"  CA to trust  {announcement.ca}",
            f"  Image        {about_image(workload['image'])}",
            f"  Platform     {announcement.url}",
            "",
            "Its last log lines:",
            *(f"  {line[:LONGEST_LINE]}" for line in logs),
            "",
            "Look further",
            f"  {cli} show {NAME}        where it runs, and why there",
            f"  {cli} logs {NAME} -f     what it writes",
            f"  {cli} status              the platform itself",
            f"  {announcement.url}/docs   the API",
            "Stop",
            f"  make down     the platform and its workloads; `make demo` brings {NAME} back with its data",
            "  make reset    remove all of it",
            "",
            f"That took {took_s:.1f} s.",
        ]
    )


def command_line(announcement: Announcement) -> str:
    """How `lattice` is called from here for this platform."""
    program = Path(sys.executable).with_name("lattice")
    shown = program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program
    is_default = announcement.data_dir == default_data_dir()
    return str(shown) if is_default else f"LATTICE_DATA_DIR={announcement.data_dir} {shown}"


def about_image(image: str) -> str:
    """Which image runs, and why it is not the official one where it is not."""
    if image.startswith("lattice.local/"):
        return f"{image}, built on this machine from its distribution's packages, because the official one could not be fetched"
    return image


if __name__ == "__main__":
    sys.exit(main())
