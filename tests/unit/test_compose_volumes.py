"""What the containers find in their volumes: passwords that stay, and a join token only where one is needed."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from infra.compose.joining import agent_environment
from infra.compose.passwords import administrator, ensure_passwords, password_of
from infra.compose.places import Places
from infra.compose.settings import ComposeSettings
from infra.compose.starting import kept_data_dir
from lattice.clock import SystemClock
from lattice.errors import NotFound, Temporary
from lattice.pki import create_authority
from standalone.databases import SERVICES_WITH_STATE
from standalone.own_node import JOIN_TOKEN
from tests.fixtures.ports import free_port


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


def files(places: Places) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in places.root.rglob("*") if path.is_file()}


def test_passwords_are_made_once_and_are_private(places: Places) -> None:
    ensure_passwords(places, first_start=True)
    made = files(places)
    ensure_passwords(places, first_start=False)
    assert files(places) == made
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o600}


def test_everybody_has_a_password_of_their_own(places: Places) -> None:
    ensure_passwords(places, first_start=True)
    known = {password_of(places, service) for service in SERVICES_WITH_STATE}
    assert len({*known, administrator(places).password}) == len(SERVICES_WITH_STATE) + 1


def test_a_service_finds_its_password_in_postgres_own_format(places: Places) -> None:
    ensure_passwords(places, first_start=True)
    line = (places.own("gateway") / "database.pgpass").read_text()
    assert line == f"*:*:*:lattice_gateway:{password_of(places, 'gateway')}\n"


def test_a_password_that_the_database_expects_is_not_made_anew(places: Places) -> None:
    ensure_passwords(places, first_start=True)
    administrator(places).password_file.unlink()
    with pytest.raises(NotFound, match="restore the volume"):
        ensure_passwords(places, first_start=False)


def test_a_service_that_a_newer_release_brings_gets_a_password(places: Places) -> None:
    ensure_passwords(places, first_start=True)
    (places.passwords / "alerts").unlink()
    ensure_passwords(places, first_start=False)
    assert password_of(places, "alerts") in (places.own("alerts") / "database.pgpass").read_text()


def test_without_a_first_start_nothing_pretends_to_be_a_platform(places: Places) -> None:
    with pytest.raises(NotFound, match="`init`"):
        kept_data_dir(places)
    assert not files(places)


async def test_a_join_token_that_was_given_is_used_as_it_is(tmp_path: Path) -> None:
    settings = ComposeSettings(root=tmp_path, agent_dir=tmp_path / "agent")
    given = {"PATH": "/bin", JOIN_TOKEN: "lattice-join.given"}
    assert await agent_environment(settings, given) == given


async def test_without_one_the_gateway_is_asked(places: Places, tmp_path: Path) -> None:
    settings = ComposeSettings(root=tmp_path, agent_dir=tmp_path / "agent", port=free_port())
    for path, content in (
        (places.ca, create_authority(name="test", now=SystemClock().now()).authority.trust_pem),
        (places.entry / "keys" / "operator-token", b"a token"),
    ):
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    with pytest.raises(Temporary, match="gateway does not answer"):
        await agent_environment(settings, {JOIN_TOKEN: ""})
