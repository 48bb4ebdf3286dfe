"""Workloads on the running product: templates with their credentials over verified TLS, any image from real registries, logs, exec, removal.

Everything goes through the command line; what came of it is asked of the service itself and of the Engine.
"""

from __future__ import annotations

import asyncio
import io
import json
import secrets
import ssl
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from minio import Minio
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from infra.setup.commands import run
from tests.fixtures.commands import Ran
from tests.fixtures.databases import on_database
from tests.fixtures.platform import NewName, Platform, until
from tests.fixtures.registry import ImageRegistry

Json = dict[str, Any]
COUNTING = "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.2; done"


def credentials(platform: Platform, name: str) -> Json:
    return dict(platform.json("credentials", name))


# ------------------------------------------------------------------------------------------- templates


async def marker(given: Json) -> str:
    return str(await on_database(given, lambda db: db.fetchval("select text from marker")))


async def test_a_postgres_keeps_its_data_through_its_whole_life(
    platform: Platform, new_name: NewName
) -> None:
    name = new_name("db")
    platform.ok("deploy", "postgres", "--name", name, "--set", "database=orders")
    given = credentials(platform, name)
    assert "sslmode=verify-full" in given["uri"]
    write = "create table marker (text text); insert into marker values ('kept')"
    await on_database(given, lambda db: db.execute(write))

    platform.ok("stop", name)
    assert not platform.container(name)["State"]["Running"]
    with pytest.raises(OSError):
        await marker(given)
    platform.ok("start", name)
    assert await marker(credentials(platform, name)) == "kept"

    before = platform.container(name)["Id"]
    platform.ok("restart", name)
    assert platform.container(name)["Id"] != before, "a restart replaces the container"
    assert await marker(credentials(platform, name)) == "kept"

    platform.ok("rm", name, "--yes")
    assert platform.containers(name) == []
    said = platform.refused("deploy", "postgres", "--name", name, "--set", "database=orders")
    assert "--adopt" in said and f"lattice volume rm {name}-data" in said, "both choices are named"
    assert platform.containers(name) == []

    platform.ok("deploy", "postgres", "--name", name, "--set", "database=orders", "--adopt")
    again = credentials(platform, name)
    assert again["password"] == given["password"]
    assert await marker(again) == "kept"


def test_what_is_to_run_once_is_done_when_it_has_ended(
    platform: Platform, new_name: NewName, image_test: str
) -> None:
    once = ("--restart", "never", "--", "sh", "-c")
    name = new_name("once")
    platform.ok("run", image_test, "--name", name, "--timeout", "30s", *once, "echo done")
    shown = platform.json("show", name)
    assert shown["state"] == "stopped" and shown["instances"][0]["exit_code"] == 0
    failing = new_name("once")
    said = platform.refused("run", image_test, "--name", failing, "--timeout", "30s", *once, "exit 7")
    assert "exited with 7" in said and platform.json("show", failing)["state"] == "failed"


