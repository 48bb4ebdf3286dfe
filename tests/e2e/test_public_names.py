"""Public names on the running product: from a visitor through the ingress and the tunnel to a container, and back."""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from infra.setup.commands import run
from tests.fixtures.load import under_load
from tests.fixtures.platform import Json, NewName, Platform, platforms, until

SERVE = ("sh", "-c", "echo $V > /tmp/index.html; exec httpd -f -p 8080 -h /tmp")
HEALTH = ("--health-http", "8080/index.html")


def serve(platform: Platform, image: str, name: str, *options: str) -> str:
    """The public URL of a web server that answers with its version."""
    platform.ok(
        "run", image, "--name", name, "-p", "8080", "--public", "-e", "V=1", *HEALTH, *options, "--", *SERVE
    )
    return public_url(platform.json("show", name))


def public_url(workload: Json) -> str:
    (url,) = [route["url"] for route in workload["routes"] if route["public"]]
    return str(url)


def by_address(url: str) -> tuple[str, str]:
    """The URL by address, and the name that is asked for: names below `localhost` are for browsers, the C library need not know them."""
    parts = urlsplit(url)
    return f"http://127.0.0.1:{parts.port}/", parts.netloc


def get(url: str) -> httpx.Response:
    address, host = by_address(url)
    return httpx.get(address, headers={"Host": host}, timeout=10)


def answers(url: str, text: str) -> bool:
    answer = get(url)
    return answer.status_code == 200 and answer.text.strip() == text


def test_a_workload_gets_a_public_name_that_follows_its_life(
    platform: Platform, new_name: NewName, image_test: str
) -> None:
    name = new_name("web")
    url = serve(platform, image_test, name)
    assert urlsplit(url).hostname == f"{name}--default.apps.localhost"
    until(lambda: answers(url, "1"), what="the answer")
    assert f"Public URL: {url}" in " ".join(platform.ok("show", name).split())
    assert url in platform.ok("routes", "ls")
    platform.ok("stop", name)
    until(lambda: get(url).status_code == 503, what="the page about a stopped workload")
    assert f"{name} is not ready" in get(url).text and "It is stopped." in get(url).text
    platform.ok("start", name)
    until(lambda: answers(url, "1"), what="the answer after the start")
    platform.ok("rm", name, "--yes")
    until(lambda: get(url).status_code == 404, what="the name being gone")


def test_a_public_name_answers_over_https_to_whoever_has_the_platforms_ca(
    platform: Platform, new_name: NewName, image_test: str
) -> None:
    name = new_name("web")
    serve(platform, image_test, name)
    (route,) = [route for route in platform.json("show", name)["routes"] if route["public"]]
    parts = urlsplit(route["secure_url"])
    assert (parts.scheme, parts.hostname) == ("https", f"{name}--default.apps.localhost")
    assert f"With HTTPS: {route['secure_url']} (its CA: lattice ca)" in " ".join(
        platform.ok("show", name).split()
    )
    assert route["secure_url"] in platform.ok("routes", "ls")
    trusted = ssl.create_default_context(cadata=platform.ok("ca"))
    with httpx.Client(verify=trusted, headers={"Host": parts.netloc}, timeout=10) as visitor:
        answer = visitor.get(f"https://127.0.0.1:{parts.port}/", extensions={"sni_hostname": parts.hostname})
    assert (answer.status_code, answer.text.strip()) == (200, "1")


def test_what_is_private_has_no_public_name(platform: Platform, new_name: NewName, image_test: str) -> None:
    name = new_name("web")
    url = serve(platform, image_test, new_name("other"))
    platform.ok("run", image_test, "--name", name, "-p", "8080", "-e", "V=1", *HEALTH, "--", *SERVE)
    routes = platform.json("show", name)["routes"]
    assert routes and not any(route["public"] for route in routes)
    assert (
        get(url.replace(urlsplit(url).hostname or "", f"{name}--default.apps.localhost")).status_code == 404
    )


def test_an_update_under_load_costs_no_request(
    platform: Platform, new_name: NewName, image_test: str
) -> None:
    name = new_name("web")
    url = serve(platform, image_test, name, "--replicas", "2")
    until(lambda: answers(url, "1"), what="the answer")
    address, host = by_address(url)
    with under_load(address, host=host) as load:
        platform.ok("update", name, "--set", "env.V=2")
        until(lambda: answers(url, "2"), what="the new version")
    assert load.failures == [] and set(load.answers) == {"1", "2"}


@pytest.fixture(scope="module")
def own_platform(docker_engine: str, image_test: str) -> Iterator[Platform]:
    """One whose parts may be killed, with a public web server."""
    with platforms() as make:
        platform = make()
        platform.up()
        serve(platform, image_test, "web")
        yield platform


@pytest.mark.parametrize("part", ["ingress", "agent", "registry", "nats"])
def test_after_a_kill_the_name_answers_again(own_platform: Platform, image_test: str, part: str) -> None:
    """Where the control plane is killed it answers all the time."""
    url = public_url(own_platform.json("show", "web"))
    until(lambda: answers(url, "1"), what="the answer before")
    address, host = by_address(url)
    with under_load(address, host=host) as load:
        pid = own_platform.kill(part)
        own_platform.until_replaced(part, pid)
        until(lambda: answers(url, "1"), timeout_s=10, what="the answer after it")
    if part in ("registry", "nats"):
        assert load.failures == []


