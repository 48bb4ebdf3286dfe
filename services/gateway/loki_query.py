"""From a LogQL search to the question that the log store answers.  Pure.

What the store can decide from names and words alone is told in those words; the rest stays a test of each line.
"""

from __future__ import annotations

from lattice.contracts.messages import LabelOp, LabelTest, QueryLogs, TextOp, TextTest
from lattice.contracts.messages.log_queries import MOST_WORKLOADS
from services.gateway.logql import LogSearch

_WORKLOAD = ("workload", "service_name")


def as_query(
    search: LogSearch, project: str | None, *, since_ns: int | None, until_ns: int | None, limit: int
) -> QueryLogs:
    """Lines of this time, both ends included."""
    grep = _longest_text(search.texts)
    return QueryLogs(
        project=project,
        workload_names=_names(search.labels),
        since_ns=since_ns,
        until_ns=until_ns,
        grep=grep,
        texts=tuple(test for test in search.texts if test != _has(grep)),
        labels=tuple(search.labels),
        formats=tuple(search.formats),
        levels=True,
        limit=limit,
    )


def _longest_text(texts: list[TextTest]) -> str | None:
    """What each line must contain: the store looks for one text in whole blocks before it reads lines."""
    alone = [test.texts[0] for test in texts if test.op is TextOp.HAS and len(test.texts) == 1]
    return max(alone, key=len, default=None)


def _has(text: str | None) -> TextTest | None:
    return None if text is None else TextTest(op=TextOp.HAS, texts=(text,))


def _names(groups: list[tuple[LabelTest, ...]]) -> tuple[str, ...]:
    """The workloads by name, where the search names them: of others not even the index is looked at."""
    for group in groups:
        if all(test.label in _WORKLOAD and test.op is LabelOp.IS and test.value for test in group):
            return tuple(test.value for test in group)[:MOST_WORKLOADS]
    return ()
