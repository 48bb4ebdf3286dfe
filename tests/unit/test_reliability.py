"""The table of long proofs: a new run replaces its own row and no other."""

from __future__ import annotations

from tests.fixtures.reliability import HEADER, TABLE, with_row

EMPTY = f"# Long proofs\n\nWords.\n\n{HEADER}"


def test_a_run_adds_its_row() -> None:
    text = with_row(EMPTY, "b", "3 of 3 | in\n2 s", commit="abc", day="2030-01-01")
    assert text == EMPTY + "| b | 3 of 3 \\| in 2 s | abc | 2030-01-01 |\n"


def test_a_later_run_replaces_its_row_alone() -> None:
    text = with_row(EMPTY, "b", "old", commit="1", day="2030-01-01")
    text = with_row(text, "a", "other", commit="1", day="2030-01-01")
    text = with_row(text, "b", "new", commit="2", day="2030-01-02")
    assert text == EMPTY + "| a | other | 1 | 2030-01-01 |\n| b | new | 2 | 2030-01-02 |\n"


def test_the_document_has_the_table() -> None:
    assert HEADER in TABLE.read_text()
