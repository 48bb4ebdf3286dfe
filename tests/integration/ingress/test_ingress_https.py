"""Visitors over HTTPS, with the platform's certificate or one of a person's own: real TLS, from the oldest version on that is let in."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import time
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest
import websockets
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve as serve_websocket

from lattice import pki
from lattice.errors import Invalid
from lattice.pki_files import save_key, website_context
from lattice.renewing_tls import RenewingTls
from tests.fixtures.ingress import DOMAIN, IngressWorld, NodeTls, ingress_world

MIB = 2**20
NAME = f"web.{DOMAIN}"
GET = f"GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers with the head that it was sent."""
    head = await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(head), head))
    writer.close()


def trust(world: IngressWorld) -> ssl.SSLContext:
    """As a visitor who has the platform's CA, and else what Python trusts by default."""
    return ssl.create_default_context(cafile=str(world.tls.ca))


def client(world: IngressWorld) -> httpx.AsyncClient:
    headers = {"Host": NAME}
    return httpx.AsyncClient(base_url=world.secure_url, headers=headers, verify=trust(world), timeout=30)


async def ask(world: IngressWorld, **headers: str) -> httpx.Response:
    """One request, to an address and for a name: those below `localhost` are for browsers."""
    async with client(world) as visitor:
        return await visitor.get("/", headers=headers, extensions={"sni_hostname": NAME})


