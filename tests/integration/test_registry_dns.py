"""What the registry reads from a real DNS server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lattice.errors import Invalid
from services.registry.dns import resolver
from services.registry.domain_rules import DnsAnswer
from tests.fixtures.dns import Zone, dns_zone
from tests.fixtures.ports import free_port

TARGET = "web--default.apps.localhost"


@pytest.fixture(scope="module")
def zone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zone]:
    with dns_zone(tmp_path_factory.mktemp("dns") / "nsd", "example.org") as zone:
        zone.write(
            f"shop CNAME {TARGET}.",
            "www CNAME shop",
            "loop CNAME loop2",
            "loop2 CNAME loop",
            "@ A 192.0.2.1",
            f'_lattice TXT "{TARGET}"',
            f'_lattice.both TXT "other" \n_lattice.both TXT "{TARGET}."',
        )
        yield zone


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("shop.example.org", DnsAnswer(aliases=(TARGET,))),
        ("www.example.org", DnsAnswer(aliases=("shop.example.org", TARGET))),
        ("example.org", DnsAnswer(texts=(TARGET,))),
        ("nothing.example.org", DnsAnswer()),
    ],
)
async def test_aliases_and_texts(zone: Zone, name: str, answer: DnsAnswer) -> None:
    assert await resolver([zone.server])(name) == answer


async def test_several_texts_and_aliases_in_a_circle(zone: Zone) -> None:
    ask = resolver([zone.server])
    assert TARGET in (await ask("both.example.org")).texts
    assert 1 <= len((await ask("loop.example.org")).aliases) <= 8


async def test_a_server_that_is_away_or_refuses_is_a_problem_and_no_answer(zone: Zone) -> None:
    away = await resolver([f"127.0.0.1:{free_port()}"])("shop.example.org")
    refused = await resolver([zone.server])("shop.example.net")
    for answer in (away, refused):
        assert answer.problem.startswith("DNS gave no answer") and answer.aliases == ()


def test_what_is_no_server() -> None:
    with pytest.raises(Invalid, match="no address of a DNS server"):
        resolver(["127.0.0.1:dns"])
