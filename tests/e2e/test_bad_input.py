"""Bad input on the running product: a clear message, the right exit code, and nothing changed."""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lattice import pki
from lattice.join_token import read_join_token
from tests.fixtures.engine import Engine, running_engine
from tests.fixtures.platform import Platform, platforms, until
from tests.fixtures.registry import ImageRegistry

SEEN_WITHIN_S = 15.0
LISTS = ("workloads?project=*", "volumes?project=*", "secrets?project=*", "nodes", "users", "projects")
# How busy a node is does not count, nor that it renewed its certificate.
CHANGES_BY_ITSELF = ("usage", "last_seen", "version", "certificate_expires_at")


def everything(platform: Platform) -> list[Any]:
    """What people could have changed."""
    with platform.rest() as rest:
        listed = [rest.get(f"/v1/{name}").json()["items"] for name in LISTS]
    containers = sorted(each["Id"] for each in platform.containers())
    return [[_steady(item) for item in items] for items in listed] + [containers]


def _steady(item: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key not in CHANGES_BY_ITSELF}


@contextmanager
def nothing_changes(platform: Platform) -> Iterator[None]:
    before = everything(platform)
    yield
    assert everything(platform) == before


@pytest.fixture(scope="module")
def taken(platform: Platform, image_test: str) -> Iterator[str]:
    """The name of a workload that is there already."""
    name = f"taken-{secrets.token_hex(3)}"
    platform.ok("run", image_test, "--name", name, "--volume", "data:/data", "--", "sleep", "86400")
    yield name
    platform.ok("rm", name, "--volumes", "--yes")


