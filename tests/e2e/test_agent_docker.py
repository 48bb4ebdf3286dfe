"""The agent on the real Docker Engine, in the test's own process: deploy, health, ports, files, limits, exits, logs."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiodocker
import pytest

from agent.docker_runtime import DockerRuntime, open_docker
from agent.image_collection import CollectionRules
from agent.inventory import DiskSpace
from agent.ports import free_port
from infra.images.ensure import ensure_image
from infra.images.recipes import POSTGRES
from infra.images.registry import Registry
from infra.setup.places import workshop
from lattice.contracts.catalogue import EXEC, SESSION_IN, SESSION_OUT, STATUS
from lattice.contracts.messages import (
    DesiredInstance,
    ExecRequest,
    ExecSize,
    FileMount,
    RunPort,
    RunVolume,
    SessionFrame,
    SessionFrameKind,
)
from lattice.contracts.nouns import DesiredState, Health, ObservedContainer, Phase
from lattice.contracts.spec import BackoffSpec, ExecCheck, HealthSpec, HttpCheck, PortProtocol, TcpCheck
from lattice.ids import new_id
from lattice.messaging import Received
from lattice.runtime import OwnedFile
from tests.fixtures.agent import Node, eventually, instance_of, key_of, tombstone_of
from tests.fixtures.registry import ImageRegistry

HTTP = RunPort(name="http", container_port=8080, protocol=PortProtocol.HTTP)
SERVE = ("sh", "-c", "mkdir -p /www && echo hello > /www/index.html && exec httpd -f -p 8080 -h /www")
SOON = BackoffSpec(initial=0.1, max=0.2)


@pytest.fixture
async def node(image_test: str, cluster_id: str, tmp_path: Path) -> AsyncIterator[Node]:
    files = tmp_path / "files"
    runtime = open_docker("unix:///var/run/docker.sock", files_root=files)
    yield Node(runtime, tmp_path, cluster=cluster_id, config={"ping_s": 1.0})
    await runtime.close()


def running(seen: ObservedContainer) -> bool:
    return seen.phase is Phase.RUNNING


def healthy(seen: ObservedContainer) -> bool:
    return running(seen) and seen.health is Health.HEALTHY


def get(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as reply:
        return str(reply.read().decode().strip())


async def inspect(docker: aiodocker.Docker, container_id: str) -> dict[str, Any]:
    shown: dict[str, Any] = await docker.containers.container(container_id).show()
    return shown


async def test_a_web_server_is_deployed_checked_and_reachable(node: Node, image_test: str) -> None:
    check = HealthSpec(http=HttpCheck(port="http", path="/"), interval=1, timeout=1)
    async with node.run():
        await node.want(instance_of(key_of(), image=image_test, command=SERVE, ports=(HTTP,), health=check))
        seen = await node.until(key_of(), healthy)
        port = seen.ports[0].host_port
        assert await asyncio.to_thread(get, port) == "hello"
        await node.want(instance_of(key_of(2), image=image_test, command=SERVE, ports=(HTTP,), health=check))
        newer = await node.until(key_of(2), healthy)
        assert newer.ports[0].host_port == port, "the slot keeps its port"
        assert await asyncio.to_thread(get, port) == "hello"
        await node.want(tombstones=(tombstone_of(key_of(2)),))
        await node.until_gone(key_of(2))
    assert await node.runtime.containers(node.cluster) == ()


async def test_tcp_and_command_checks(node: Node, image_test: str) -> None:
    tcp = HealthSpec(tcp=TcpCheck(port="http"), interval=0.2, timeout=1, start_period=0, retries=2)
    good = HealthSpec(exec=ExecCheck(command=("true",)), interval=0.2)
    bad = HealthSpec(
        exec=ExecCheck(command=("sh", "-c", "echo no disk; exit 3")),
        interval=0.2,
        start_period=0,
        retries=2,
    )
    async with node.run():
        await node.want(
            instance_of(key_of(slot=0), image=image_test, command=SERVE, ports=(HTTP,), health=tcp),
            instance_of(key_of(slot=1), image=image_test, ports=(HTTP,), health=tcp),
            instance_of(key_of(slot=2), image=image_test, health=good),
            instance_of(key_of(slot=3), image=image_test, health=bad),
        )
        await node.until(key_of(slot=0), healthy)
        await node.until(key_of(slot=2), healthy)
        silent = await node.until(key_of(slot=1), lambda c: c.health is Health.UNHEALTHY)
        assert "cannot be reached" in silent.reason
        sick = await node.until(key_of(slot=3), lambda c: c.health is Health.UNHEALTHY)
        assert "exited with 3: no disk" in sick.reason


async def test_limits_and_privileges_are_on_the_container(
    node: Node, image_test: str, docker: aiodocker.Docker
) -> None:
    async with node.run():
        await node.want(instance_of(key_of(), image=image_test, ports=(HTTP,)))
        seen = await node.until(key_of(), running)
    shown = await inspect(docker, seen.container_id)
    host = shown["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"], host["PidsLimit"]) == (
        64 * 2**20, 64 * 2**20, 200_000_000, 64,
    )  # fmt: skip
    assert host["CapDrop"] == ["ALL"] and not host["Privileged"] and host["Init"]
    assert host["SecurityOpt"] == ["no-new-privileges"] and host["RestartPolicy"]["Name"] == "no"
    assert host["LogConfig"]["Config"] == {"max-file": "3", "max-size": "10m"}
    assert list(shown["NetworkSettings"]["Networks"]) == [f"lattice-{node.cluster}-default"]
    labels = shown["Config"]["Labels"]
    assert {name: labels[f"lattice.{name}"] for name in ("project", "workload", "epoch", "slot")} == {
        "project": "default", "workload": "wl-1", "epoch": "1", "slot": "0",
    }  # fmt: skip


async def test_running_out_of_memory_is_named(node: Node, image_test: str) -> None:
    hog = ("sh", "-c", "x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done")
    async with node.run():
        await node.want(instance_of(key_of(), image=image_test, command=hog, backoff=SOON))
        await eventually(lambda: node.told("oom"))
        seen = await node.until(key_of(), lambda c: c.restarts >= 1)
    told = node.told("oom")[0]
    assert "limit of 64 MiB" in told.detail and seen.phase in (Phase.RUNNING, Phase.FAILED)
    first = next(
        each.last_exit
        for report in node.bus.sent(STATUS)
        for each in report.containers
        if each.last_exit is not None
    )
    assert first.oom_killed and told.at - first.at < timedelta(seconds=10), "an OOM kill is told in 10 s"


async def test_a_service_that_hangs_is_started_again(node: Node, image_test: str) -> None:
    hangs = (
        "sh", "-c",
        "httpd -p 8080 -h /tmp; test -e /tmp/once && exec sleep 600; touch /tmp/once; sleep 1; killall httpd; exec sleep 600",
    )  # fmt: skip
    check = HealthSpec(tcp=TcpCheck(port="http"), interval=0.2, retries=2)
    async with node.run():
        wanted: dict[str, Any] = {
            "image": image_test,
            "command": hangs,
            "ports": (HTTP,),
            "liveness": check,
            "backoff": SOON,
        }
        await node.want(instance_of(key_of(), **wanted))
        seen = await node.until(key_of(), lambda c: healthy(c) and c.restarts == 1)
    assert seen.last_exit is not None and seen.last_exit.reason.startswith("liveness check failed: ")
    assert node.told("liveness_failed")


async def test_a_signal_and_the_last_words_are_told_while_it_runs_again(node: Node, image_test: str) -> None:
    dies = (
        "sh",
        "-c",
        "test -e /tmp/once && exec sleep 600; touch /tmp/once; echo last words; kill -SEGV $$",
    )
    async with node.run():
        await node.want(instance_of(key_of(), image=image_test, command=dies, backoff=SOON))
        seen = await node.until(
            key_of(), lambda c: running(c) and c.restarts == 1 and c.last_exit is not None
        )
    assert seen.last_exit is not None and seen.last_exit.reason == "exited with 139 (SIGSEGV)"
    assert seen.last_exit.log == ("last words",)


async def test_stop_and_start_keep_container_and_volume(
    node: Node, image_test: str, docker: aiodocker.Docker
) -> None:
    volume = RunVolume(volume_id="vo-1", name="data", path="/data", size_bytes=2**20)
    command = ("sh", "-c", "date +%N >> /data/starts; exec sleep 600")
    async with node.run():
        await node.want(instance_of(key_of(), image=image_test, command=command, volumes=(volume,)))
        first = await node.until(key_of(), running)
        await node.want(
            instance_of(
                key_of(), desired=DesiredState.STOPPED, image=image_test, command=command, volumes=(volume,)
            )
        )
        await node.until(key_of(), lambda c: c.phase is Phase.STOPPED)
        await node.want(instance_of(key_of(), image=image_test, command=command, volumes=(volume,)))
        again = await node.until(key_of(), running)
        assert again.container_id == first.container_id
        printed = await run_inside(node, ("cat", "/data/starts"))
        assert len(printed.split()) == 2
        assert node.report is not None and node.report.volumes == ("vo-1",)


async def test_files_are_read_only_with_their_owner_and_mode(node: Node, image_test: str) -> None:
    files = (FileMount(path="/run/secrets/one", content="content", mode=0o440, uid=70, gid=71),)
    async with node.run():
        await node.want(instance_of(key_of(), image=image_test, files=files))
        await node.until(key_of(), running)
        printed = await run_inside(
            node, ("sh", "-c", "stat -c '%a %u %g' /run/secrets/one; cat /run/secrets/one")
        )
        assert printed.split() == ["440", "70", "71", "content"]
        refused = await run_inside(node, ("sh", "-c", "echo x > /run/secrets/one || echo refused"))
        assert "refused" in refused


async def test_an_agent_that_is_not_root_gives_files_to_the_containers_user(
    image_test: str, cluster_id: str, tmp_path: Path
) -> None:
    """Without the capabilities by which root gives files away and reads other people's; the Engine has them."""
    argv = [sys.executable, "-m", "tests.fixtures.agent_without_root", str(tmp_path), image_test, cluster_id]
    if os.geteuid() == 0:
        argv = ["setpriv", "--bounding-set=-chown,-dac_override,-dac_read_search,-fowner", *argv]
    child = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    said, _ = await asyncio.wait_for(child.communicate(), 60)
    assert (child.returncode, said.decode().split()) == (0, ["400", "70", "71", "content"])


