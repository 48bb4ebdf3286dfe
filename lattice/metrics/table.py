"""The declarations as the document for people, `docs/metrics.md`."""

from __future__ import annotations

from collections.abc import Iterator

from lattice.metrics.declared import AREAS
from lattice.metrics.labels import LABELS
from lattice.metrics.spec import MetricSpec

_HEAD = """# Metrics

Written by `python -m lattice.metrics --write` from `lattice/metrics/declared`.

Each process serves its own at `/metrics` of its health port. Agents and services also say theirs on the bus, every 15 s; the platform adds
whose they are, keeps a day of those with a word under *kept*, and serves all of them to Prometheus ([how](monitoring.md)).

*Kept* is what `lattice stats`, the console and `GET /v1/…/metrics` show of the last day, once a minute: the `newest` value, or the `rate`
per second. Counters begin anew with the process, or the container, that counts. A histogram has `_bucket`, `_sum` and `_count`.
"""


def as_markdown() -> str:
    """The document."""
    return "\n".join([_HEAD, *(line for area in AREAS for line in _section(area)), *_labels()]) + "\n"


def _section(area: str) -> Iterator[str]:
    yield from (
        f"## {area}",
        "",
        "| metric | kind | labels | unit | kept | meaning |",
        "|---|---|---|---|---|---|",
    )
    yield from (_row(spec) for spec in AREAS[area])
    yield ""


def _row(spec: MetricSpec) -> str:
    labels = " ".join(f"`{label}`" for label in spec.all_labels)
    cells = (f"`{spec.name}`", spec.kind, labels, spec.unit, spec.history or "", spec.meaning)
    return f"| {' | '.join(cells)} |"


def _labels() -> Iterator[str]:
    yield from ("## labels", "", "| label | its values |", "|---|---|")
    yield from (f"| `{label}` | {values} |" for label, values in sorted(LABELS.items()))