class Recorder:
    """A place on the way: passes a connection on, and keeps what it saw."""

    def __init__(self, to_port: int) -> None:
        self._to_port, self.seen = to_port, bytearray()
        self._server: asyncio.Server | None = None

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
        await asyncio.gather(self._pump(reader, to_writer), self._pump(to_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(2**16):
                self.seen += data
                writer.write(data)
        except ConnectionError:
            pass
        writer.close()

    async def __aenter__(self) -> int:
        """The port of this place."""
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()


async def client(image: str, ca: Path, *argv: str) -> str:
    """What a program of an image says, on this machine's own network."""
    docker = ["docker", "run", "--rm", "--network", "host", "--volume", f"{ca}:/ca.pem:ro", image, *argv]
    return await asyncio.to_thread(run, docker)


@pytest.mark.parametrize(
    ("template", "ask"),
    [
        ("postgres", ("psql", "{uri}&sslrootcert=/ca.pem", "-tAc", "select 'MARKER' || 'MARKER'")),
        ("redis", ("redis-cli", "--cacert", "/ca.pem", "-u", "{uri}", "echo", "MARKERMARKER")),
    ],
)
async def test_a_database_is_reached_at_its_public_address_and_nobody_reads_along(
    platform: Platform, new_name: NewName, tmp_path: Path, template: str, ask: tuple[str, ...]
) -> None:
    name, marker = new_name("db"), secrets.token_hex(8)
    platform.ok("deploy", template, "--name", name, "--public")
    shown, found = platform.json("show", name), platform.json("credentials", name)
    (route,) = [each for each in shown["routes"] if each["public"]]
    assert (route["host"], route["port"], route["plaintext"]) == (found["host"], found["port"], False)
    ca = tmp_path / "ca.pem"
    ca.write_text(found["ca"])
    recorder = Recorder(found["port"])
    async with recorder as port:
        uri = found["uri"].replace(f":{found['port']}/", f":{port}/")
        argv = [word.replace("{uri}", uri).replace("MARKER", marker) for word in ask]
        said = await client(str(shown["image"]), ca, *argv)
    assert marker * 2 in said
    assert len(recorder.seen) > 1000 and marker.encode() not in recorder.seen
    assert found["password"].encode() not in recorder.seen


def test_a_workload_with_its_own_certificate_is_found_by_its_name_and_passed_on_unread(
    platform: Platform, new_name: NewName
) -> None:
    name = new_name("cache")
    port = '{"name": "redis", "port": 6379, "protocol": "tls", "public": true}'
    platform.ok("deploy", "redis", "--name", name, "--set", f"ports=[{port}]")
    shown, found = platform.json("show", name), platform.json("credentials", name)
    (route,) = [each for each in shown["routes"] if each["public"]]
    host = f"{name}--default.apps.localhost"
    assert route["url"] == f"tls://{host}:{route['port']}" and (found["host"], found["port"]) == (
        host,
        route["port"],
    )
    trusted = ssl.create_default_context(cadata=found["ca"])
    with (
        socket.create_connection(("127.0.0.1", route["port"]), timeout=10) as connection,
        trusted.wrap_socket(connection, server_hostname=host) as secured,
    ):
        secured.sendall(f"AUTH {found['password']}\r\nPING\r\n".encode())
        said = b""
        while said.count(b"\r\n") < 2 and (more := secured.recv(100)):
            said += more
    assert said == b"+OK\r\n+PONG\r\n"
    with (
        socket.create_connection(("127.0.0.1", route["port"]), timeout=10) as connection,
        pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"),
    ):
        trusted.wrap_socket(connection, server_hostname="nobody--default.apps.localhost")


def test_a_readable_port_is_published_only_where_somebody_says_so(
    platform: Platform, new_name: NewName, image_test: str
) -> None:
    name = new_name("plain")
    options = ("--name", name, "-p", "8080/tcp", "--public", "-e", "V=1")
    said = platform.refused("run", image_test, *options, "--", *SERVE)
    assert "nothing says that it serves TLS" in said
    platform.ok("run", image_test, *options, "--set", "ports.0.plaintext=true", "--", *SERVE)
    assert "publicly, not encrypted" in platform.ok("routes", "ls")
    (route,) = [each for each in platform.json("show", name)["routes"] if each["public"]]
    assert httpx.get(f"http://{route['host']}:{route['port']}/", timeout=10).text.strip() == "1"


def test_a_guard_asks_and_operators_close_what_is_abused(
    platform: Platform, new_name: NewName, image_test: str
) -> None:
    name, login = new_name("web"), f"login-{secrets.token_hex(3)}"
    platform.ok("secret", "set", login, stdin="ann:s3cret")
    url = serve(platform, image_test, name, "--set", f"ports.0.guard.basic_auth={login}")
    until(lambda: get(url).status_code == 401, what="the question")
    address, host = by_address(url)
    right = httpx.get(address, headers={"Host": host}, auth=("ann", "s3cret"), timeout=10)
    assert (right.status_code, right.text.strip()) == (200, "1")
    before = platform.container(name)["Id"]
    platform.ok("update", name, "--set", "ports.0.guard.basic_auth=null")
    until(lambda: answers(url, "1"), what="the open name")
    assert platform.container(name)["Id"] == before
    label = f"{name}--default"
    assert "is closed: it pretends to be a bank." in platform.ok(
        "routes", "take-down", label, "--why", "it pretends to be a bank"
    )
    until(lambda: get(url).status_code == 403, what="the closed name")
    assert "it pretends to be a bank" in get(url).text
    assert "closed by the operators" in platform.ok("routes", "ls")
    platform.ok("routes", "restore", label)
    until(lambda: answers(url, "1"), what="the name that is open again")
    platform.ok("secret", "rm", login)
