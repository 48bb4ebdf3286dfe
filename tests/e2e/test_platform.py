"""The embedded platform from outside: real processes, real containers, killed and removed as it happens to people."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.setup.commands import run
from lattice.contracts.catalogue import SERVICES
from standalone.data_dir import DataDir
from standalone.ports import read_ports
from standalone.processes import look_up
from standalone.supervisor import SupervisorStatus, read_status
from tests.fixtures.platform import Json, NewPlatform, Platform, platforms, until

PROCESSES = (
    *("nats", "postgres", "registry", "scheduler", "logs"),
    *("metrics", "ingress", "gateway", "alerts", "agent"),
)
SLEEPER = ("--", "sleep", "100000")


def announced(platform: Platform) -> Json:
    """How to reach it, as the platform keeps it for `lattice`."""
    kept: Json = json.loads((platform.root / "run" / "platform.json").read_text())
    return kept


def supervised(platform: Platform) -> SupervisorStatus:
    status = read_status(platform.root / "run" / "status.json")
    assert status is not None
    return status


def pids(platform: Platform) -> list[int]:
    """The supervisor first."""
    status = supervised(platform)
    return [status.pid, *(each.pid for each in status.processes if each.pid is not None)]


def runs(pid: int) -> bool:
    state = look_up(pid)
    return state is not None and not state.zombie


def status_of(platform: Platform) -> Json:
    """As `lattice status` tells it, also when it is not ready."""
    found: Json = platform.run("status", "-o", "json").json
    return found


def sleeper(platform: Platform, image: str, name: str, *options: str) -> None:
    platform.ok("run", image, "--name", name, "--wait", "--timeout", "60s", *options, *SLEEPER)


@pytest.fixture(scope="module")
def bare(docker_engine: str, image_test: str) -> Iterator[Platform]:
    """A platform without an agent, for the tests of this file that leave it whole."""
    with platforms() as make:
        shared = make()
        shared.up("--no-agent")
        yield shared


# --- up ----------------------------------------------------------------------------------------------------


def test_up_says_how_to_reach_it(platform: Platform) -> None:
    again = platform.up()
    assert set(again) == {"url", "console", "ca", "token", "data_dir"}
    assert again == announced(platform) and again["data_dir"] == str(platform.root)
    assert stat.S_IMODE((platform.root / "run" / "platform.json").stat().st_mode) == 0o600
    with platform.rest() as rest:
        assert rest.get("/v1/me").status_code == 200
        assert rest.get("/v1/nodes", headers={"Authorization": ""}).status_code == 401


def test_this_machine_is_its_first_node(platform: Platform) -> None:
    (node,) = platform.json("node", "ls")["items"]
    assert node["state"] == "ready" and node["capacity"]["memory_bytes"] > 0
    assert status_of(platform)["node"]["id"] == node["id"]


def test_another_port_while_it_runs_is_refused(platform: Platform) -> None:
    said = platform.refused("up", "--detach", "--port", "1")
    assert "runs on" in said and "lattice down" in said


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield int(taken.getsockname()[1])


def test_a_busy_port_is_named(new_platform: NewPlatform, busy_port: int) -> None:
    said = new_platform().refused("up", "--detach", "--wait", "--port", str(busy_port))
    assert f"port {busy_port} (gateway)" in said and "In use by another program" in said


def test_a_missing_engine_is_named(new_platform: NewPlatform, tmp_path: Path) -> None:
    nowhere = f"unix://{tmp_path}/no.sock"
    said = new_platform().refused("up", "--detach", "--wait", LATTICE_DOCKER_URL=nowhere)
    assert "cannot become a node" in said and "--no-agent" in said


def test_without_an_agent(bare: Platform) -> None:
    assert bare.json("node", "ls")["items"] == []
    assert status_of(bare)["ready"]
    bare.ok("doctor")


def test_in_the_foreground_ctrl_c_stops_it(new_platform: NewPlatform) -> None:
    platform = new_platform()
    process = platform.start("up", "-o", "json", "--no-agent")
    assert process.stdout is not None
    said = json.loads("".join(process.stdout.readline() for _ in range(7)))
    ours = pids(platform)
    assert said == announced(platform) and all(runs(pid) for pid in ours)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0 and not any(runs(pid) for pid in ours)
    assert "stopping the platform" in {line["message"] for line in supervisors_log(platform)}
    assert not (platform.root / "run" / "platform.json").exists()


def test_the_data_directory_may_lie_below_a_closed_folder(platform: Platform) -> None:
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (platform.root.parent, platform.root)}
    assert modes == {0o700}


def test_the_supervisor_can_be_found(platform: Platform) -> None:
    """`ps` shows what it is, and it belongs to no terminal."""
    pid = supervised(platform).pid
    command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    assert b"standalone" in command and os.getsid(pid) == pid


def supervisors_log(platform: Platform) -> list[Json]:
    """Each line of it is JSON, as with every process."""
    return [json.loads(line) for line in (platform.root / "logs" / "supervisor.log").read_text().splitlines()]


def test_the_supervisor_logs_as_every_process_does(platform: Platform) -> None:
    lines = supervisors_log(platform)
    assert lines and {line["service"] for line in lines} == {"supervisor"}


def test_each_of_our_processes_came_from_the_nursery(platform: Platform) -> None:
    """As `ps` shows it is the command that could have started it, as for any other."""
    assert not [line for line in supervisors_log(platform) if "without the nursery" in line["message"]]
    for part in (*SERVICES, "agent"):
        command = Path(f"/proc/{platform.pid(part)}/cmdline").read_bytes().rstrip(b"\0").decode()
        assert command.endswith(f"-m {part if part == 'agent' else f'services.{part}'}")
        assert Path(f"/proc/{platform.pid(part)}/comm").read_text().strip() == part


# --- what outlives a restart -------------------------------------------------------------------------------


def test_everything_outlives_a_restart(new_platform: NewPlatform, image_test: str) -> None:
    platform = new_platform()
    before = platform.up()
    sleeper(platform, image_test, "steady", "-p", "8080")
    lives, shown, ours = platform.lives(), platform.json("show", "steady"), pids(platform)
    assert len(lives) == 1

    platform.down()
    assert not any(runs(pid) for pid in ours) and platform.lives() == lives
    assert "No platform was started" in platform.refused("ps")

    after = platform.up()
    assert after["url"] == before["url"] and after["token"] != before["token"]
    now = platform.until_state("steady", "running")
    assert (now["id"], now["routes"]) == (shown["id"], shown["routes"]) and platform.lives() == lives
    with platform.rest(token=before["token"]) as rest:
        assert rest.get("/v1/me").status_code == 401


def test_down_with_workloads_stops_them_for_good(new_platform: NewPlatform, image_test: str) -> None:
    platform = new_platform()
    platform.up()
    sleeper(platform, image_test, "steady")
    platform.ok("down", "--workloads")
    assert platform.lives() == {}
    platform.up()
    assert platform.json("show", "steady")["state"] == "stopped" and platform.lives() == {}
    platform.ok("start", "steady")
    assert len(platform.lives()) == 1


def test_a_public_port_that_another_program_has_keeps_nothing_else_away(new_platform: NewPlatform) -> None:
    platform = new_platform()
    platform.up("--no-agent")
    platform.down()
    port = read_ports(DataDir(platform.root, platform.cluster_id))["ingress-tcp-03"]
    with socket.create_server(("127.0.0.1", port)):
        ran = platform.run("up", "--detach", "--wait", "--no-agent")
    assert ran.code == 0 and f"port {port} of public TCP addresses is in use by another program" in ran.err
    assert status_of(platform)["ready"]


def test_down_with_workloads_works_without_a_platform(new_platform: NewPlatform, image_test: str) -> None:
    platform = new_platform()
    platform.up()
    sleeper(platform, image_test, "steady")
    platform.down()
    assert len(platform.lives()) == 1
    platform.ok("down", "--workloads")
    assert platform.lives() == {}


def test_two_platforms_on_one_engine(platform: Platform, new_platform: NewPlatform, image_test: str) -> None:
    other = new_platform()
    other.up()
    for each in (platform, other):
        sleeper(each, image_test, "twin")
    assert len(other.lives()) == 1
    mine = platform.container("twin")
    other.ok("reset", "--yes")
    assert platform.container("twin")["State"] == mine["State"]
    assert platform.json("show", "twin")["state"] == "running"
    platform.ok("rm", "twin", "--yes")


# --- crashes -----------------------------------------------------------------------------------------------


def test_each_killed_process_comes_back_and_a_deploy_works(
    new_platform: NewPlatform, image_test: str
) -> None:
    platform = new_platform()
    platform.up()
    sleeper(platform, image_test, "bystander")
    lives = platform.lives()
    for part in PROCESSES:
        platform.until_replaced(part, platform.kill(part))
        sleeper(platform, image_test, f"after-{part}")
        platform.ok("rm", f"after-{part}", "--yes")
    assert platform.lives() == lives


def test_a_killed_supervisor_leaves_nothing_in_the_way(new_platform: NewPlatform, image_test: str) -> None:
    platform = new_platform()
    platform.up()
    sleeper(platform, image_test, "steady")
    lives, ours = platform.lives(), pids(platform)
    os.kill(ours[0], signal.SIGKILL)
    platform.up()
    assert not any(runs(pid) for pid in ours)
    platform.until_state("steady", "running")
    assert platform.lives() == lives


def test_down_after_a_killed_supervisor(new_platform: NewPlatform) -> None:
    platform = new_platform()
    platform.up("--no-agent")
    ours = pids(platform)
    for pid in ours:
        os.kill(pid, signal.SIGSTOP)  # so that the kernel's signal finds them deaf
    os.kill(ours[0], signal.SIGKILL)
    for pid in ours[1:]:
        os.kill(pid, signal.SIGCONT)
    platform.down()
    assert not any(runs(pid) for pid in ours)
    assert "was not running" in platform.run("down").err


# --- credentials over time ---------------------------------------------------------------------------------


def test_the_services_credentials_are_renewed(new_platform: NewPlatform) -> None:
    life_s = 12
    platform = new_platform(LATTICE_SERVICE_CREDENTIAL_TTL_S=str(life_s), LATTICE_GATEWAY_TLS_RELOAD_S="0.2")
    platform.up("--no-agent")
    ticket = platform.root / "pki" / "services" / "registry" / "bus.creds"
    first = ticket.read_text()
    second = until(lambda: (found := ticket.read_text()) != first and found, timeout_s=4 * life_s)
    until(
        lambda: ticket.read_text() != second, timeout_s=4 * life_s, what="the ticket"
    )  # the first has expired

    def answers() -> bool:
        with platform.rest() as rest:
            return rest.get("/v1/nodes").status_code == 200  # through gateway, bus and registry

    until(answers)
    assert all(each.restarts == 0 for each in supervised(platform).processes)


# --- looking -----------------------------------------------------------------------------------------------


def test_status_tells_each_process(platform: Platform) -> None:
    found = status_of(platform)
    assert found["ready"] and {each["name"] for each in found["processes"]} == set(PROCESSES)
    assert all(each["state"] == "ready" and each["memory_bytes"] > 2**20 for each in found["processes"])
    told = platform.ok("status")
    assert "The platform is ready." in told and all(name in told for name in PROCESSES)


def test_status_and_doctor_without_a_platform(new_platform: NewPlatform) -> None:
    platform = new_platform()
    assert "lattice up" in platform.refused("status")
    told = platform.ok("doctor")
    assert "Docker Engine: Docker" in told and "Nothing is wrong." in told
    assert not platform.root.exists()


def test_the_doctor_finds_nothing_wrong(platform: Platform) -> None:
    found = platform.json("doctor")["items"]
    assert [each for each in found if each["ok"] is not True] == []
    asked = {"Docker Engine", "NATS", "Postgres", "gateway", "this machine's node", "ports"}
    assert asked <= {each["name"] for each in found}


def test_a_support_bundle_holds_no_secret(bare: Platform, tmp_path: Path) -> None:
    canaries = {
        "operator token": announced(bare)["token"],
        "first admin": (bare.root / "keys" / "setup-secret").read_text(),
        "superuser": (bare.root / "postgres" / "superuser-password").read_text(),
        "foreign": "c4nary-of-somebody-else",
    }
    with (bare.root / "logs" / "registry.log").open("a") as log:
        for name, canary in canaries.items():
            log.write(
                json.dumps({"message": f"{name}: password={canary} postgresql://u:{canary}@h/d"}) + "\n"
            )
            log.write(f"plainly {canary}\n" if name != "foreign" else "")
    made = bare.json("support", "bundle", "--to", str(tmp_path / "out"))
    assert {"status.json", "versions.json", "doctor.txt", "logs/registry.log"} <= set(made["files"])
    text = "".join((Path(made["path"]) / name).read_text() for name in made["files"])
    assert "password=[redacted]" in text and '"ready": true' in text
    assert [name for name, canary in canaries.items() if canary in text] == []
    assert "PRIVATE KEY" not in text and "lattice-join." not in text


def test_the_doctor_says_what_to_do(bare: Platform) -> None:
    keys = bare.root / "keys"
    keys.chmod(0o755)
    bare.kill("nats", signal.SIGSTOP)
    try:
        sick = bare.run("doctor")
    finally:
        bare.kill("nats", signal.SIGCONT)
        keys.chmod(0o700)
    assert sick.code == 1
    assert "✗ data directory" in sick.out and "✗ NATS" in sick.out and "→" in sick.out


# --- reset -------------------------------------------------------------------------------------------------


@pytest.fixture
def stranger(image_test: str) -> Iterator[str]:
    """A container and a volume of somebody else."""
    name = f"stranger-{os.getpid()}"
    run(["docker", "volume", "create", name])
    command = ["--volume", f"{name}:/data", image_test, "sleep", "100000"]
    run(["docker", "run", "--detach", "--name", name, *command])
    yield name
    run(["docker", "rm", "--force", name])
    run(["docker", "volume", "rm", name])


def labelled(cluster: str) -> dict[str, list[str]]:
    """What carries this platform's label on the Engine, by kind."""
    mine = ["--quiet", "--filter", f"label=lattice.cluster={cluster}"]
    kinds = {"container": ["--all"], "volume": [], "network": []}
    found = {kind: run(["docker", kind, "ls", *more, *mine]).split() for kind, more in kinds.items()}
    return {kind: names for kind, names in found.items() if names}


