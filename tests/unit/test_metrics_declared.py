"""Metrics are declared once, by the conventions of Prometheus, and the document follows."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from lattice.metrics.__main__ import FILE, main
from lattice.metrics.declared import AREAS, SPECS, gateway, process
from lattice.metrics.instruments import REGISTRY, counter
from lattice.metrics.labels import LABELS
from lattice.metrics.spec import History, Kind, MetricSpec
from lattice.metrics.table import as_markdown
from tests.house_rules import ROOT

_UNITS = {"seconds": "_seconds", "bytes": "_bytes", "cores": "_cores"}
# Prometheus's own client makes these; python_info of the same family is not ours to send.
_STANDARD = re.compile(r"process_\w+")
every_metric = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


def test_no_two_metrics_have_one_name() -> None:
    assert sum(len(specs) for specs in AREAS.values()) == len(SPECS)


@every_metric
def test_the_name_says_kind_and_unit(spec: MetricSpec) -> None:
    assert re.fullmatch(r"lattice_[a-z0-9_]+|process_[a-z_]+", spec.name)
    assert spec.name.endswith("_total") == (spec.kind is Kind.COUNTER)
    stem = spec.name.removesuffix("_total")
    said = [unit for unit, suffix in _UNITS.items() if stem.endswith(suffix)]
    assert said == ([spec.unit] if spec.unit else [])


@every_metric
def test_every_label_is_explained(spec: MetricSpec) -> None:
    assert set(spec.all_labels) <= LABELS.keys()
    assert len(set(spec.all_labels)) == len(spec.all_labels)


@every_metric
def test_only_a_counter_has_a_rate(spec: MetricSpec) -> None:
    assert spec.history is not History.RATE or spec.kind is Kind.COUNTER
    assert spec.meaning.endswith(".") and "\n" not in spec.meaning and "|" not in spec.meaning


def test_every_label_is_used() -> None:
    assert {label for spec in SPECS.values() for label in spec.all_labels} == LABELS.keys()


def test_what_processes_show_is_declared() -> None:
    for path in sorted(ROOT.glob("services/*/metrics.py")):
        importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    shown = {
        f"{family.name}_total" if family.type == "counter" else family.name for family in REGISTRY.collect()
    }
    assert shown <= SPECS.keys()
    assert {spec.name for spec in AREAS["process"] if _STANDARD.fullmatch(spec.name)} <= shown


def test_an_instrument_is_of_the_declared_kind() -> None:
    with pytest.raises(TypeError, match="lattice_process_ready is declared as a gauge, not as a counter"):
        counter(process.READY)


def test_the_document_is_up_to_date(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert FILE.read_text() == as_markdown()
    assert main(["--check"]) == 0
    monkeypatch.setattr("lattice.metrics.__main__.FILE", tmp_path / "metrics.md")
    assert main(["--check"]) == 1
    assert "run python -m lattice.metrics --write" in capsys.readouterr().err
    assert main(["--write"]) == 0
    assert f"| `{gateway.REQUEST_SECONDS.name}` | histogram |" in (tmp_path / "metrics.md").read_text()
