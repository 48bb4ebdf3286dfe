"""A domain of one's own on the running product, with a real DNS server and, for HTTPS, a real Caddy in front."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from infra.setup.commands import find_program
from tests.e2e.test_public_names import HEALTH, SERVE
from tests.fixtures.commands import REPOSITORY
from tests.fixtures.dns import Zone, dns_zone
from tests.fixtures.docker import missing_service
from tests.fixtures.platform import Platform, platforms, until
from tests.fixtures.ports import free_port

DOMAIN = "shop.example.org"


@pytest.fixture(scope="module")
def zone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zone]:
    with dns_zone(tmp_path_factory.mktemp("dns") / "nsd", "example.org") as zone:
        yield zone


@pytest.fixture(scope="module")
def platform(docker_engine: str, zone: Zone) -> Iterator[Platform]:
    with platforms() as make:
        made = make(
            LATTICE_REGISTRY_DNS_SERVERS=f'["{zone.server}"]',
            LATTICE_INGRESS_TRUSTED_PROXIES='["127.0.0.1/32"]',
        )
        made.up()
        yield made


def visit(platform: Platform, host: str) -> httpx.Response:
    """Over the ingress itself, without HTTPS."""
    workload = platform.json("show", "shop")
    (route,) = [route for route in workload["routes"] if route["public"]]
    return httpx.get(f"http://127.0.0.1:{route['port']}/", headers={"Host": host}, timeout=10)


def test_a_domain_leads_there_once_its_record_is_written(
    platform: Platform, zone: Zone, image_test: str, tmp_path: Path
) -> None:
    options = ("-p", "8080", "--public", "--domain", DOMAIN, "-e", "V=1", *HEALTH)
    platform.ok("run", image_test, "--name", "shop", *options, "--", *SERVE)
    until(
        lambda: "no record leads there" in platform.ok("show", "shop"), what="the missing record being told"
    )
    assert f"{DOMAIN} CNAME shop--default.apps.localhost" in " ".join(platform.ok("show", "shop").split())
    assert f"not yet: {DOMAIN} CNAME" in platform.ok("routes", "ls")
    assert visit(platform, DOMAIN).status_code == 404
    zone.write("shop CNAME shop--default.apps.localhost.")
    until(lambda: visit(platform, DOMAIN).text.strip() == "1", what="the domain")
    shown = " ".join(platform.ok("show", "shop").split())
    assert f"Domain: {DOMAIN} " in shown and "not yet" not in shown
    with caddy(platform, tmp_path) as https:
        answer = https.get(DOMAIN)
        assert answer.status_code == 200 and answer.text.strip() == "1"
        assert https.get("shop--default.apps.localhost").text.strip() == "1"
        with pytest.raises(httpx.TransportError):
            https.get("nobody.example.org")


class Https:
    """Caddy, as visitors meet it."""

    def __init__(self, port: int, root: Path) -> None:
        self.port, self.root = port, root

    def get(self, host: str) -> httpx.Response:
        until(self.root.exists, timeout_s=20, what="Caddy's own authority")
        trusted = ssl.create_default_context(cafile=str(self.root))
        with httpx.Client(verify=trusted, timeout=20) as client:
            return client.get(
                f"https://127.0.0.1:{self.port}/", headers={"Host": host}, extensions={"sni_hostname": host}
            )


@contextmanager
def caddy(platform: Platform, folder: Path) -> Iterator[Https]:
    """The Caddyfile that is shipped, with an authority of Caddy's own."""
    program = find_program("caddy")
    if program is None:
        missing_service("Caddy", "it is not installed")
    workload = platform.json("show", "shop")
    (route,) = [route for route in workload["routes"] if route["public"]]
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder / "data"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "LATTICE_INGRESS_HTTP": f"127.0.0.1:{route['port']}",
        "LATTICE_HTTPS_PORT": str(port),
        "LATTICE_HTTP_PORT": str(free_port()),
        "LATTICE_ISSUER": "internal",
        "LATTICE_ACME_EMAIL": "nobody@example.org",
    }
    command = [
        program,
        "run",
        "--adapter",
        "caddyfile",
        "--config",
        str(REPOSITORY / "infra/caddy/Caddyfile"),
    ]
    with (folder / "caddy.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        yield Https(port, folder / "data/caddy/pki/authorities/local/root.crt")
    finally:
        process.terminate()
        process.wait(20)