async def test_giving_files_leaves_no_volume_behind(
    docker: aiodocker.Docker, cluster_id: str, tmp_path: Path
) -> None:
    """An image that declares volumes gets one, without a name, for each container that is made of it."""
    image = ensure_image(POSTGRES, workshop(), Registry()).image
    made: list[str] = []
    create = docker.containers.create

    async def noting(*args: Any, **more: Any) -> Any:
        container = await create(*args, **more)
        made.extend(mount["Name"] for mount in (await container.show())["Mounts"] if mount.get("Name"))
        return container

    docker.containers.create = noting  # type: ignore[method-assign]
    (tmp_path / "in-1").mkdir()
    file = OwnedFile(name="0", content=b"x", uid=1, gid=1, mode=0o400)
    runtime = DockerRuntime(docker, files_root=tmp_path)
    await runtime.give_files(tmp_path / "in-1", (file,), image=image, cluster_id=cluster_id)
    left = {each["Name"] for each in (await docker.volumes.list())["Volumes"] or ()}
    assert made and not left & set(made)


async def test_a_broken_command_fails_in_plain_words(node: Node, image_test: str) -> None:
    async with node.run():
        await node.want(instance_of(key_of(), image=image_test, command=("no-such-command",), backoff=SOON))
        seen = await node.until(key_of(), lambda c: c.phase is Phase.FAILED)
    assert "no-such-command" in seen.reason or "127" in seen.reason


