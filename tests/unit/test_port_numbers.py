"""Port numbers in settings."""

from __future__ import annotations

import pytest

from lattice.errors import Invalid
from lattice.port_numbers import read_port_numbers


@pytest.mark.parametrize(
    ("text", "ports"),
    [("", ()), ("20000", (20000,)), ("20000-20002,30000, 20001", (20000, 20001, 20002, 30000))],
)
def test_ranges_of_ports(text: str, ports: tuple[int, ...]) -> None:
    assert read_port_numbers(text) == ports


@pytest.mark.parametrize("text", ["20000-x", "-5", "http", "1.5"])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(Invalid, match="no port and no range"):
        read_port_numbers(text)


@pytest.mark.parametrize("text", ["0", "65536", "20010-20000", "1-99999999999"])
def test_what_no_port_can_have(text: str) -> None:
    with pytest.raises(Invalid, match="no range of ports from 1 to 65535"):
        read_port_numbers(text)
