"""Metrics through REST: Prometheus's targets and their text, series, and stats; and who may see them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lattice.contracts.messages import MetricOwner, MetricSource, SourceMetrics
from lattice.contracts.nouns import Role
from lattice.metrics.declared import node, process, workload
from lattice.metrics.readings import reading, tables_of
from services.gateway.routes.metrics import default_step_s
from tests.fixtures.gateway import NODE, World, running_gateway


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path) as world:
        now = world.clock.now()
        own = tables_of(
            [reading(node.LOAD1, 1.5), reading(workload.UP, 1, "in-1"), reading(process.OPEN_FDS, 9)]
        )
        owner = MetricOwner(project="shop", workload_id="wl-1", workload="web")
        attic = MetricSource(kind="node", id=NODE, name="attic", taken_at=now)
        world.registry.metrics["node", NODE] = SourceMetrics(source=attic, tables=own, owners={"in-1": owner})
        logs = MetricSource(kind="service", id="logs", name="logs", taken_at=now)
        world.registry.metrics["service", "logs"] = SourceMetrics(
            source=logs, tables=tables_of([reading(process.OPEN_FDS, 5)])
        )
        world.registry.add_node()
        world.registry.add_workload("web")
        await world.add_user("viewer", {"*": Role.VIEWER})
        await world.add_user("of-one", {"default": Role.VIEWER})
        yield world


async def test_targets_lead_to_the_address_by_which_we_were_reached(world: World) -> None:
    answer = await world.get("/v1/prometheus/targets", as_="viewer", headers={"Host": "lattice.example:8443"})
    first, second = answer.json()
    assert first["targets"] == second["targets"] == ["lattice.example:8443"]
    assert first["labels"] == {
        "__scheme__": "https", "__metrics_path__": f"/v1/prometheus/nodes/{NODE}", "instance": "attic", "node": "attic",
    }  # fmt: skip
    assert second["labels"]["service"] == "logs"
    assert (await world.get("/v1/prometheus/nodes", as_="viewer")).json()[0]["labels"]["node"] == "attic"
    assert len((await world.get("/v1/prometheus/nodes", as_="viewer")).json()) == 1


async def test_a_node_is_told_with_whose_instances_are_on_it(world: World) -> None:
    world.clock.advance(20)
    answer = await world.get(f"/v1/prometheus/nodes/{NODE}", as_="viewer")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = text_string_to_metric_families(answer.text)
    found = {sample.name: (sample.labels, sample.value) for family in families for sample in family.samples}
    assert found == {
        node.LOAD1.name: ({"node": "attic"}, 1.5),
        node.AGE.name: ({"node": "attic"}, 20),
        workload.UP.name: ({"node": "attic", "project": "shop", "workload": "web", "instance": "in-1"}, 1),
        process.OPEN_FDS.name: ({"service": "agent", "node": "attic"}, 9),
    }


async def test_a_service_is_told_by_its_name(world: World) -> None:
    text = (await world.get("/v1/prometheus/services/logs", as_="viewer")).text
    assert text.splitlines()[-1] == 'process_open_fds{service="logs"} 5'


async def test_what_is_silent_is_down(world: World) -> None:
    world.clock.advance(61)
    answer = await world.get(f"/v1/prometheus/nodes/{NODE}", as_="viewer")
    assert answer.status_code == 503
    assert answer.json()["detail"] == "The node attic has said nothing for 61 s."
    assert (await world.get("/v1/prometheus/nodes/nobody", as_="viewer")).status_code == 404


@pytest.mark.parametrize("path", ["targets", "nodes", f"nodes/{NODE}", "services/logs"])
async def test_all_projects_are_seen_by_those_of_the_platform_only(world: World, path: str) -> None:
    assert (await world.get(f"/v1/prometheus/{path}", as_="of-one")).status_code == 403
    assert (await world.get(f"/v1/prometheus/{path}", as_=None)).status_code == 401


async def test_series_are_of_the_last_hour_unless_asked_otherwise(world: World) -> None:
    assert (await world.get("/v1/workloads/web/metrics", as_="of-one")).status_code == 200
    [asked] = world.registry.metric_queries
    now_s = int(world.clock.now().timestamp())
    assert (asked.from_s, asked.until_s, asked.step_s) == (now_s - 3600, now_s, 60)
    assert (asked.about, asked.project, asked.workload_ids) == (
        "workload",
        "default",
        (world.registry.workloads.popitem()[1].id,),
    )


async def test_series_of_a_node(world: World) -> None:
    begin = (world.clock.now() - timedelta(hours=5)).isoformat().replace("+00:00", "Z")
    path = f"/v1/nodes/{NODE}/metrics?from={begin}&until=1h&step=300&metric=lattice_node_load1&metric=lattice_node_cpu_seconds_total"
    assert (await world.get(path, as_="viewer")).status_code == 200
    [asked] = world.registry.metric_queries
    assert (asked.until_s - asked.from_s, asked.step_s, asked.node_ids, asked.about) == (
        4 * 3600,
        300,
        (NODE,),
        "node",
    )
    assert asked.metrics == ("lattice_node_load1", "lattice_node_cpu_seconds_total")
    assert (await world.get(path, as_="of-one")).status_code == 403
    assert (await world.get(f"/v1/nodes/{NODE}/metrics?step=30", as_="viewer")).status_code == 422


async def test_stats_are_of_the_callers_project(world: World) -> None:
    assert (await world.get("/v1/stats", as_="of-one")).status_code == 200
    assert (await world.get("/v1/stats?project=*&workload=wl-1", as_="viewer")).status_code == 200
    assert [(each.project, each.workload_ids) for each in world.registry.stats_asked] == [
        ("default", ()),
        (None, ("wl-1",)),
    ]
    assert (await world.get("/v1/stats?project=*", as_="of-one")).status_code == 403
    assert (await world.get("/v1/stats/nodes", as_="of-one")).status_code == 403


@pytest.mark.parametrize(
    ("span_s", "step_s"), [(60, 60), (3600, 60), (4 * 3600, 60), (86_400, 360), (10**9, 86_400)]
)
def test_a_chart_has_some_240_points(span_s: int, step_s: int) -> None:
    assert default_step_s(span_s) == step_s