def test_reset_removes_what_is_ours_and_nothing_else(
    new_platform: NewPlatform, image_test: str, stranger: str
) -> None:
    platform = new_platform()
    platform.up()
    sleeper(platform, image_test, "with-data", "--volume", "data:/data")
    cluster, ours = platform.cluster_id, pids(platform)

    shown = platform.ok("reset")
    assert all(kind in shown for kind in ("container", "volume", "network", "gateway", str(platform.root)))
    assert set(labelled(cluster)) == {"container", "volume", "network"} and all(runs(pid) for pid in ours)

    platform.ok("reset", "--yes")
    assert not platform.root.exists() and not any(runs(pid) for pid in ours)
    assert labelled(cluster) == {} and not (Path("/run/lattice") / cluster).exists()
    assert run(["docker", "inspect", "--format", "{{.State.Running}}", stranger]).strip() == "true"
    assert run(["docker", "volume", "ls", "--quiet", "--filter", f"name={stranger}"]).strip() == stranger


def test_reset_needs_no_platform_and_no_database(new_platform: NewPlatform, image_test: str) -> None:
    platform = new_platform()
    platform.up()
    sleeper(platform, image_test, "orphan")
    cluster = platform.cluster_id
    os.kill(supervised(platform).pid, signal.SIGKILL)
    (platform.root / "ports.json").write_text("not JSON")
    (platform.root / "run" / "platform.json").write_text("{")
    shutil.rmtree(platform.root / "postgres" / "cluster" / "data" / "base")
    letter = platform.root / "letter.txt"
    letter.write_text("not Lattice's")
    told = platform.run("reset", "--yes")
    assert told.code == 0 and "letter.txt" in told.err
    assert list(platform.root.iterdir()) == [letter] and labelled(cluster) == {}
    shutil.rmtree(platform.root)


def test_reset_of_nothing(new_platform: NewPlatform) -> None:
    assert "nothing to reset" in new_platform().run("reset", "--yes").err
