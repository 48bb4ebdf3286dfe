"""What a line is tested for, beyond one text: several texts, what must not be there, and its labels.

Labels say where a line comes from (project, workload, node, instance, stream), how grave it is (level), or are fields of its own text where a format
is named in which to read it.  A label that a line does not have is an empty text.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from lattice.contracts.nouns import Noun

MOST_TESTS = 32
SearchText = Annotated[str, Field(min_length=1, max_length=1024)]
LabelName = Annotated[str, Field(min_length=1, max_length=256)]


class TextOp(StrEnum):
    """How a text is looked for."""

    HAS = "|="
    LACKS = "!="
    FINDS = "|~"
    FINDS_NOT = "!~"


class TextTest(Noun):
    """One of the texts is (or is found, as an RE2 expression), or none of them."""

    op: TextOp
    texts: tuple[SearchText, ...] = Field(min_length=1, max_length=MOST_TESTS)


class LabelOp(StrEnum):
    """How a label is compared; an expression must fit the whole of it, and the last four compare numbers."""

    IS = "="
    IS_NOT = "!="
    FITS = "=~"
    FITS_NOT = "!~"
    ABOVE = ">"
    AT_LEAST = ">="
    BELOW = "<"
    AT_MOST = "<="


class LabelTest(Noun):
    """One label compared with one value."""

    label: LabelName
    op: LabelOp
    value: str = Field(max_length=1024)


AnyOf = Annotated[tuple[LabelTest, ...], Field(min_length=1, max_length=MOST_TESTS)]


class LineFormat(StrEnum):
    """In what form a line may have fields."""

    JSON = "json"
    LOGFMT = "logfmt"
