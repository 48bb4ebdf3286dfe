"""The ports of an embedded platform."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from agent import ports as agent_ports
from lattice.errors import Conflict, Invalid
from standalone import ports
from standalone.data_dir import open_data_dir


def test_ports_are_chosen_once_and_kept(tmp_path: Path) -> None:
    made = open_data_dir(tmp_path / "data")
    first = ports.keep_ports(made, ["gateway", "nats"])
    more = ports.keep_ports(made, ["gateway", "nats", "postgres"])
    assert len(set(more.values())) == 3 and first.items() <= more.items()
    assert ports.read_ports(made) == more == json.loads(made.ports_file.read_text())


def test_a_fixed_port_replaces_the_kept_one(tmp_path: Path) -> None:
    made = open_data_dir(tmp_path / "data")
    before = ports.keep_ports(made, ["gateway", "nats"])
    assert ports.keep_ports(made, ["gateway", "nats"], fixed={"gateway": 8443}) == {**before, "gateway": 8443}
    assert ports.keep_ports(made, ["gateway"]) == {"gateway": 8443}


def test_a_port_in_use_or_promised_is_passed_over() -> None:
    used = {20000, 20003}
    chosen = ports.choose_ports(
        ["a", "b", "c"],
        kept={"a": 20001, "other": 20002},
        candidates=range(20000, 20010),
        is_free=lambda port: port not in used,
    )
    assert chosen == {"a": 20001, "b": 20004, "c": 20005}


def test_no_free_port_is_said_so() -> None:
    with pytest.raises(Conflict, match="No free port is left for b"):
        ports.choose_ports(["a", "b"], kept={}, candidates=[20000], is_free=lambda _port: True)


def test_ports_stay_below_those_of_outgoing_connections() -> None:
    assert ports.candidate_ports("32768\t60999\n") == range(28000, 32768)
    assert ports.candidate_ports("1024 65535") == range(28000, 65536)


def test_a_listening_program_is_named_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(Conflict, match=rf"{port} \(nats\)"):
            ports.check_ports({"nats": port})
    ports.check_ports({"nats": port})


@pytest.mark.parametrize("content", ["", "[]", '{"a": "80"}', '{"a": true}'])
def test_a_damaged_ports_file_is_refused(tmp_path: Path, content: str) -> None:
    made = open_data_dir(tmp_path / "data")
    made.ports_file.write_text(content)
    with pytest.raises(Invalid, match=r"ports\.json is damaged"):
        ports.keep_ports(made, ["gateway"])


def test_those_that_are_allowed_are_chosen_from(tmp_path: Path) -> None:
    made = open_data_dir(tmp_path / "data")
    allowed = range(31_000, 31_100)
    assert set(ports.keep_ports(made, ["gateway", "nats"], allowed=allowed).values()) <= set(allowed)


def test_an_agent_never_chooses_a_port_that_a_platform_may_have() -> None:
    assert agent_ports.LAST < ports.FIRST_PORT
