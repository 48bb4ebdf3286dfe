"""Links between nodes, on a machine that nothing can reach from outside: its containers have names for workloads elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from infra.setup.commands import run
from tests.fixtures.fleet import Member
from tests.fixtures.platform import Platform, platforms, until
from tests.fixtures.remote_machine import remote_machine

SMALL = ("--cpu", "0.1", "--memory", "32Mi")
FAR = 'placement.constraints=["node == far"]'
HERE = 'placement.constraints=["node != far"]'
ECHO = ("sh", "-c", "while :; do nc -l -p 7000 -e cat; done")
SLEEP = ("sleep", "86400")


@pytest.fixture(scope="module")
def image_postgres(docker_engine: str) -> str:
    """The image of the template, with its client in it."""
    argv = ["docker", "image", "ls", "lattice.local/postgres", "--format", "{{.Repository}}:{{.Tag}}"]
    return run(argv).split()[0]


@pytest.fixture(scope="module")
def pair(
    image_postgres: str, image_test: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Platform, Member]]:
    folder = tmp_path_factory.mktemp("far") / "far"
    with (
        platforms() as make,
        remote_machine(make, folder, name="far", images=(image_test, image_postgres)) as far,
    ):
        yield far.platform, far.member


def say(platform: Platform, name: str, to: str, *, what: str = "hello") -> str:
    """What is answered to a line that a container of this workload says."""
    ran = platform.run("exec", name, "--", "sh", "-c", f"echo {what} | nc -w 2 {to.replace(':', ' ')}")
    return ran.out.strip()


def test_a_database_on_another_node_answers_under_its_name_with_its_certificate(
    pair: tuple[Platform, Member], image_postgres: str
) -> None:
    platform, _ = pair
    platform.ok("deploy", "postgres", "--name", "orders-db", "--set", HERE)
    platform.ok(
        "run", image_postgres, "--name", "client", "--link", "orders-db:db",
        "--set", "env.URL.from=orders-db", "--set", "env.URL.key=uri", "--set", FAR, "--", *SLEEP,
    )  # fmt: skip
    assert "db:5432 leads to orders-db" in platform.ok("show", "client")
    ask = ("sh", "-c", 'psql "$URL" -tAc "select 40 + 2"')
    assert "@orders-db:5432/app?sslmode=verify-full" in platform.ok("exec", "client", "--", "printenv", "URL")
    assert platform.ok("exec", "client", "--", *ask).strip() == "42"
    platform.ok("exec", "client", "--", "pg_isready", "-h", "db")
    platform.ok("stop", "orders-db")
    assert "nobody answers: it is stopped" in platform.ok("show", "client")
    assert platform.run("exec", "client", "--", "pg_isready", "-h", "db").code != 0
    platform.ok("start", "orders-db")
    platform.ok("exec", "client", "--", *ask)


def test_only_who_has_the_link_gets_through(pair: tuple[Platform, Member], image_test: str) -> None:
    platform, machine = pair
    platform.ok("run", image_test, "--name", "echo", "-p", "7000/tcp", *SMALL, "--set", HERE, "--", *ECHO)
    platform.ok("run", image_test, "--name", "friend", "--link", "echo", *SMALL, "--set", FAR, "--", *SLEEP)
    platform.ok("run", image_test, "--name", "stranger", *SMALL, "--set", FAR, "--", *SLEEP)
    assert say(platform, "friend", "echo:7000") == "hello"
    address = machine.containers("friend")[0]["HostConfig"]["ExtraHosts"][0].partition(":")[2]
    assert say(platform, "stranger", f"{address}:7000") == ""
    assert say(platform, "friend", f"{address}:7000") == "hello"


def test_links_hold_through_the_loss_of_the_ingress_and_of_the_agent(
    pair: tuple[Platform, Member], image_test: str
) -> None:
    """And within a node nothing else is needed at all."""
    platform, machine = pair
    platform.ok("run", image_test, "--name", "echo2", "-p", "7000/tcp", *SMALL, "--set", HERE, "--", *ECHO)
    platform.ok("run", image_test, "--name", "near", "-p", "7000/tcp", *SMALL, "--set", FAR, "--", *ECHO)
    two = ("--link", "echo2", "--set", 'links.1={"workload": "near", "port": 7000, "at": 7001}')
    platform.ok("run", image_test, "--name", "caller", *two, *SMALL, "--set", FAR, "--", *SLEEP)
    container = machine.containers("caller")[0]["Name"].lstrip("/")

    def said(to: str, port: int) -> str:
        """Asked of the Engine: the platform may be away."""
        return machine.engine.docker(
            "exec", container, "sh", "-c", f"echo hello | nc -w 2 {to} {port} || true"
        ).strip()

    assert (said("echo2", 7000), said("near", 7001)) == ("hello", "hello")
    platform.kill("ingress")
    assert said("near", 7001) == "hello"
    until(lambda: said("echo2", 7000) == "hello", timeout_s=10, what="the link over the new ingress")
    machine.kill()
    machine.start()
    until(lambda: said("near", 7001) == "hello", timeout_s=20, what="the new agent listening")
    until(lambda: said("echo2", 7000) == "hello", timeout_s=20, what="its tunnel")


def test_a_link_that_leads_nowhere_is_refused_before_anything_is_made(
    pair: tuple[Platform, Member], image_test: str
) -> None:
    platform, _ = pair
    said = platform.refused("run", image_test, "--name", "lost", "--link", "nobody", "--", *SLEEP)
    assert "there is no workload 'nobody'" in said
    assert platform.get("/v1/workloads/lost") is None