async def test_a_postgres_is_reached_only_with_its_ca_and_its_password(
    platform: Platform, new_name: NewName
) -> None:
    name = new_name("db")
    platform.ok("deploy", "postgres", "--name", name)
    given = credentials(platform, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        plain = given["uri"].partition("?")[0]
        await asyncpg.connect(plain, ssl=ssl.create_default_context(), timeout=10)
    wrong = {**given, "uri": given["uri"].replace(given["password"], "wrong")}
    with pytest.raises(asyncpg.InvalidPasswordError):
        await marker(wrong)


async def test_a_redis_answers_over_tls(platform: Platform, new_name: NewName) -> None:
    name = new_name("cache")
    platform.ok("deploy", "redis", "--name", name)
    given = credentials(platform, name)
    assert given["uri"].startswith("rediss://")
    async with Redis.from_url(given["uri"], ssl_ca_data=given["ca"], ssl_check_hostname=True) as client:
        await client.set("colour", "blue")
        assert await client.get("colour") == b"blue"
    checker = given["uri"].replace(f"default:{given['password']}@", "health:whatever@")
    async with Redis.from_url(checker, ssl_ca_data=given["ca"], ssl_check_hostname=True) as client:
        assert await client.ping()
        with pytest.raises(NoPermissionError):
            await client.get("colour")


async def test_an_object_store_takes_and_gives_objects(platform: Platform, new_name: NewName) -> None:
    name = new_name("files")
    platform.ok("deploy", "minio", "--name", name)
    given = credentials(platform, name)
    client = Minio(
        f"{given['host']}:{given['port']}",
        access_key=given["username"],
        secret_key=given["password"],
        secure=given["tls"],
    )
    content = secrets.token_bytes(100_000)
    await asyncio.to_thread(client.make_bucket, "photos")
    await asyncio.to_thread(client.put_object, "photos", "a.bin", io.BytesIO(content), len(content))
    answer = await asyncio.to_thread(client.get_object, "photos", "a.bin")
    assert answer.read() == content
    answer.close()


def test_a_web_site_serves_the_page_that_was_given(
    platform: Platform, new_name: NewName, tmp_path: Path
) -> None:
    name, page = new_name("site"), tmp_path / "index.html"
    page.write_text("<h1>Für alle: 'quoted' & $HOME</h1>")
    platform.ok("deploy", "web", "--name", name, "--set", f"index=@{page}")
    url = platform.json("show", name)["routes"][0]["url"]
    assert httpx.get(url).text == page.read_text()


# -------------------------------------------------------------------------------------- images, registries


def digest_of(platform: Platform, name: str) -> str:
    return str(platform.json("show", name)["image"])


def test_a_tag_that_moves_changes_nothing_that_runs(
    platform: Platform, new_name: NewName, registry: ImageRegistry, image_test: str
) -> None:
    name = new_name("api")
    image = registry.push(image_test, f"acme/{name}:1")
    platform.ok("run", image, "--name", name, "--", "sleep", "600")
    pinned, content = digest_of(platform, name), platform.container(name)["Image"]
    assert pinned.startswith(f"{registry.address}/acme/{name}@sha256:")

    _move_tag(registry, image, image_test)
    platform.ok("restart", name)
    assert digest_of(platform, name) == pinned
    assert platform.container(name)["Image"] == content

    # Who deploys now gets the new content; what a registry said is remembered for a second.
    def newer() -> bool:
        other = new_name("api")
        platform.ok("run", image, "--name", other, "--cpu", "0.05", "--", "sleep", "600")
        return digest_of(platform, other) != pinned

    until(newer, what="a deploy of the tag that moved being of its new content")


def _move_tag(registry: ImageRegistry, image: str, base: str) -> None:
    """Push other content under the same name."""
    made = f"lattice-test-moved:{secrets.token_hex(4)}"
    container = run(["docker", "create", base, "true"]).strip()
    try:
        run(["docker", "commit", "--change", f"LABEL moved={made}", container, made])
        assert registry.push(made, image.removeprefix(f"{registry.address}/")) == image
        run(["docker", "image", "rm", made])
    finally:
        run(["docker", "rm", container])


def test_a_private_image_needs_the_right_login(
    platform: Platform, new_name: NewName, private_registry: ImageRegistry, image_test: str
) -> None:
    name, login = new_name("closed"), f"login-{secrets.token_hex(3)}"
    image = private_registry.push(image_test, f"acme/{name}:1")
    command = ("run", image, "--name", name)
    assert "it wants a user and password" in platform.refused(*command, "--", "sleep", "600")
    assert "lattice secret set NAME" in platform.refused(*command, "--", "sleep", "600")

    said = platform.refused(*command, "--pull-secret", login, "--", "sleep", "600")
    assert f"no secret '{login}'" in said
    platform.ok("secret", "set", login, stdin="lattice:wrong")
    said = platform.refused(*command, "--pull-secret", login, "--", "sleep", "600")
    assert "wrong user or password" in said
    assert platform.containers(name) == []

    platform.ok("secret", "set", login, stdin=f"{private_registry.username}:{private_registry.password}")
    platform.ok(*command, "--pull-secret", login, "--", "sleep", "600")
    assert platform.container(name)["State"]["Running"]
    assert private_registry.password not in json.dumps(platform.container(name))


# ---------------------------------------------------------------------------------- inside a workload


@pytest.fixture
def counter(platform: Platform, new_name: NewName, image_test: str) -> str:
    """A workload that writes `line 1`, `line 2`, …"""
    name = new_name("counter")
    platform.ok("run", image_test, "--name", name, "--", "sh", "-c", COUNTING)
    return name


def messages(text: str) -> list[str]:
    return [json.loads(line)["message"] for line in text.splitlines()]


def test_logs_are_the_newest_lines_in_order(platform: Platform, counter: str) -> None:
    def ten() -> list[str]:
        return messages(platform.ok("-o", "json", "logs", counter, "-n", "10"))

    lines = until(lambda: ten() if len(ten()) == 10 else [])
    numbers = [int(line.removeprefix("line ")) for line in lines]
    assert numbers == list(range(numbers[0], numbers[0] + 10))
    found = messages(platform.ok("-o", "json", "logs", counter, "--grep", "line 7", "-n", "all"))
    assert found[0] == "line 7" and all("line 7" in line for line in found)


def test_logs_follow_what_comes(platform: Platform, counter: str) -> None:
    following = platform.start("-o", "json", "logs", counter, "-n", "1", "-f")
    assert following.stdout is not None
    try:
        seen = messages("".join(following.stdout.readline() for _ in range(8)))
    finally:
        following.terminate()
        following.communicate(timeout=20)
    numbers = [int(line.removeprefix("line ")) for line in seen]
    assert numbers == list(range(numbers[0], numbers[0] + 8)), "none is missing, none comes twice"


def test_exec_gives_exit_code_input_and_arguments_as_they_are(platform: Platform, counter: str) -> None:
    assert platform.run("exec", counter, "--", "sh", "-c", "exit 7").code == 7
    assert platform.ok("exec", counter, "--", "printf", "%s|", "a b", "$(id)", ";", "*") == "a b|$(id)|;|*|"
    assert platform.ok("exec", "-i", counter, "--", "cat", stdin="typed\n") == "typed\n"
    failed = platform.run("exec", counter, "--", "sh", "-c", "echo out; echo err >&2")
    assert (failed.out, failed.err) == ("out\n", "err\n")


# -------------------------------------------------------------------------------- what is on the Engine


def test_the_container_is_locked_in_as_promised(
    platform: Platform, new_name: NewName, image_test: str
) -> None:
    name = new_name("locked")
    limits = ("--cpu", "0.2", "--memory", "48Mi", "--set", "resources.pids=33", "--volume", "data:/data")
    platform.ok("run", image_test, "--name", name, "-p", "8080", *limits, "--", "httpd", "-f", "-p", "8080")
    shown, container = platform.json("show", name), platform.container(name)
    host = container["HostConfig"]
    assert (host["CapDrop"], host["SecurityOpt"], host["Privileged"]) == (
        ["ALL"], ["no-new-privileges"], False,
    )  # fmt: skip
    assert "SYS_ADMIN" not in host["CapAdd"] and "NET_RAW" not in host["CapAdd"]
    assert (host["Memory"], host["MemorySwap"]) == (48 * 2**20, 48 * 2**20)
    assert (host["NanoCpus"], host["PidsLimit"]) == (200_000_000, 33)
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}
    assert host["RestartPolicy"]["Name"] == "no", "the agent restarts, not the Engine"
    assert {each["HostIp"] for each in host["PortBindings"]["8080/tcp"]} == {"127.0.0.1"}
    assert list(container["NetworkSettings"]["Networks"]) == [f"lattice-{platform.cluster_id}-default"]
    assert [mount["Type"] for mount in container["Mounts"]] == ["volume"]
    _check_labels(platform, shown, container)