async def dial(
    world: IngressWorld, trusted: ssl.SSLContext, name: str = NAME
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(
        world.host, world.ingress.ports.https, ssl=trusted, server_hostname=name
    )


async def test_the_instance_learns_that_the_visitor_came_over_https(world: IngressWorld) -> None:
    await world.route("web", await world.serve("web", echo))
    answer = await ask(world, **{"X-Forwarded-Proto": "http"})
    assert answer.status_code == 200 and "x-forwarded-proto: https" in answer.text.lower()
    assert "x-forwarded-proto: http\r" in (await world.get("web")).text.lower()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_both_versions_are_spoken_and_http_1_1_is_agreed_on(
    world: IngressWorld, version: ssl.TLSVersion
) -> None:
    await world.route("web", await world.serve("web", echo))
    trusted = trust(world)
    trusted.minimum_version = trusted.maximum_version = version
    trusted.set_alpn_protocols(["h2", "http/1.1"])
    reader, writer = await dial(world, trusted)
    secured = writer.get_extra_info("ssl_object")
    assert (
        secured.version() == version.name.replace("_", ".") and secured.selected_alpn_protocol() == "http/1.1"
    )
    assert "ECDHE" in secured.cipher()[0] or secured.version() == "TLSv1.3"
    writer.write(GET)
    assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"
    writer.close()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
async def test_what_is_older_is_turned_away(world: IngressWorld) -> None:
    trusted = trust(world)
    trusted.minimum_version, trusted.maximum_version = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_1
    trusted.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await dial(world, trusted)


async def test_the_certificate_is_for_public_names_and_for_nothing_else(world: IngressWorld) -> None:
    trusted = trust(world)
    for name in (NAME, f"port--web--default.{DOMAIN}", DOMAIN):
        (await dial(world, trusted, name))[1].close()
    for name in ("localhost", f"a.{NAME}", "shop.example.org"):
        with pytest.raises(ssl.SSLCertVerificationError):
            await dial(world, trusted, name)
    (leaf, *_) = x509.load_pem_x509_certificates(world.tls.website()[0].read_bytes())
    assert pki.service_of(leaf) is None
    usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [usage._name for usage in usages] == ["serverAuth"]


async def test_it_opens_no_link_of_a_node(world: IngressWorld) -> None:
    certificate, key = world.tls.website()
    trusted = trust(world)
    trusted.load_cert_chain(certificate, key)
    reader, _ = await asyncio.open_connection(world.host, world.ingress.ports.nodes, ssl=trusted)
    with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
        async with asyncio.timeout(5):
            await reader.readexactly(1)


async def test_many_requests_on_one_connection(world: IngressWorld) -> None:
    await world.route("web", await world.serve("web", echo))
    async with client(world) as visitor:
        named = {"sni_hostname": NAME}
        answers = [await visitor.get(f"/{number}", extensions=named) for number in range(20)]
    assert [answer.text.split()[1] for answer in answers] == [f"/{number}" for number in range(20)]


async def test_large_bodies_in_both_directions(world: IngressWorld) -> None:
    async def repeat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        said = await reader.readexactly(length)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (length, said))
        writer.close()

    await world.route("web", await world.serve("web", repeat))
    body = bytes(range(256)) * (8 * MIB // 256)
    async with client(world) as visitor:
        answer = await visitor.post("/", content=body, extensions={"sni_hostname": NAME})
    assert answer.content == body


async def test_a_websocket(world: IngressWorld) -> None:
    async def shout(socket: websockets.ServerConnection) -> None:
        async for message in socket:
            await socket.send(str(message).upper())

    async with serve_websocket(shout, "127.0.0.1", 0) as server:
        endpoint = await world.serve("web", echo)
        world.nodes["nd-1"].ports["web"] = server.sockets[0].getsockname()[1]
        await world.nodes["nd-1"].know((world.address,))
        await world.route("web", endpoint)
        port, began_s = world.ingress.ports.https, time.monotonic()
        url = f"wss://{NAME}:{port}/x"
        async with connect(url, host="127.0.0.1", port=port, ssl=trust(world), proxy=None) as socket:
            for word in ("one", "two" * 100_000):
                await socket.send(word)
                assert await socket.recv() == word.upper()
    assert time.monotonic() - began_s < 1.0, "its end is not waited for"


async def test_an_answer_without_a_length_ends_at_once(world: IngressWorld) -> None:
    """TLS has no end of one direction: the connection itself has to end, and not only after the visitor was waited for."""

    async def briefly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
        writer.close()

    await world.route("web", await world.serve("web", briefly))
    reader, writer = await dial(world, trust(world))
    began_s = time.monotonic()
    writer.write(f"GET / HTTP/1.0\r\nHost: {NAME}\r\n\r\n".encode())
    assert (await reader.read()).endswith(b"hello") and time.monotonic() - began_s < 0.8
    writer.close()


async def test_who_is_refused_in_the_middle_of_a_body_still_reads_why(world: IngressWorld) -> None:
    reader, writer = await dial(world, trust(world))
    writer.write(f"POST / HTTP/1.1\r\nHost: nobody.{DOMAIN}\r\nContent-Length: {16 * MIB}\r\n\r\n".encode())
    for _ in range(4):
        writer.write(b"x" * MIB)
    assert (await reader.readline()).startswith(b"HTTP/1.1 404 ")
    assert (await reader.readuntil(b"</html>")).endswith(b"</html>")
    writer.close()


async def test_a_renewed_certificate_is_shown_without_a_restart(world: IngressWorld) -> None:
    trusted = trust(world)
    trusted.maximum_version = ssl.TLSVersion.TLSv1_2
    trusted.set_alpn_protocols(["http/1.1"])
    _, before = await dial(world, trusted)
    world.tls.website()
    assert world.web_tls.look()
    _, after = await dial(world, trusted)
    shown = [each.get_extra_info("ssl_object").getpeercert()["serialNumber"] for each in (before, after)]
    assert shown[0] != shown[1]
    assert after.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
    before.close()
    after.close()


async def test_a_domain_of_ones_own_is_served_though_the_certificate_does_not_name_it(
    world: IngressWorld,
) -> None:
    await world.route("web", await world.serve("web", echo), domains=("shop.example.org",))
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    reader, writer = await dial(world, anybody, "shop.example.org")
    writer.write(b"GET / HTTP/1.1\r\nHost: shop.example.org\r\nConnection: close\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_what_a_proxy_of_ours_says_of_the_visitor_counts_here_too(tls: NodeTls, tmp_path: Path) -> None:
    async with ingress_world(tls, tmp_path, trusted_proxies=[ip_network("127.0.0.0/8")]) as world:
        await world.add_node()
        await world.route("web", await world.serve("web", echo))
        assert "x-forwarded-proto: https" in (await ask(world)).text.lower()
        told = await ask(world, **{"X-Forwarded-Proto": "http", "X-Forwarded-For": "192.0.2.7"})
        assert "x-forwarded-proto: http\r" in told.text.lower()
        assert "x-forwarded-for: 192.0.2.7" in told.text.lower()


@pytest.fixture
async def hasty(tls: NodeTls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[IngressWorld]:
    monkeypatch.setattr("services.ingress.app._HANDSHAKE_WITHIN_S", 0.3)
    async with ingress_world(tls, tmp_path) as world:
        yield world


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01", GET], ids=["silent", "slow", "http"])
async def test_who_does_not_shake_hands_is_sent_away(hasty: IngressWorld, said: bytes) -> None:
    reader, writer = await asyncio.open_connection(hasty.host, hasty.ingress.ports.https)
    writer.write(said)
    try:
        async with asyncio.timeout(5):
            assert b"HTTP/1.1" not in await reader.read()
    except ConnectionError:
        pass
    writer.close()


async def test_curl_is_content(world: IngressWorld) -> None:
    await world.route("web", await world.serve("web", echo))
    curl = shutil.which("curl")
    assert curl is not None, "infra.setup installs it for the tests"
    port = world.ingress.ports.https
    process = await asyncio.create_subprocess_exec(
        curl, "--silent", "--show-error", "--cacert", str(world.tls.ca), "--resolve", f"{NAME}:{port}:127.0.0.1",
        f"https://{NAME}:{port}/curl", stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode == 0 and said.startswith(b"GET /curl HTTP/1.1")


# --- files that people give --------------------------------------------------------------------------------


def test_files_that_are_no_certificate_are_refused_with_what_to_do(tls: NodeTls, tmp_path: Path) -> None:
    certificate, key = tls.website()
    other = tmp_path / "other.key"
    save_key(other, pki.new_private_key())
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        pki.new_private_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    )
    for wrong in ((tmp_path / "none.pem", key), (certificate, other), (key, key), (certificate, locked)):
        with pytest.raises(Invalid, match="Give a certificate with its chain and the key"):
            website_context(*wrong)


def test_a_renewal_that_cannot_be_used_leaves_the_certificate_before(tls: NodeTls) -> None:
    certificate, key = tls.website()
    followed = RenewingTls(certificate, key, make=website_context)
    save_key(key, pki.new_private_key())
    assert not followed.look()
    tls.website()
    assert followed.look()
