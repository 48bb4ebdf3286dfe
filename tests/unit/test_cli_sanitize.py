"""Nothing that came from outside can steer the terminal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.output import to_json, to_yaml
from cli.sanitize import ByteCleaner, clean_line, clean_text, escape_for_json


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]52;c;c2VjcmV0\x1b\\after", "after"),
        ("\x1b]0;never ended, not hidden", "]0;never ended, not hidden"),
        ("\x1bP1$r\x1b\\x", "x"),
        ("\x9b2Jx", "x"),
        ("a\rb\x08c\x00", "abc"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("user\u202egpj.exe", "usergpj.exe"),
        ("\x1b(Bx", "x"),
        ("naïve 日本 ✓", "naïve 日本 ✓"),
    ],
)
def test_sequences_go_and_text_stays(hostile: str, shown: str) -> None:
    assert clean_text(hostile) == shown


def test_a_name_stays_on_its_line() -> None:
    assert clean_line(" a\nb\r\n\tc ") == "a b c"


@given(st.text())
def test_no_control_character_but_newline_and_tab_is_ever_left(text: str) -> None:
    assert not {c for c in clean_text(text) if (ord(c) < 0x20 and c not in "\n\t") or 0x7F <= ord(c) <= 0x9F}


@given(st.text(), st.text())
def test_cleaning_twice_changes_nothing(first: str, second: str) -> None:
    once = clean_text(first + "\x1b" + second)
    assert clean_text(once) == once


@given(st.text(st.characters(codec="utf-8")))
def test_json_for_people_is_the_same_document(text: str) -> None:
    document = to_json({"text": text})
    assert json.loads(document) == {"text": text}
    assert escape_for_json(document) == document


def test_json_keeps_letters_and_escapes_what_a_terminal_obeys() -> None:
    assert to_json({"a": "ü\x9b2J\x1b[0m\u202e"}, indent=None) == '{"a": "ü\\u009b2J\\u001b[0m\\u202e"}'


def test_yaml_escapes_what_a_terminal_obeys() -> None:
    assert to_yaml({"a": "ü"}) == "a: ü\n"
    assert "\u202e" not in to_yaml({"a": "x\u202e"})


def test_a_character_cut_in_two_arrives_whole() -> None:
    cleaner = ByteCleaner()
    assert cleaner.clean(b"a\xc3") + cleaner.clean(b"\xbc\x1b[2Jb") == "aü".encode() + b"b"