def _check_labels(platform: Platform, shown: Json, container: Json) -> None:
    instance = shown["instances"][0]
    labels = container["Config"]["Labels"]
    expected = {
        "lattice.cluster": platform.cluster_id,
        "lattice.project": "default",
        "lattice.workload": shown["id"],
        "lattice.instance": instance["id"],
        "lattice.epoch": str(instance["epoch"]),
    }
    assert expected.items() <= labels.items()
    volume = json.loads(platform.docker("volume", "inspect", container["Mounts"][0]["Name"]))[0]
    assert volume["Labels"]["lattice.cluster"] == platform.cluster_id
    assert volume["Labels"]["lattice.workload"] == shown["id"]
    network = json.loads(platform.docker("network", "inspect", container["HostConfig"]["NetworkMode"]))[0]
    assert (network["Driver"], network["Labels"]["lattice.project"]) == ("bridge", "default")


def asks(platform: Platform, project: str, who: str, target: str) -> Ran:
    """What a workload hears from port 8080 of another one."""
    request = "GET /index.html HTTP/1.0\r\n\r\n"
    command = ("exec", "-i", who, "--", "nc", "-w", "3", target, "8080")
    return platform.run("--project", project, *command, stdin=request)


def test_projects_do_not_reach_each_other(platform: Platform, new_name: NewName, image_test: str) -> None:
    project, server, neighbour = f"shop-{secrets.token_hex(3)}", new_name("server"), new_name("near")
    platform.ok("project", "create", project)
    serve = ("-p", "8080", "--", "sh", "-c", "echo hello > /tmp/index.html; httpd -f -p 8080 -h /tmp")
    platform.ok("run", image_test, "--name", server, *serve)
    platform.ok("run", image_test, "--name", neighbour, "--", "sleep", "600")
    platform.ok("--project", project, "run", image_test, "--name", "stranger", "--", "sleep", "600")
    address = next(iter(platform.container(server)["NetworkSettings"]["Networks"].values()))["IPAddress"]
    try:
        for target in (address, server):
            assert "hello" in asks(platform, "default", neighbour, target).out
            crossed = asks(platform, project, "stranger", target)
            # 1 is what nc says when nobody answers; a probe that broke would end otherwise.
            assert (crossed.code, crossed.out) == (1, "")
    finally:
        platform.ok("--project", project, "rm", "stranger", "--yes")


def test_removing_with_volumes_removes_the_data(
    platform: Platform, new_name: NewName, image_test: str
) -> None:
    name = new_name("gone")
    platform.ok("run", image_test, "--name", name, "--volume", "data:/data", "--", "sleep", "600")
    volume = platform.container(name)["Mounts"][0]["Name"]
    platform.ok("stop", name)
    assert platform.container(name)["State"]["Status"] == "exited"
    platform.ok("rm", name, "--volumes", "--yes")
    assert platform.containers(name) == []
    until(lambda: volume not in platform.docker("volume", "ls", "--quiet").split(), what=volume)
    assert name not in platform.ok("volume", "ls") and name not in platform.ok("ps")
    assert f"no workload '{name}'" in platform.refused("show", name)