async def test_an_interactive_terminal(node: Node, image_test: str) -> None:
    async with node.run():
        await node.want(instance_of(key_of(), image=image_test))
        await node.until(key_of(), running)
        session = await Terminal.open(node, ("sh",), tty=True, stdin=True)
        await session.send(SessionFrameKind.RESIZE, size=ExecSize(rows=40, columns=123))
        await session.send(SessionFrameKind.STDIN, b"stty size; echo done$((1+1))\n")
        await eventually(lambda: b"done2" in session.printed)
        assert b"40 123" in session.printed
        await session.send(SessionFrameKind.STDIN, b"exit 5\n")
        assert (await eventually(lambda: session.end)).exit_code == 5


async def test_a_silent_client_leaves_no_command_behind(node: Node, image_test: str) -> None:
    node.config["exec_silence_s"] = 0.3
    async with node.run():
        await node.want(instance_of(key_of(), image=image_test))
        await node.until(key_of(), running)
        session = await Terminal.open(node, ("sleep", "987"))
        assert "nothing came" in (await eventually(lambda: session.end)).error

        async def left() -> str:
            return await run_inside(node, ("sh", "-c", "ps | grep -c '[s]leep 987'; true"))

        deadline = asyncio.get_running_loop().time() + 10
        while (await left()).strip() != "0":
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.05)


