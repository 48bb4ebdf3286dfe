"""The platform as containers of `compose.yaml`, started once for all of these tests and used as people would.

The tests build on each other in the order of this file: the workload that one deploys has to survive what the later ones do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from infra.images.recipes import POSTGRES, Recipe
from infra.setup.commands import CommandFailed
from tests.fixtures.compose import ComposeStack

# Building the image of this tree and starting nine containers takes three minutes on two busy processors.
pytestmark = pytest.mark.timeout(900)

ONE_SHOT = {"init", "databases"}
WORKLOAD = {
    "name": "speaker",
    "kind": "service",
    "command": ["sh", "-c", "echo ready to serve; sleep 100000"],
    "ports": [{"name": "web", "port": 8080, "protocol": "http"}],
}
_ASK_DATABASE = """
import asyncio, asyncpg, sys
async def ask():
    try:
        await asyncpg.connect(sys.argv[1], password=sys.argv[2] if len(sys.argv) > 2 else None)
        print("let in")
    except asyncpg.PostgresError as error:
        print(error)
asyncio.run(ask())
"""


@pytest.fixture(scope="module")
def stack(
    platform_image: str, image_of: Callable[[Recipe], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ComposeStack]:
    """A platform that is up, from the image of this very tree."""
    stack = ComposeStack(platform_image, image_of(POSTGRES), tmp_path_factory.mktemp("compose"))
    try:
        stack.up()
        yield stack
    finally:
        stack.remove()


@pytest.fixture(scope="module")
def workload(stack: ComposeStack, image_test: str) -> dict[str, Any]:
    """A workload that was deployed and runs, as it was then."""
    stack.until(lambda: node_states(stack) == ["ready"], wanted="this machine is a ready node")
    stack.post("/v1/workloads", {**WORKLOAD, "image": image_test})
    return stack.until(lambda: running(stack), wanted="the workload runs")


def node_states(stack: ComposeStack) -> list[str]:
    return [node["state"] for node in stack.get("/v1/nodes")["items"]]


def running(stack: ComposeStack) -> dict[str, Any] | None:
    """The workload once it and its instance run."""
    found: dict[str, Any] = stack.get("/v1/workloads/speaker")
    states = [found["state"], *(instance["state"] for instance in found["instances"])]
    return found if states == ["running", "running"] else None


def unchanged(stack: ComposeStack, workload: dict[str, Any]) -> bool:
    """Whether the platform knows the same instance of the same revision, running."""
    found = running(stack)
    return found is not None and identity(found) == identity(workload)


def identity(workload: dict[str, Any]) -> tuple[str, str, str]:
    return workload["id"], json.dumps(workload["revision"]), workload["instances"][0]["id"]


def container_start(stack: ComposeStack) -> tuple[str, str]:
    """Which container the workload runs in, and since when."""
    (container,) = stack.workload_containers()
    assert container["State"]["Running"]
    return container["Id"], container["State"]["StartedAt"]


def test_every_part_is_healthy_and_what_prepares_has_ended_well(stack: ComposeStack) -> None:
    states = {service: each["State"] for service, each in stack.containers().items()}
    ended = {service for service, state in states.items() if state["Status"] == "exited"}
    assert ended == ONE_SHOT
    assert {states[service]["ExitCode"] for service in ended} == {0}
    assert {state["Health"]["Status"] for name, state in states.items() if name not in ended} == {"healthy"}


def test_nothing_of_it_is_a_secret_in_an_environment(stack: ComposeStack) -> None:
    passwords = stack.inside("registry", "cat", "/lattice/own/database.pgpass").strip().split(":")[-1]
    known = [passwords, stack.token, stack.setup_secret]
    for service, container in stack.containers().items():
        text = json.dumps([container["Config"]["Env"], container["Config"]["Cmd"]])
        assert not any(secret in text for secret in known), service


def test_the_operators_token_opens_the_platform_and_no_other_does(stack: ComposeStack) -> None:
    assert stack.get("/v1/me")["username"] == "operator"
    with stack.client(token="lattice-nobody") as stranger:
        assert stranger.get("/v1/me").status_code == httpx.codes.UNAUTHORIZED


def test_who_knows_the_setup_secret_makes_the_first_admin_and_signs_in(stack: ComposeStack) -> None:
    admin = {"username": "ada", "password": "correct horse battery staple"}
    stack.post("/v1/auth/setup", {"secret": stack.setup_secret, **admin})
    token = stack.post("/v1/auth/login", admin)["token"]
    with stack.client(token) as client:
        assert client.get("/v1/me").json()["username"] == "ada"


@pytest.mark.parametrize(
    ("role", "environment"),
    [
        ("lattice_gateway", {"PGSSLMODE": "disable"}),
        ("postgres", {}),  # with every right, and so from nowhere but the database's own container
    ],
)
def test_the_database_refuses_plaintext_and_its_administrator(
    stack: ComposeStack, role: str, environment: dict[str, str]
) -> None:
    address = f"postgresql://{role}@postgres/lattice"
    said = stack.inside("gateway", "python", "-c", _ASK_DATABASE, address, "guess", **environment)
    assert "no pg_hba.conf entry" in said


def test_the_database_lets_its_services_in(stack: ComposeStack) -> None:
    address = "postgresql://lattice_gateway@postgres/lattice"
    assert stack.inside("gateway", "python", "-c", _ASK_DATABASE, address).strip() == "let in"


def test_a_part_that_keeps_no_state_does_not_reach_the_database(stack: ComposeStack) -> None:
    address = "postgresql://lattice_gateway@postgres/lattice"
    with pytest.raises(CommandFailed, match="gaierror"):
        stack.inside("scheduler", "python", "-c", _ASK_DATABASE, address)


def test_a_workload_runs_on_this_machine(stack: ComposeStack, workload: dict[str, Any]) -> None:
    assert workload["state"] == "running"
    container_start(stack)


def test_what_a_workload_writes_can_be_read(stack: ComposeStack, workload: dict[str, Any]) -> None:
    def lines() -> list[str]:
        with stack.client() as client:
            text = client.get("/v1/workloads/speaker/logs").raise_for_status().text
        return [json.loads(line)["message"] for line in text.splitlines()]

    stack.until(lambda: "ready to serve" in lines(), wanted="the workload's first line is in the log store")


def test_public_names_answer_over_https(stack: ComposeStack) -> None:
    host = "nobody--default.apps.localhost"
    with httpx.Client(verify=stack.trust, timeout=30) as visitor:
        url = f"https://127.0.0.1:{stack.https_port}/"
        answer = visitor.get(url, headers={"Host": host}, extensions={"sni_hostname": host})
    assert answer.status_code == httpx.codes.NOT_FOUND and host in answer.text


def test_renewed_credentials_are_used_without_a_restart(stack: ComposeStack) -> None:
    ports = (stack.port, stack.bus_port, stack.https_port)
    before = {port: stack.served_certificate(port) for port in ports}
    started = {name: each["State"]["StartedAt"] for name, each in stack.containers().items()}
    stack.run("restart", "renewer")
    stack.until(
        lambda: all(stack.served_certificate(port) != before[port] for port in ports),
        wanted="gateway, bus and ingress present new certificates",
    )
    now = {name: each["State"]["StartedAt"] for name, each in stack.containers().items()}
    assert {name for name in now if now[name] != started[name]} == {"renewer"}


def test_a_restarted_registry_knows_what_it_knew(stack: ComposeStack, workload: dict[str, Any]) -> None:
    container = container_start(stack)
    stack.run("restart", "registry")
    stack.until(lambda: unchanged(stack, workload), wanted="the workload is known as before")
    stack.until(lambda: node_states(stack) == ["ready"], wanted="the node is ready")
    assert container_start(stack) == container


def test_down_and_up_again_keeps_everything(stack: ComposeStack, workload: dict[str, Any]) -> None:
    container = container_start(stack)
    stack.run("down", "--timeout", "15")
    assert container_start(stack) == container, "a platform that is away stops no container"
    stack.up()
    assert stack.inside("registry", "cat", "/lattice/authority/cluster-id").strip() == stack.cluster_id
    stack.until(lambda: unchanged(stack, workload), wanted="the workload is known as before")
    stack.until(lambda: node_states(stack) == ["ready"], wanted="the node is ready")
    assert container_start(stack) == container


def test_keys_that_are_gone_are_not_made_anew(stack: ComposeStack) -> None:
    """Last, because it breaks the platform: a new authority would lock out every node and lose every secret."""
    key = "/lattice/authority/keys/nats-authority.json"
    stack.run("run", "--rm", "--no-deps", "--user", "10001", "--entrypoint", "rm", "init", key)
    with pytest.raises(CommandFailed, match=r"nats-authority\.json does not exist"):
        stack.run("run", "--rm", "--no-deps", "init")
