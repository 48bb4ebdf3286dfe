"""A real Prometheus finds everything of a running platform through the gateway alone, with the example configuration."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lattice.contracts.catalogue import SERVICES
from lattice.metrics.declared import SPECS
from tests.fixtures.platform import Platform, until
from tests.fixtures.prometheus import (
    CONFIGURATION,
    Prometheus,
    configured,
    job_of,
    program,
    running_prometheus,
)

SMALL = ("--cpu", "0.1", "--memory", "32Mi")


@pytest.fixture
def prometheus(platform: Platform, tmp_path: Path) -> Iterator[Prometheus]:
    configuration = configured(tmp_path, job_of(platform, tmp_path))
    with running_prometheus(tmp_path, configuration) as server:
        yield server


@pytest.fixture(scope="module")
def busy(platform: Platform) -> Iterator[str]:
    """A workload that takes all of the processor that it may."""
    name = f"busy-{secrets.token_hex(3)}"
    spin = "while :; do :; done"
    platform.ok("run", "lattice.local/test:1", "--name", name, *SMALL, "--wait", "--", "sh", "-c", spin)
    yield name
    platform.run("rm", name, "--yes")


def checked(*arguments: str, stdin: str = "") -> str:
    ran = subprocess.run(
        [program("promtool"), "check", *arguments], input=stdin, capture_output=True, text=True, check=False
    )
    return f"{ran.stdout}{ran.stderr}" if ran.returncode else ""


def test_the_example_is_one(tmp_path: Path) -> None:
    for name in ("lattice-ca.pem", "lattice-token"):
        (tmp_path / name).write_text("")
    (tmp_path / "prometheus.yaml").write_text(CONFIGURATION.read_text())
    assert not checked("config", "--syntax-only", str(tmp_path / "prometheus.yaml"))


def test_prometheus_finds_everything_and_all_of_it_is_up(
    platform: Platform, prometheus: Prometheus, busy: str
) -> None:

    def all_up() -> bool:
        targets = prometheus.targets()
        here = {each["labels"].get("service") for each in targets if each["health"] == "up"}
        return here >= set(SERVICES) and all(each["health"] == "up" for each in targets)

    def ready() -> dict[Any, float]:
        return prometheus.query(f'lattice_workload_ready{{workload="{busy}"}} == 1')

    until(ready, what="the workload in Prometheus")
    until(all_up, what="all targets being up")
    [labels] = [dict(each) for each in ready()]
    instance = platform.containers(busy)[0]["Config"]["Labels"]["lattice.instance"]
    assert (labels["instance"], labels["project"], labels["job"]) == (instance, "default", "lattice")
    node = platform.json("node", "ls")["items"][0]["name"]
    assert labels["node"] == node
    up = {dict(each)["instance"] for each in prometheus.query("up")}
    assert up == {node, *SERVICES}
    limit = prometheus.query(f'lattice_workload_cpu_limit_cores{{workload="{busy}"}}')
    assert list(limit.values()) == [0.1]
    names = {dict(each)["__name__"] for each in prometheus.query('{job="lattice"}')}
    ends = ("_bucket", "_sum", "_count")
    stems = {next((each.removesuffix(end) for end in ends if each.endswith(end)), each) for each in names}
    assert stems - {"up"} - {each for each in stems if each.startswith("scrape_")} <= SPECS.keys()
    assert not prometheus.query('{exported_instance!=""}')


def test_nobody_comes_without_a_token(platform: Platform) -> None:
    with platform.rest(token="lat_of_nobody") as rest:
        assert rest.get("/v1/prometheus/targets").status_code == 401


def test_the_text_is_as_prometheus_likes_it(platform: Platform) -> None:
    groups = platform.answer("/v1/prometheus/targets").json()
    for path in (group["labels"]["__metrics_path__"] for group in groups):
        assert not checked("metrics", stdin=platform.answer(path).text), path


def test_people_see_what_a_workload_takes(platform: Platform, busy: str) -> None:
    def measured() -> dict[str, Any] | None:
        found = platform.json("stats", busy)["instances"]
        return found[0] if found and found[0]["cpu_cores"] else None

    seen = until(measured, what="its processor time")
    assert seen is not None
    assert 0.05 < seen["cpu_cores"] < 0.2
    assert seen["memory_limit_bytes"] == 32 * 2**20
    assert seen["up"] and seen["workload"] == busy
    row = next(line for line in platform.ok("stats").splitlines() if busy in line)
    assert "/0.1" in row and "/32 MiB" in row
    assert platform.json("stats", "--node")["nodes"][0]["cpu_cores"] > 0