class Terminal:
    """The person's side of a session."""

    def __init__(self, node: Node) -> None:
        self._node, self._id, self._number = node, new_id("ex"), 0
        self.printed = b""
        self.end: SessionFrame | None = None

    @classmethod
    async def open(
        cls, node: Node, argv: tuple[str, ...], *, tty: bool = False, stdin: bool = False
    ) -> Terminal:
        terminal = cls(node)
        await node.bus.subscribe(SESSION_OUT, terminal._heard, node_id=node.node_id, session_id=terminal._id)
        request = ExecRequest(session_id=terminal._id, key=key_of(), argv=argv, tty=tty, stdin=stdin)
        await node.bus.ask(EXEC, request, node_id=node.node_id)
        return terminal

    async def send(self, kind: SessionFrameKind, body: bytes = b"", *, size: ExecSize | None = None) -> None:
        self._number += 1
        frame = SessionFrame(session_id=self._id, kind=kind, number=self._number, size=size)
        await self._node.bus.publish(
            SESSION_IN, frame, body=body, node_id=self._node.node_id, session_id=self._id
        )

    async def _heard(self, received: Received[SessionFrame]) -> None:
        self.printed += received.body
        if received.message.kind is SessionFrameKind.EXIT:
            self.end = received.message


async def run_inside(node: Node, argv: tuple[str, ...]) -> str:
    """What a command printed."""
    terminal = await Terminal.open(node, argv)
    end = await eventually(lambda: terminal.end)
    assert not end.error, end.error
    return terminal.printed.decode()


async def test_a_full_disk_loses_only_what_was_pulled_here(
    node: Node, image_test: str, registry: ImageRegistry, docker: aiodocker.Docker
) -> None:
    ours = registry.push(image_test, f"acme/{node.cluster}:1")
    base = await docker.images.inspect(image_test)
    own_content = await _changed_image(docker, image_test, node.cluster)
    pushed = registry.push(own_content, f"acme/{node.cluster}:2")
    await docker.images.delete(own_content)
    node.config |= {
        "collection": CollectionRules(min_age=timedelta(0)),
        "disk_space": lambda _: DiskSpace(free_bytes=2**40, used_percent=99.0),
    }
    async with node.run() as agent:
        await node.want(*(instance_of(key_of(slot=n), image=name) for n, name in enumerate((ours, pushed))))
        await node.until(key_of(slot=0), running)
        await node.until(key_of(slot=1), running)
        assert await agent.images.collect() == []
        await node.want(tombstones=(tombstone_of(key_of(slot=0)), tombstone_of(key_of(slot=1))))
        await node.until_gone(key_of(slot=1))
        assert await agent.images.collect() == [pushed]
        await eventually(lambda: node.told("images_removed"))
    assert await node.runtime.image_id(pushed) is None
    assert await node.runtime.image_id(ours) == base["Id"], "its content was here before"
    await docker.images.delete(ours)


