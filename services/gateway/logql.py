"""The part of LogQL, Grafana Loki's query language, that the log store can answer.  Pure.

    {workload="shop", level=~"warn|error"} |= "timeout" != "retry" | json | status >= 500
    sum by (level) (count_over_time({project="default"} |~ "took \\d{4,} ms" [5m]))

Whatever else there is in LogQL is refused with its place in the text, never answered as if it meant something simpler.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lattice.contracts.messages import LabelOp, LabelTest, LineFormat, TextOp, TextTest
from lattice.contracts.messages.log_tests import MOST_TESTS
from services.gateway.logql_cursor import Cursor
from services.gateway.logql_words import Kind, Word, duration_ns, refuse

FUNCTIONS = frozenset(["count_over_time", "rate", "bytes_over_time", "bytes_rate"])
_STAGES = "json, logfmt, drop, and comparisons of labels"
_MOST_NESTED = 50


@dataclass(slots=True)
class LogSearch:
    """Which lines: a selector and what follows it."""

    labels: list[tuple[LabelTest, ...]] = field(default_factory=list)
    texts: list[TextTest] = field(default_factory=list)
    formats: list[LineFormat] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Counting:
    """How many of them there are in each window; `by` is None for a series of each set of labels."""

    function: str
    search: LogSearch
    window_ns: int
    by: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Constant:
    """`vector(1)+vector(1)`: with it Grafana asks whether anybody is there."""

    value: float


Query = LogSearch | Counting | Constant


def parse(text: str) -> Query:
    """Understand a query.  Raises Invalid with the place of what is not understood."""
    reader = _Reader(text)
    found = reader.query(0)
    reader.expect_end()
    return found


def parse_search(text: str) -> LogSearch:
    """A query of lines; Invalid for one of numbers."""
    found = parse(text)
    if not isinstance(found, LogSearch):
        refuse(text, 0, 'lines are asked for here, in the form {label="value"} |= "text"')
    return found


class _Reader(Cursor):
    """Each method reads one form."""

    def query(self, depth: int) -> Query:
        word = self.word
        if depth > _MOST_NESTED:
            self.refuse(word, "the query is nested too deeply")
        if word.text == "{" and word.kind is Kind.SIGN:
            return self._search()
        if word.kind is Kind.NAME and word.text in FUNCTIONS:
            return self._counting(None)
        if word.kind is Kind.NAME and word.text == "sum":
            return self._sum(depth)
        if self.is_sign("(") and not self._begins_a_sum_of_numbers():
            return self._in_parentheses(depth)
        return Constant(self._terms(depth))

    def expect_end(self) -> None:
        if self.word.kind is not Kind.END:
            self.refuse(self.word, f"{self.word.text!r} is not supported here")

    # What is searched

    def _search(self) -> LogSearch:
        found = LogSearch(labels=[(test,) for test in self._selector()])
        while not (self.word.kind is Kind.END or self.is_sign("[", ")")):
            if self.word.text in ("|=", "|~", "!=", "!~") and self.word.kind is Kind.SIGN:
                found.texts.extend(self._text_test())
            else:
                self.take("|")
                self._stage(found)
            if max(len(found.texts), len(found.labels)) > MOST_TESTS:
                self.refuse(self.word, f"more than {MOST_TESTS} conditions")
        return found

    def _selector(self) -> list[LabelTest]:
        self.take("{")
        found: list[LabelTest] = []
        while not self.is_sign("}"):
            found.append(self._matcher())
            if not self.skip(","):
                break
        self.take("}")
        return found

    def _matcher(self) -> LabelTest:
        name = self.take_kind(Kind.NAME)
        if not self.is_sign("=", "!=", "=~", "!~"):
            self.refuse(self.word, "write =, !=, =~ or !~ after a label")
        op = LabelOp(self.step().text)
        return self._test(name, op, self.take_kind(Kind.STRING))

    def _text_test(self) -> list[TextTest]:
        op = TextOp(self.step().text)
        first = self.take_kind(Kind.STRING)
        texts = [first.text]
        while self.skip_name("or"):
            texts.append(self.take_kind(Kind.STRING).text)
        if any(len(text) > 1024 for text in texts) or len(texts) > MOST_TESTS:
            self.refuse(first, "the text is longer than 1024 characters, or there are too many")
        if "" in texts:  # is in every line
            if op in (TextOp.LACKS, TextOp.FINDS_NOT):
                self.refuse(first, "an empty text is in every line: nothing would be left")
            return []
        return [TextTest(op=op, texts=tuple(texts))]

    def _stage(self, found: LogSearch) -> None:
        word = self.word
        if word.kind is not Kind.NAME:
            self.refuse(word, f"a stage is expected after |: {_STAGES}")
        if word.text in ("json", "logfmt") and not self.compares_next():
            self._format(found)
        elif word.text == "drop" and not self.compares_next():
            self._drop(found)
        else:
            self._conditions(found)

    def _format(self, found: LogSearch) -> None:
        one = LineFormat(self.step().text)
        if not (self.word.kind is Kind.END or self.is_sign("|", "|=", "|~", "!=", "!~", "[", ")")):
            self.refuse(self.word, f"| {one} takes no arguments here")
        if one not in found.formats:
            found.formats.append(one)

    def _drop(self, found: LogSearch) -> None:
        self.step()
        found.dropped.append(self.take_kind(Kind.NAME).text)
        while self.skip(","):
            found.dropped.append(self.take_kind(Kind.NAME).text)
        if self.is_sign("="):
            self.refuse(self.word, "labels can be dropped by name only")

    def _conditions(self, found: LogSearch) -> None:
        """`a="1" or b="2"` is one group, of `a="1" and b="2"` each is a group of its own."""
        group, groups = [self._condition()], list[tuple[LabelTest, ...]]()
        while True:
            if self.skip_name("or"):
                if groups:
                    self.refuse(self.word, "`and` and `or` cannot be mixed in one stage")
                group.append(self._condition())
            elif self.skip_name("and") or self.skip(","):
                if len(group) > 1:
                    self.refuse(self.word, "`and` and `or` cannot be mixed in one stage")
                groups.append(tuple(group))
                group = [self._condition()]
            else:
                break
        found.labels += [group for group in (*groups, tuple(group)) if group[0].label != "__error__"]

    def _condition(self) -> LabelTest:
        name = self.take_kind(Kind.NAME)
        sign = self.word
        if sign.kind is not Kind.SIGN or sign.text not in ("=", "==", "!=", "=~", "!~", ">", ">=", "<", "<="):
            self.refuse(name, f"the stage {name.text!r} is not supported; these are: {_STAGES}")
        self.step()
        op = LabelOp("=" if sign.text == "==" else sign.text)
        value = self.word
        if op in (LabelOp.FITS, LabelOp.FITS_NOT) and value.kind is not Kind.STRING:
            self.refuse(value, "an expression in quotes is expected")
        if value.kind not in (Kind.STRING, Kind.NUMBER):
            self.refuse(value, "a text in quotes or a number is expected")
        return self._test(name, op, self.step())

    def _test(self, name: Word, op: LabelOp, value: Word) -> LabelTest:
        if len(name.text) > 256 or len(value.text) > 1024:
            self.refuse(name, "a label or its value is too long")
        return LabelTest(label=name.text, op=op, value=value.text)

    # What is counted

    def _sum(self, depth: int) -> Counting:
        sign = self.step()
        by = self._grouping()
        self.take("(")
        inner = self.query(depth + 1)
        self.take(")")
        if by is None:
            by = self._grouping()
        if not isinstance(inner, Counting) or inner.by is not None:
            self.refuse(sign, f"sum takes one of {', '.join(sorted(FUNCTIONS))}")
        return Counting(inner.function, inner.search, inner.window_ns, by or ())

    def _grouping(self) -> tuple[str, ...] | None:
        if self.word.text == "without" and self.word.kind is Kind.NAME:
            self.refuse(self.word, "`without` is not supported: name the labels with `by`")
        if not self.skip_name("by"):
            return None
        self.take("(")
        names: list[str] = []
        while not self.is_sign(")"):
            names.append(self.take_kind(Kind.NAME).text)
            if not self.skip(","):
                break
        end = self.word
        self.take(")")
        if len(names) > 16 or any(len(name) > 256 for name in names):
            self.refuse(end, "too many labels, or too long ones")
        return tuple(dict.fromkeys(names))

    def _counting(self, by: tuple[str, ...] | None) -> Counting:
        function = self.step().text
        self.take("(")
        search = self._search()
        self.take("[")
        window = self.take_kind(Kind.DURATION)
        self.take("]")
        if not 0 < duration_ns(window.text) < 2**62:
            self.refuse(window, "the window has no length, or is too long")
        self.take(")")
        return Counting(function, search, duration_ns(window.text), by)

    # Numbers

    def _terms(self, depth: int) -> float:
        found = self._factors(depth)
        while self.is_sign("+", "-"):
            sign = self.step().text
            other = self._factors(depth)
            found = found + other if sign == "+" else found - other
        return found

    def _factors(self, depth: int) -> float:
        found = self._number(depth)
        while self.is_sign("*", "/"):
            sign = self.step()
            other = self._number(depth)
            if sign.text == "/" and other == 0:
                self.refuse(sign, "this divides by zero")
            found = found * other if sign.text == "*" else found / other
        return found

    def _number(self, depth: int) -> float:
        if depth > _MOST_NESTED:
            self.refuse(self.word, "the query is nested too deeply")
        if self.word.kind is Kind.NUMBER:
            return float(self.step().text)
        if self.skip("("):
            found = self._terms(depth + 1)
            self.take(")")
            return found
        if self.skip_name("vector"):
            return self._number(depth + 1)
        if self.word.kind is Kind.NAME:
            self.refuse(
                self.word,
                f"{self.word.text!r} is not supported; sum and {', '.join(sorted(FUNCTIONS))} are",
            )
        self.refuse(self.word, "a query begins with {, sum or a function")

    def _in_parentheses(self, depth: int) -> Query:
        self.take("(")
        found = self.query(depth + 1)
        self.take(")")
        return found

    def _begins_a_sum_of_numbers(self) -> bool:
        inside = self.after_signs("(")
        return inside.kind is Kind.NUMBER or inside.text == "vector"
