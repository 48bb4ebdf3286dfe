"""What people may write: good specs come through unchanged, bad ones are refused with the place and the reason."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lattice.contracts.placement_spec import parse_constraint
from lattice.contracts.quantities import format_size, parse_duration_s, parse_size
from lattice.contracts.spec import WorkloadSpec

GOOD: dict[str, Any] = {
    "name": "orders-api",
    "image": "ghcr.io/acme/api:1.4",
    "replicas": 2,
    "env": {"TZ": "UTC"},
    "secrets": {"API_KEY": {"from": "api-key"}},
    "command": ["serve", "--port", "8080"],
    "ports": [{"name": "http", "port": 8080}],
    "resources": {"cpu": 0.5, "memory": "512Mi", "pids": 100},
    "health": {"http": {"port": "http", "path": "/healthz"}, "interval": "5s"},
    "placement": {"constraints": ["arch == amd64", "label.zone != home"]},
}


def test_a_spec_survives_its_own_writing() -> None:
    spec = WorkloadSpec.model_validate(GOOD)
    assert WorkloadSpec.model_validate_json(spec.model_dump_json()) == spec


@given(st.integers(10, 64_000))
def test_cores_survive_their_own_writing(millis: int) -> None:
    spec = WorkloadSpec.model_validate(GOOD | {"resources": {"cpu": f"{millis}m"}})
    again = WorkloadSpec.model_validate_json(spec.model_dump_json())
    assert again.resources is not None and again.resources.cpu == millis


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"privileged": True}, "privileged"),
        ({"name": "a--b"}, "name"),
        ({"name": "-a"}, "name"),
        ({"name": "ab-"}, "name"),
        ({"name": "Ab"}, "name"),
        ({"name": "ab\n"}, "name"),
        ({"image": "ubuntu\n"}, "image"),
        ({"env": {"A\n": "x"}}, "env"),
        ({"image": "ub untu"}, "image"),
        ({"image": "ubuntu;reboot"}, "image"),
        ({"image": None}, ""),
        ({"template": "postgres"}, ""),
        ({"replicas": -1}, "replicas"),
        ({"replicas": True}, "replicas"),
        ({"env": {"A=B": "x"}}, "env"),
        ({"env": {"A": "nul\x00"}}, "env"),
        ({"env": {"API_KEY": "x"}}, ""),
        ({"ports": [{"name": "http", "port": 0}]}, "ports"),
        ({"ports": [{"name": "ab", "port": 80}, {"name": "ab", "port": 81}]}, ""),
        ({"ports": [{"name": "http", "port": 80, "host_port": 80}]}, "ports"),
        ({"volumes": [{"name": "data", "path": "relative"}]}, "volumes"),
        ({"volumes": [{"name": "data", "path": "/"}]}, "volumes"),
        ({"volumes": [{"name": "data", "path": "/a/../etc"}]}, "volumes"),
        ({"volumes": [{"name": "data", "path": "/a:/b"}]}, "volumes"),
        ({"resources": {"memory": "1Mi"}}, "resources"),
        ({"resources": {"memory": "lots"}}, "resources"),
        ({"resources": {"pids": 0}}, "resources"),
        ({"health": {}}, "health"),
        ({"health": {"tcp": {"port": "http"}, "http": {"port": "http"}}}, "health"),
        ({"health": {"tcp": {"port": "other"}}}, ""),
        ({"liveness": {"tcp": {"port": "other"}}}, ""),
        ({"liveness": {"exec": {"command": ["true"]}}, "restart": {"policy": "never"}}, ""),
        ({"placement": {"constraints": ["rm -rf"]}}, "placement"),
        ({"placement": {"spread": "zone"}}, "placement"),
        ({"placement": {"strategy": "random"}}, "placement"),
        ({"placement": {"preferred": [{"constraint": "zone"}]}}, "placement"),
        ({"placement": {"preferred": [{"constraint": "arch == amd64", "weight": 101}]}}, "placement"),
        ({"placement": {"affinity": [{"workload": "db", "topology": "zone"}]}}, "placement"),
        ({"placement": {"affinity": [{"workload": "db", "weight": 0}]}}, "placement"),
        ({"placement": {"anti_affinity": [{"name": "db"}]}}, "placement"),
        ({"command": ["a\x00b"]}, "command"),
        ({"pull": "sometimes"}, "pull"),
    ],
)
def test_bad_specs_are_refused_with_their_place(change: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError) as caught:
        WorkloadSpec.model_validate(GOOD | change)
    if where:
        assert caught.value.errors()[0]["loc"][0] == where


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("512Mi", 512 * 2**20), ("5G", 5 * 10**9), ("1.5Ki", 1536), ("10", 10), (7, 7), ("3B", 3)],
)
def test_sizes(text: object, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "5 potatoes", "-1", None, True, "5Xi", [], 1.5])
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(ValueError, match="512Mi"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "duration_s"), [("30s", 30), ("2m", 120), ("1h30m", 5400), (5, 5), ("0.5s", 0.5)]
)
def test_durations(text: object, duration_s: float) -> None:
    assert parse_duration_s(text) == duration_s


def test_sizes_are_written_in_the_largest_fitting_unit() -> None:
    assert [format_size(n) for n in (0, 1023, 2**20, 3 * 2**30, 5 * 2**40)] == [
        "0 B",
        "1023 B",
        "1 MiB",
        "3 GiB",
        "5 TiB",
    ]


def test_constraints_are_split() -> None:
    assert parse_constraint("label.zone==home") == ("label.zone", "==", "home")