async def _changed_image(docker: aiodocker.Docker, base: str, label: str) -> str:
    """An image of the same layers and another id."""
    made = await docker.containers.create({"Image": base, "Labels": {"lattice.test": label}})
    await made.commit(repository=f"lattice-test-{label}", tag="1", changes=[f"LABEL lattice.test={label}"])
    await made.delete(force=True)
    return f"lattice-test-{label}:1"


async def test_an_image_too_large_for_the_disk_is_not_fetched(
    node: Node, image_test: str, registry: ImageRegistry
) -> None:
    image = registry.push(image_test, f"acme/{node.cluster}-large:1")
    node.config["disk_space"] = lambda _: DiskSpace(free_bytes=100_000, used_percent=99.9)
    async with node.run():
        await node.want(instance_of(key_of(), image=image))
        seen = await node.until(key_of(), lambda c: "free" in c.reason)
    assert f"image {image} is " in seen.reason and "the node has 97.66 KiB free" in seen.reason
    assert await node.runtime.image_id(image) is None


async def test_a_program_for_another_processor_is_named(
    node: Node, cluster_id: str, docker: aiodocker.Docker
) -> None:
    image = f"lattice-test-{cluster_id}:arm"
    await asyncio.to_thread(_import_for_another_processor, image)
    async with node.run():
        await node.want(instance_of(key_of(), image=image, command=("/program",), backoff=SOON))
        seen = await node.until(key_of(), lambda c: "processor" in c.reason)
        await node.want(tombstones=(tombstone_of(key_of()),))
        await node.until_gone(key_of())
    await docker.images.delete(image)
    assert "no program for this node's kind of processor: use an image that is built for it" in seen.reason


def _import_for_another_processor(image: str) -> None:
    """An image in which everything, the shell too, has the head of a program for a processor that no machine here has (S/390)."""
    program = b"\x7fELF\x02\x02\x01" + bytes(9) + b"\x00\x02\x00\x16" + bytes(44)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in ("program", "bin/sh"):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(program), 0o755
            tar.addfile(entry, io.BytesIO(program))
    subprocess.run(
        ["docker", "import", "-", image], input=archive.getvalue(), check=True, capture_output=True
    )


async def test_a_fixed_host_port_serves_and_a_conflict_names_who_has_it(node: Node, image_test: str) -> None:
    first, second = free_port(), free_port()
    policy = node.folder / "data" / "policy.yaml"
    policy.parent.mkdir(exist_ok=True)
    policy.write_text(f"host_ports: [{first}, {second}]\n")

    def serving(slot: int, number: int) -> DesiredInstance:
        fixed = (HTTP.model_copy(update={"host_port": number}),)
        return instance_of(key_of(slot=slot), image=image_test, command=SERVE, ports=fixed, backoff=SOON)

    with socket.create_server(("127.0.0.1", second)):
        async with node.run():
            await node.want(serving(0, first), serving(1, second))
            await node.until(key_of(slot=0), running)
            assert await eventually_get(first) == "hello"
            taken = await node.until(key_of(slot=1), lambda c: "in use" in c.reason)
            assert f"host port {second} is in use on this node by process {os.getpid()} (" in taken.reason
            await node.want(serving(0, first), serving(1, first))
            ours = await node.until(key_of(slot=1), lambda c: f"host port {first} is in use" in c.reason)
            assert f"by workload web (container {key_of().container_name(node.cluster)})" in ours.reason
            await node.want(serving(1, first), tombstones=(tombstone_of(key_of(slot=0)),))
            await node.until(key_of(slot=1), running)
            assert await eventually_get(first) == "hello"


async def eventually_get(port: int) -> str:
    """What the server says once it listens."""
    async with asyncio.timeout(20):
        while True:
            with suppress(OSError):
                return await asyncio.to_thread(get, port)
            await asyncio.sleep(0.05)
