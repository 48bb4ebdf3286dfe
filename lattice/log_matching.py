"""Which lines are wanted: the same rules for stored lines and for live ones.  Pure.

Regular expressions are RE2's, whose time grows with the text and never with the expression: a person's search cannot hold the platform up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from lattice.contracts.messages import QueryLogs, TextOp, TextTest
from lattice.expressions import compiled
from lattice.log_labels import LabelTests, Place
from lattice.log_levels import at_least, field_text, fields_of, level_of
from lattice.log_records import Line


class LineMatcher:
    """Made once for a query.  Raises Invalid for an expression that is none."""

    def __init__(self, query: QueryLogs) -> None:
        self.query = query
        self._word = _word_pattern(query.word) if query.word is not None else None
        self._expression = compiled(query.regex) if query.regex is not None else None
        self._texts = [_text_test(test) for test in query.texts]
        self._labels = LabelTests(query.labels, query.formats)
        restrictions = (
            query.since_ns,
            query.until_ns,
            query.stream,
            query.grep,
            query.word,
            query.regex,
            query.level,
        )
        looks = query.fields or query.texts or self._labels.looks_at_lines
        self.wants_all = not looks and all(each is None for each in restrictions)
        """Whether no line needs to be looked at."""

    def matches(self, line: Line) -> bool:
        """Whether a line is wanted; what is cheap to know is asked first."""
        wanted = self.query
        return (
            _is_in_time(line.time_ns, wanted)
            and wanted.stream in (None, line.stream)
            and (wanted.grep is None or wanted.grep in line.text)
            and (self._word is None or self._word.search(line.text) is not None)
            and (self._expression is None or self._expression.search(line.text) is not None)
            and all(holds(line.text) for holds in self._texts)
            and (wanted.level is None or at_least(level_of(line.text), wanted.level))
            and (not wanted.fields or _has_fields(line.text, wanted.fields))
            and self._labels.hold(line)
        )

    def may_match_from(self, place: Place) -> bool:
        """Whether a container's lines can be wanted; it has to be asked before `matches`, which does not know where a line comes from."""
        return self._labels.allow(place)

    def may_match_between(self, first_ns: int, last_ns: int) -> bool:
        """Whether a block whose lines are of this time can have a wanted one."""
        since_ns, until_ns = self.query.since_ns, self.query.until_ns
        return (since_ns is None or last_ns >= since_ns) and (until_ns is None or first_ns <= until_ns)


def _is_in_time(time_ns: int, wanted: QueryLogs) -> bool:
    return (wanted.since_ns is None or time_ns >= wanted.since_ns) and (
        wanted.until_ns is None or time_ns <= wanted.until_ns
    )


def _has_fields(text: str, wanted: Mapping[str, str]) -> bool:
    fields = fields_of(text)
    return fields is not None and all(field_text(fields, path) == value for path, value in wanted.items())


def _word_pattern(text: str) -> re.Pattern[str]:
    """The text where it is not a part of longer words."""
    return re.compile(rf"(?<![A-Za-z0-9_]){re.escape(text)}(?![A-Za-z0-9_])")


def _text_test(test: TextTest) -> Callable[[str], bool]:
    wanted = test.op in (TextOp.HAS, TextOp.FINDS)
    if test.op in (TextOp.HAS, TextOp.LACKS):
        return lambda text: any(each in text for each in test.texts) is wanted
    expressions = [compiled(each) for each in test.texts]
    return lambda text: any(each.search(text) is not None for each in expressions) is wanted
