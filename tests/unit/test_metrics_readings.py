"""Readings travel as tables, and become the text that Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lattice.contracts.messages import NodeMetrics, SampleTable
from lattice.metrics import exposition, instruments
from lattice.metrics.declared import AREAS, SPECS, bus, node, workload
from lattice.metrics.every_process import ASKED, PUBLISHED
from lattice.metrics.readings import Reading, reading, readings_of, tables_of
from lattice.metrics.spec import Kind
from tests.house_rules import usages_of_declared

HISTOGRAM = Reading(bus.ASKED, ("get_node", "ok"), tuple(float(n) for n in range(bus.ASKED.width)))


def samples(text: str) -> set[tuple[str, tuple[tuple[str, str], ...], float]]:
    families = text_string_to_metric_families(text)
    return {(s.name, tuple(sorted(s.labels.items())), s.value) for f in families for s in f.samples}


def test_readings_with_the_same_labels_share_a_table() -> None:
    given = [
        reading(workload.UP, 1, "in-1"),
        reading(workload.MEMORY, 5, "in-1"),
        reading(workload.UP, 0, "in-2"),
        reading(node.CPUS, 4),
        HISTOGRAM,
    ]
    tables = tables_of(given)
    assert [table.metrics for table in tables] == [
        (workload.UP.name, workload.MEMORY.name),
        (node.CPUS.name,),
        (bus.ASKED.name,),
    ]
    assert tables[0].rows == ((("in-1",), (1, 5)), (("in-2",), (0, None)))
    assert sorted(map(repr, (each for table in tables for each in readings_of(table)))) == sorted(
        map(repr, given)
    )


def test_a_table_is_the_same_after_its_way() -> None:
    tables = tables_of([reading(node.LOAD1, 0.25), HISTOGRAM])
    sent = NodeMetrics(node_id="nd-1", taken_at="2030-01-01T00:00:00Z", tables=tables).model_dump_json()
    assert NodeMetrics.model_validate_json(sent).tables == tables


@pytest.mark.parametrize("number", ["NaN", "Infinity"])
def test_what_is_no_number_does_not_travel(number: str) -> None:
    with pytest.raises(ValueError, match="finite"):
        SampleTable.model_validate_json(f'{{"metrics":["lattice_node_load1"],"rows":[[[],[{number}]]]}}')


def test_the_text_is_that_of_prometheus_own_client() -> None:
    ASKED.labels("get_node", "ok").observe(0.3)
    PUBLISHED.labels('odd "name"\\ \n here').inc(3)
    try:
        ours = exposition.text(instruments.counted())
        theirs = instruments.render().decode()
        # What the process takes goes on between the two.
        changing = (
            "process_cpu",
            "process_resident",
            "process_virtual",
            "process_open",
            "lattice_node",
            "lattice_workload",
        )
        assert {s for s in samples(ours) if not s[0].startswith(changing)} == {
            s for s in samples(theirs) if not s[0].startswith(changing)
        }
    finally:
        PUBLISHED.remove('odd "name"\\ \n here')


def test_labels_that_the_platform_knows_come_first() -> None:
    text = exposition.text([reading(workload.UP, 1, "in-1")], lambda _: {"project": "p", "workload": "w"})
    assert text.splitlines()[2] == 'lattice_workload_up{project="p",workload="w",instance="in-1"} 1'


def declared_names() -> Iterator[tuple[str, str]]:
    for area, specs in AREAS.items():
        module = __import__(f"lattice.metrics.declared.{area}", fromlist=["*"])
        named = {value.name: name for name, value in vars(module).items() if value in specs}
        yield from ((area, named[spec.name]) for spec in specs)


def test_everything_declared_is_measured() -> None:
    shown = {spec.name for spec in SPECS.values() if not spec.name.startswith("lattice_")}
    used = usages_of_declared()
    missing = [each for each in declared_names() if each not in used and not _is_standard(each, shown)]
    assert not missing, "declared, and nobody says it"


def _is_standard(declared: tuple[str, str], shown: set[str]) -> bool:
    """Prometheus's own client says these, as test_what_processes_show_is_declared proves."""
    area, name = declared
    return (
        area == "process"
        and vars(__import__("lattice.metrics.declared.process", fromlist=["*"]))[name].name in shown
    )


def test_of_history_there_is_one_series_for_each_source_or_instance() -> None:
    kept = [spec for spec in SPECS.values() if spec.history is not None]
    assert kept and not [spec for spec in kept if spec.labels or spec.kind is Kind.HISTOGRAM]
