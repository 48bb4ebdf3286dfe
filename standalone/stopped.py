"""Workloads that stay stopped after a start, and the commands that start them again: stopped is what somebody wanted, and easily forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from standalone.gateway_client import GatewayClient

Json = dict[str, Any]
_DEFAULT_PROJECT = "default"
_MOST_NAMED = 8


async def stopped_workloads(gateway: GatewayClient) -> list[Json]:
    """The workloads that nobody wants to run at present."""
    everything = await gateway.listing("/v1/workloads", project="*")
    return [workload for workload in everything if workload["desired_state"] == "stopped"]


def start_commands(workloads: Sequence[Json]) -> list[str]:
    """One command per project that starts them again."""
    ordered = sorted((str(each["project"]), str(each["name"])) for each in workloads)
    return [
        " ".join(["lattice start", *_project_option(project), *(name for _, name in names)])
        for project, names in groupby(ordered, key=lambda pair: pair[0])
    ]


def listed(workloads: Sequence[Json]) -> str:
    """Their names in a sentence; of many the first."""
    names = sorted(str(each["name"]) for each in workloads)
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def words_on_stopped(workloads: Sequence[Json]) -> str:
    """What is said of them after a start."""
    return f"stopped, with their data: {listed(workloads)}; to start: {'; '.join(start_commands(workloads))}"


def _project_option(project: str) -> list[str]:
    return [] if project == _DEFAULT_PROJECT else ["--project", project]
