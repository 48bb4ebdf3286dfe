"""`--set K=V`: where it goes, what it is, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.errors import CliError, ExitCode
from cli.setters import TemplateSchema, apply_sets, parse_scalar

FIELDS = (
    "name",
    "image",
    "template",
    "values",
    "env",
    "replicas",
    "ports",
    "command",
    "resources",
    "placement",
)
POSTGRES = TemplateSchema(
    "postgres",
    {
        "version": {"type": "string"},
        "database": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "size": {"enum": ["small", "large"]},
        "connections": {"type": "integer"},
        "image": {"type": "string"},
    },
)


def result(
    *settings: str, schema: TemplateSchema | None = None, spec: dict[str, Any] | None = None
) -> dict[str, Any]:
    files = {"note.txt": "16\n"}
    return apply_sets(spec or {}, settings, schema=schema, known_fields=FIELDS, read_file=files.__getitem__)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("image=nginx:1.27", {"image": "nginx:1.27"}),
        ("env.TZ=UTC", {"env": {"TZ": "UTC"}}),
        ("env.DEBUG=1", {"env": {"DEBUG": "1"}}),
        ("env.EMPTY=", {"env": {"EMPTY": ""}}),
        ("env.QUERY=a=b", {"env": {"QUERY": "a=b"}}),
        ("replicas=3", {"replicas": 3}),
        ("values.on=yes", {"values": {"on": "yes"}}),
        ("values.deep.er=true", {"values": {"deep": {"er": True}}}),
        ("resources.memory=512Mi", {"resources": {"memory": "512Mi"}}),
        ("command=[serve, --port, '8080']", {"command": ["serve", "--port", "8080"]}),
        ("placement.constraints=['arch == amd64']", {"placement": {"constraints": ["arch == amd64"]}}),
        ("env.NOTE=@note.txt", {"env": {"NOTE": "16\n"}}),
        ("env.AT=@@home", {"env": {"AT": "@home"}}),
    ],
)
def test_a_setting_goes_to_its_path(setting: str, expected: dict[str, Any]) -> None:
    assert result(setting) == expected


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("version=16", {"version": "16"}),
        ("values.version=16", {"version": "16"}),
        ("database=null", {"database": "null"}),
        ("size=large", {"size": "large"}),
        ("connections=50", {"connections": 50}),
        ("image=own", {"image": "own"}),
    ],
)
def test_a_bare_key_of_the_template_is_one_of_its_values_and_has_its_type(
    setting: str, value: dict[str, Any]
) -> None:
    assert result(setting, schema=POSTGRES) == {"values": value}


def test_lists_grow_by_their_next_index() -> None:
    settings = ("ports.0.name=http", "ports.0.port=80", "ports.1.port=81")
    assert result(*settings) == {"ports": [{"name": "http", "port": 80}, {"port": 81}]}


def test_later_settings_win_and_the_given_spec_stays_as_it_was() -> None:
    spec = {"env": {"A": "1"}}
    assert result("env.A=2", "env.A=3", "env.B=4", spec=spec) == {"env": {"A": "3", "B": "4"}}
    assert spec == {"env": {"A": "1"}}


@pytest.mark.parametrize(
    "setting", ["", "image", "=x", "env..A=1", ".a=1", "bogus=1", "ports.2.port=1", "command=[a"]
)
def test_what_makes_no_sense_is_a_usage_error(setting: str) -> None:
    with pytest.raises(CliError) as caught:
        result(setting)
    assert caught.value.exit_code == ExitCode.USAGE


def test_an_unknown_key_is_answered_with_what_the_template_knows() -> None:
    with pytest.raises(CliError, match="postgres nor a workload has 'verison'") as caught:
        result("verison=16", schema=POSTGRES)
    assert "version" in caught.value.todo


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("null", None),
        ("0123", "0123"),
        ("1.5", 1.5),
        ("-2", -2),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("NaN", "NaN"),
        ("'16'", "16"),
        ('"a b"', "a b"),
        ("{a: 010}", {"a": "010"}),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert parse_scalar(text) == value
    assert type(parse_scalar(text)) is type(value)


@given(st.text(st.characters(codec="utf-8")).filter(lambda text: not text.startswith("@")))
def test_a_variable_is_what_was_typed(text: str) -> None:
    assert result(f"env.A={text}") == {"env": {"A": text}}