REFUSED: dict[str, tuple[list[str], int, str]] = {
    "registry away": (["run", "127.0.0.1:1/acme/api:1", "--name", "api"], 1, "its registry did not answer"),
    "image with spaces": (["run", "no such image", "--name", "api"], 1, "image"),
    "name with capitals": (["run", "{image}", "--name", "Api"], 1, "name: use 2 to 28 lower-case letters"),
    "template unknown": (["deploy", "mongo", "--name", "api"], 1, "template"),
    "value unknown": (["deploy", "postgres", "--name", "api", "--set", "colour=red"], 2, "colour"),
    "value wrong": (["deploy", "postgres", "--name", "api", "--set", "version=newest"], 1, "version"),
    "replicas beyond the template": (["deploy", "postgres", "--name", "api", "--set", "replicas=3"], 1, "replicas"),
    "too many cores": (["run", "{image}", "--name", "api", "--cpu", "512"], 1, "cores, 512 wanted"),
    "too much memory": (["run", "{image}", "--name", "api", "--memory", "64Ti"], 1, "64 TiB wanted"),
    "size unreadable": (["run", "{image}", "--name", "api", "--memory", "much"], 1, "memory"),
    "secret unknown": (["run", "{image}", "--name", "api", "--secret", "KEY=none"], 1, "lattice secret set none"),
    "port of the host": (["run", "{image}", "--name", "api", "-p", "80:8080"], 2, "80:8080"),
    "a path of the host": (["run", "{image}", "--name", "api", "--volume", "/etc:/data"], 2, "path of the host"),
    "project unknown": (["--project", "nowhere", "run", "{image}", "--name", "api"], 1, "nowhere"),
    "workload unknown": (["restart", "nobody"], 1, "no workload 'nobody'"),
    "volume unknown": (["volume", "rm", "nothing", "--yes"], 1, "no volume 'nothing'"),
    "volume in use": (["volume", "rm", "{taken}-data", "--yes"], 1, "in use"),
    "node unknown": (["node", "approve", "nobody"], 1, "nobody"),
    "no such option": (["run", "{image}", "--name", "api", "--colour", "red"], 2, "--colour"),
    "time unreadable": (["run", "{image}", "--name", "api", "--timeout", "soon"], 2, "soon"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_command_is_explained(platform: Platform, image_test: str, taken: str, case: str) -> None:
    arguments, code, words = REFUSED[case]
    written = [word.replace("{image}", image_test).replace("{taken}", taken) for word in arguments]
    with nothing_changes(platform):
        said = platform.refused(*written, code=code)
    assert words in said, said


def test_an_image_that_its_registry_does_not_have(platform: Platform, registry: ImageRegistry) -> None:
    with nothing_changes(platform):
        said = platform.refused("run", f"{registry.address}/acme/none:7", "--name", "api")
    assert f"{registry.address}/acme/none:7 cannot be used: its registry does not have it" in said
    assert "Check the name and the tag." in said


def test_a_name_that_is_taken(platform: Platform, image_test: str, taken: str) -> None:
    with nothing_changes(platform):
        said = platform.refused("run", image_test, "--name", taken, "--", "sleep", "600")
    assert taken in said and "already" in said, said


@pytest.mark.parametrize(
    ("field", "words"),
    [("colour: red", "colour"), ("ports: [{name: http, port: 99999}]", "ports.0.port"), ("links: [db]", "links")],
)  # fmt: skip
def test_a_file_with_a_wrong_field(platform: Platform, image_test: str, field: str, words: str) -> None:
    with nothing_changes(platform):
        said = platform.refused("apply", "-f", "-", stdin=f"name: api\nimage: {image_test}\n{field}\n")
    assert words in said, said


def test_a_file_that_is_no_yaml(platform: Platform) -> None:
    with nothing_changes(platform):
        assert "YAML" in platform.refused("apply", "-f", "-", stdin="name: [api\n", code=1)


def test_a_place_that_no_node_offers_is_told_while_it_waits(platform: Platform, image_test: str) -> None:
    name = f"mars-{secrets.token_hex(3)}"
    where = ("--set", 'placement.constraints=["label.zone == mars"]')
    said = platform.refused(
        "run", image_test, "--name", name, *where, "--timeout", "3s", "--", "sleep", "9", code=3
    )
    node = platform.json("node", "ls")["items"][0]["name"]
    assert node in said and "zone" in said and "lattice op wait" in said, said
    placement = platform.json("show", name)["placement"][0]
    assert placement["node"] is None and placement["rejected"][0]["node"] == node
    platform.ok("rm", name, "--yes")


# ------------------------------------------------------------------------------------ who is asking


def test_a_wrong_token_of_the_api(platform: Platform) -> None:
    said = platform.refused("ps", LATTICE_TOKEN="lat_wrong")
    assert "lattice login" in said, said


def test_a_wrong_ca(platform: Platform, tmp_path: Path) -> None:
    other = pki.create_authority(name="another", now=datetime.now(UTC)).authority
    (tmp_path / "ca.pem").write_bytes(other.trust_pem)
    said = platform.refused("ps", LATTICE_CA=str(tmp_path / "ca.pem"))
    assert "is not trusted" in said and "LATTICE_CA" in said, said


def test_an_address_where_nobody_is(platform: Platform) -> None:
    said = platform.refused("ps", LATTICE_URL="https://127.0.0.1:1", LATTICE_DATA_DIR="")
    assert "Cannot reach the platform at https://127.0.0.1:1" in said, said


@pytest.fixture
def join(platform: Platform, tmp_path: Path) -> Callable[[str], str]:
    """What `lattice node join TOKEN` says where it is refused."""

    def refused(token: str) -> str:
        folders = {"LATTICE_AGENT_RUNTIME_DIR": str(tmp_path / "run")}
        ran = platform.run(
            "node", "join", token, "--data-dir", str(tmp_path / "agent"), "--name", "late", variables=folders
        )
        assert ran.code == 1, ran
        return ran.err + ran.out

    return refused


def new_token(platform: Platform, *options: str) -> str:
    return platform.ok("-o", "name", "node", "token", *options).strip()


def test_a_join_token_that_is_not_ours(platform: Platform, join: Callable[[str], str]) -> None:
    real = read_join_token(new_token(platform))
    with nothing_changes(platform):
        assert "is not a whole join token" in join("lattice-join.nonsense")
        assert "is not known" in join(replace(real, secret="a" * len(real.secret)).text)
        assert "shows another CA" in join(replace(real, ca_fingerprint="0" * 64).text)


def test_a_join_token_that_is_too_old(platform: Platform, join: Callable[[str], str]) -> None:
    token = new_token(platform, "--ttl", "1s")
    time.sleep(1.1)  # its life
    with nothing_changes(platform):
        said = join(token)
    assert "This join token expired at" in said and "lattice node token" in said, said


def test_a_join_token_that_was_used(platform: Platform, join: Callable[[str], str]) -> None:
    token = new_token(platform)
    first = platform.start("node", "join", token, "--data-dir", str(platform.home / "used"), "--name", "used")
    try:
        until(lambda: "used" in platform.ok("node", "ls"), what="the machine `used` asking")
    finally:
        first.terminate()
        first.communicate(timeout=20)
    try:
        with nothing_changes(platform):
            said = join(token)
        assert "This join token was used at" in said and "lattice node token" in said, said
    finally:
        platform.ok("node", "reject", "used")
        platform.ok("node", "rm", "used", "--yes")


# -------------------------------------------------------------------- a Docker that is dead, or full


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, image_test: str) -> Iterator[Engine]:
    """An Engine of these tests alone, with a small disk."""
    with running_engine(tmp_path_factory.mktemp("engine"), image_test, disk_mib=128) as engine:
        yield engine


@pytest.fixture(scope="module")
def frail(engine: Engine) -> Iterator[Platform]:
    """A platform on that Engine, whose agent tells every second how it is."""
    with platforms() as make:
        platform = make(LATTICE_DOCKER_URL=engine.url, LATTICE_AGENT_HEARTBEAT_S="1")
        platform.up()
        yield platform


def test_a_dead_docker_is_named_and_a_deploy_waits_for_it(
    frail: Platform, engine: Engine, image_test: str
) -> None:
    engine.end(signal.SIGTERM)
    try:

        def reason() -> str:
            return str(frail.json("node", "ls")["items"][0]["reason"])

        until(lambda: "Docker Engine cannot be used" in reason(), timeout_s=SEEN_WITHIN_S, what="the reason")
        waits = ("run", image_test, "--name", "waits", "--timeout", "3s", "--", "sleep", "86400")
        said = frail.refused(*waits, code=3)
        assert "Docker" in said and "lattice op wait" in said, said
    finally:
        engine.start()
    frail.until_state("waits", "running")
    frail.ok("rm", "waits", "--yes")


def test_a_full_disk_is_named_and_the_deploy_goes_on_when_there_is_room(
    frail: Platform, engine: Engine, image_test: str
) -> None:
    frail.ok("run", image_test, "--name", "before", "--", "sleep", "86400")
    before = frail.lives()
    filler = engine.data / "filler"
    engine.inside("dd", "if=/dev/zero", f"of={filler}.1", "bs=1M", "count=100000", check=False)
    engine.inside("dd", "if=/dev/zero", f"of={filler}.2", "bs=512", "count=100000", check=False)
    try:
        waits = ("run", image_test, "--name", "full", "--timeout", "5s", "--", "sleep", "86400")
        ran = frail.run(*waits)
        assert ran.code in (1, 3) and "The node's disk is full" in ran.err, ran.err
        assert frail.lives() == before, "what runs is not touched"
    finally:
        engine.inside("rm", "-f", f"{filler}.1", f"{filler}.2")
    if ran.code == 1:
        frail.ok("restart", "full")
    frail.until_state("full", "running")
    for name in ("full", "before"):
        frail.ok("rm", name, "--yes")
