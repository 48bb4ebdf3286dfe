"""What the agent relies on in a container engine; the in-memory double and the real Docker Engine answer alike."""

from __future__ import annotations

import asyncio
import io
import os
import secrets
import subprocess
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from agent.docker_runtime import open_docker
from agent.log_files import is_readable
from agent.naming import CLUSTER, files_container_name
from agent.ports import free_port
from lattice.errors import Conflict, LatticeError, NotFound
from lattice.log_records import record
from lattice.runtime import (
    LISTENING,
    Container,
    ContainerOptions,
    EngineEvent,
    ExecOptions,
    FileBind,
    ImageNotFound,
    LogPiece,
    OwnedFile,
    PortTaken,
    PublishedPort,
    RunState,
    Runtime,
    VolumeMount,
)
from lattice.testing import FakeRuntime

WAIT_S = 20.0


@dataclass
class Bench:
    """One engine, a cluster of the test's own, and what an ordinary container needs."""

    runtime: Runtime
    cluster: str
    image: str
    files: Path
    network: str = ""

    async def options(self, name: str = "one", **changes: Any) -> ContainerOptions:
        self.network = f"lattice-{self.cluster}-default"
        await self.runtime.ensure_network(self.network, {CLUSTER: self.cluster})
        plain = ContainerOptions(
            name=f"lattice-{self.cluster}-{name}",
            image=self.image,
            labels={CLUSTER: self.cluster, "lattice.instance": name},
            network=self.network,
            command=("sleep", "600"),
            cpu_millis=500,
            memory_bytes=64 * 2**20,
            pids=64,
            stop_timeout_s=1,
        )
        return replace(plain, **changes)

    async def run(self, name: str = "one", **changes: Any) -> Container:
        options = await self.options(name, **changes)
        await self.runtime.create(options)
        return await self.runtime.start(options.name)


@pytest.fixture(params=["fake", "docker"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    if request.param == "fake":
        fake = FakeRuntime(images=("test:1",), logs_root=tmp_path / "engine")
        yield Bench(fake, f"t{secrets.token_hex(6)}", "test:1", tmp_path)
        return
    image = request.getfixturevalue("image_test")
    cluster = request.getfixturevalue("cluster_id")
    runtime = open_docker("unix:///var/run/docker.sock", files_root=tmp_path)
    yield Bench(runtime, cluster, image, tmp_path)
    await runtime.close()


async def eventually(look: Callable[[], Awaitable[Any]], wanted: Callable[[Any], bool]) -> Any:
    """What `look` answers once it is as wanted."""
    async with asyncio.timeout(WAIT_S):
        while not wanted(seen := await look()):
            await asyncio.sleep(0.02)
    return seen


async def test_a_container_is_made_started_stopped_and_removed(bench: Bench) -> None:
    options = await bench.options(labels={CLUSTER: bench.cluster, "lattice.slot": "3"})
    made = await bench.runtime.create(options)
    assert (made.state, made.name, made.labels["lattice.slot"]) == (RunState.CREATED, options.name, "3")
    assert made.started_at is None and made.exit_code is None
    started = await bench.runtime.start(made.name)
    assert started.id == made.id and started.is_up and started.started_at is not None and started.ip
    stopped = await bench.runtime.stop(made.name, timeout_s=1)
    assert stopped.state is RunState.EXITED and stopped.exit_code is not None
    assert stopped.finished_at is not None and stopped.finished_at >= started.started_at
    again = await bench.runtime.start(made.name)
    assert again.id == made.id and again.is_up and again.exit_code is None
    await bench.runtime.remove(made.name)
    assert await bench.runtime.container(made.name) is None


async def test_what_is_done_twice_is_done_once(bench: Bench) -> None:
    options = await bench.options()
    first = await bench.runtime.create(options)
    assert (await bench.runtime.create(options)).id == first.id
    started = await bench.runtime.start(options.name)
    assert (await bench.runtime.start(options.name)).started_at == started.started_at
    await bench.runtime.stop(options.name, timeout_s=1)
    assert (await bench.runtime.stop(options.name, timeout_s=1)).state is RunState.EXITED
    await bench.runtime.remove(options.name)
    await bench.runtime.remove(options.name)
    await bench.runtime.ensure_network(bench.network, {CLUSTER: bench.cluster})
    await bench.runtime.remove_network(bench.network)
    await bench.runtime.remove_network(bench.network)


async def test_a_network_has_an_address_of_the_node_and_containers_know_it_by_name(bench: Bench) -> None:
    options = await bench.options()
    address = await bench.runtime.ensure_network(bench.network, {CLUSTER: bench.cluster})
    assert ip_address(address).is_private
    assert await bench.runtime.ensure_network(bench.network, {CLUSTER: bench.cluster}) == address
    made = await bench.runtime.create(replace(options, hosts={"db": address, "orders-db": address}))
    assert made.addresses == {}
    started = await bench.runtime.start(made.name)
    assert started.addresses == {bench.network: started.ip}
    if not isinstance(bench.runtime, FakeRuntime):
        command = ["docker", "exec", made.name, "cat", "/etc/hosts"]
        seen = (await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)).stdout
        assert f"{address}\tdb\n" in seen and f"{address}\torders-db\n" in seen
    assert (await bench.runtime.stop(made.name, timeout_s=1)).addresses == {}


async def test_what_is_not_there_is_said_so(bench: Bench) -> None:
    assert await bench.runtime.container("lattice-nothing") is None
    assert await bench.runtime.image_id("lattice.local/nothing:1") is None
    with pytest.raises(NotFound):
        await bench.runtime.start("lattice-nothing")
    with pytest.raises(NotFound):
        await bench.runtime.stop("lattice-nothing", timeout_s=1)
    with pytest.raises(ImageNotFound):
        await bench.runtime.create(await bench.options(image="lattice.local/nothing:1"))


async def test_only_containers_of_the_cluster_are_listed(bench: Bench) -> None:
    await bench.run("a")
    await bench.runtime.create(await bench.options("b"))
    other = await bench.options("c", labels={CLUSTER: bench.cluster + "x"})
    await bench.runtime.create(other)
    try:
        listed = await bench.runtime.containers(bench.cluster)
        assert {each.name.rpartition("-")[2]: each.state for each in listed} == {
            "a": RunState.RUNNING, "b": RunState.CREATED,
        }  # fmt: skip
        assert [each.name for each in await bench.runtime.containers(bench.cluster + "x")] == [other.name]
    finally:
        await bench.runtime.remove(other.name)


async def test_a_taken_port_is_named_as_such(bench: Bench) -> None:
    port = PublishedPort(container_port=80, host_port=free_port())
    first = await bench.run("a", ports=(port,))
    assert first.ports == (port,)
    second = await bench.runtime.create(await bench.options("b", ports=(port,)))
    with pytest.raises(PortTaken):
        await bench.runtime.start(second.name)


async def test_volumes_outlive_containers_and_are_removed_alone(bench: Bench) -> None:
    name = f"lattice-{bench.cluster}-vo-1"
    labels = {CLUSTER: bench.cluster, "lattice.volume": "vo-1"}
    await bench.runtime.ensure_volume(name, labels, size_bytes=2**20)
    await bench.runtime.ensure_volume(name, labels, size_bytes=2**20)
    container = await bench.run(volumes=(VolumeMount(volume=name, path="/data"),))
    with pytest.raises(Conflict):
        await bench.runtime.remove_volume(name)
    await bench.runtime.remove(container.name)
    volumes = await bench.runtime.volumes(bench.cluster)
    assert {each: labels["lattice.volume"] for each, labels in volumes.items()} == {name: "vo-1"}
    await bench.runtime.remove_volume(name)
    await bench.runtime.remove_volume(name)
    assert await bench.runtime.volumes(bench.cluster) == {}


async def test_a_network_in_use_stays(bench: Bench) -> None:
    container = await bench.run()
    await bench.runtime.remove_network(bench.network)
    await bench.runtime.stop(container.name, timeout_s=1)
    assert (await bench.runtime.start(container.name)).is_up


async def test_a_container_may_be_in_more_networks_than_its_own(bench: Bench) -> None:
    """There it finds others by name, and has none itself; a network stays as long as one container is in it."""
    far = f"lattice-{bench.cluster}-far"
    await bench.runtime.ensure_network(far, {CLUSTER: bench.cluster})
    await bench.run("db", network=far, aliases=("db",))
    visitor = await bench.run("web", joins=(far,), aliases=("web",))
    assert visitor.networks == tuple(sorted((bench.network, far)))
    assert (await bench.runtime.create(await bench.options("web", joins=(far,)))).id == visitor.id
    if not isinstance(bench.runtime, FakeRuntime):
        assert await _finds(bench, "web", "db") and not await _finds(bench, "db", "web")
    await bench.runtime.remove(f"lattice-{bench.cluster}-db")
    await bench.runtime.remove_network(far)
    assert (await bench.runtime.stop(visitor.name, timeout_s=1)).networks == visitor.networks


async def _finds(bench: Bench, name: str, other: str) -> bool:
    """Whether a container knows an address of this host name."""
    command = ["docker", "exec", f"lattice-{bench.cluster}-{name}", "nslookup", "-type=a", other]
    return (await asyncio.to_thread(subprocess.run, command, capture_output=True)).returncode == 0


async def test_files_are_mounted_from_the_agents_own_folder(bench: Bench) -> None:
    file = bench.files / "one"
    file.write_text("content")
    container = await bench.run(files=(FileBind(source=str(file), path="/etc/one"),))
    assert container.is_up


async def test_files_are_given_to_users_of_the_container(bench: Bench) -> None:
    """What is there under the same name is replaced, also where it belongs to somebody else already."""
    folder = bench.files / "in-1"
    folder.mkdir()
    for content in (b"old", b"s3cret"):
        file = OwnedFile(name="0", content=content, uid=os.geteuid(), gid=4711, mode=0o440)
        await bench.runtime.give_files(folder, (file,), image=bench.image, cluster_id=bench.cluster)
    given = (folder / "0").stat()
    assert ((folder / "0").read_bytes(), given.st_mode & 0o777) == (b"s3cret", 0o440)
    assert given.st_gid == 4711 or isinstance(bench.runtime, FakeRuntime)
    assert await bench.runtime.container(files_container_name(bench.cluster)) is None
    container = await bench.run(files=(FileBind(source=str(folder / "0"), path="/etc/one"),))
    assert container.is_up


async def test_files_are_given_only_where_the_image_is(bench: Bench) -> None:
    file = OwnedFile(name="0", content=b"x", uid=1, gid=1, mode=0o400)
    (bench.files / "in-1").mkdir()
    with pytest.raises(ImageNotFound):
        await bench.runtime.give_files(
            bench.files / "in-1", (file,), image="lattice.local/nothing:1", cluster_id=bench.cluster
        )
    assert list((bench.files / "in-1").iterdir()) == []


async def test_events_say_what_happens_after_listening(bench: Bench) -> None:
    seen: list[EngineEvent] = []

    async def listen() -> None:
        async with aclosing(bench.runtime.events(bench.cluster)) as events:  # type: ignore[type-var]
            async for event in events:
                seen.append(event)

    async def shown() -> list[str]:
        return [event.action for event in seen]

    listening = asyncio.create_task(listen())
    await eventually(shown, lambda actions: actions == [LISTENING.action])
    container = await bench.run()
    await bench.runtime.stop(container.name, timeout_s=1)
    await bench.runtime.remove(container.name)
    actions = await eventually(shown, lambda actions: "destroy" in actions)
    listening.cancel()
    assert [action for action in actions if action != "stop"] == [
        "listening", "create", "start", "die", "destroy",
    ]  # fmt: skip
    died = next(event for event in seen if event.action == "die")
    assert (died.name, died.container_id) == (container.name, container.id)
    assert died.exit_code is not None and died.at_ns > 0 and died.labels["lattice.instance"] == "one"


async def test_a_command_runs_inside_and_tells_its_exit_code(bench: Bench) -> None:
    if isinstance(bench.runtime, FakeRuntime):
        bench.runtime.exec_reply = lambda options, stdin: (stdin.upper(), b"warned\n", 7)
    container = await bench.run()
    script = "tr a-z A-Z; echo warned >&2; exit 7"
    process = await bench.runtime.exec(container.name, ExecOptions(argv=("sh", "-c", script), stdin=True))
    await process.write(b"hello\n")
    await process.close_stdin()
    printed = {"stdout": b"", "stderr": b""}
    async with asyncio.timeout(WAIT_S):
        while (output := await process.read()) is not None:
            printed[output.stream] += output.data
    assert printed == {"stdout": b"HELLO\n", "stderr": b"warned\n"}
    assert await eventually(process.exit_code, lambda code: code is not None) == 7
    await process.close()
    await process.close()


async def test_a_command_needs_a_running_container(bench: Bench) -> None:
    made = await bench.runtime.create(await bench.options())
    with pytest.raises(Conflict):
        await bench.runtime.exec(made.name, ExecOptions(argv=("true",)))
    with pytest.raises(NotFound):
        await bench.runtime.exec("lattice-nothing", ExecOptions(argv=("true",)))


async def test_logs_are_followed_by_stream_and_time_until_the_end(bench: Bench) -> None:
    container = await bench.run(command=("sh", "-c", "echo out; echo err >&2; echo last; exec sleep 600"))
    if isinstance(bench.runtime, FakeRuntime):
        for at, (stream, text) in enumerate([("stdout", "out"), ("stderr", "err"), ("stdout", "last")], 1):
            bench.runtime.write(container.name, text, stream=stream, time_ns=at)
    pieces: list[LogPiece] = []
    async with asyncio.timeout(WAIT_S), aclosing(bench.runtime.logs(container.name)) as log:  # type: ignore[type-var]
        async for batch in log:
            pieces += batch
            if len(pieces) == 3:
                break
    assert sorted((p.stream, p.text) for p in pieces) == [
        ("stderr", b"err\n"), ("stdout", b"last\n"), ("stdout", b"out\n"),
    ]  # fmt: skip
    assert all(piece.time_ns > 0 for piece in pieces)
    newest = max(piece.time_ns for piece in pieces)
    since = [p async for b in bench.runtime.logs(container.name, since_ns=newest, follow=False) for p in b]
    assert since == [piece for piece in pieces if piece.time_ns == newest]
    await bench.runtime.stop(container.name, timeout_s=1)
    async with asyncio.timeout(WAIT_S):
        assert sum([len(batch) async for batch in bench.runtime.logs(container.name)]) == 3


async def test_the_log_file_holds_the_records_that_the_stream_tells(bench: Bench) -> None:
    container = await bench.run(command=("sh", "-c", "echo '<a&\"b\\\\>'; echo warned >&2; exec sleep 600"))
    if isinstance(bench.runtime, FakeRuntime):
        bench.runtime.write(container.name, '<a&"b\\>', time_ns=10**18)
        bench.runtime.write(container.name, "warned", stream="stderr", time_ns=10**18 + 1)
    path = Path(container.log_path)
    assert is_readable(container.log_path) and path.name == f"{container.id}-json.log"

    async def records() -> bytes:
        return path.read_bytes()

    content = await eventually(records, lambda written: written.count(b"\n") == 2)
    pieces = [p async for b in bench.runtime.logs(container.name, follow=False) for p in b]
    told = [record(p.time_ns, p.stream, p.text.decode()) for p in pieces]
    assert sorted(told) == sorted(content.splitlines(keepends=True))
    await bench.runtime.stop(container.name, timeout_s=1)
    again = await bench.runtime.start(container.name)
    assert again.log_path == container.log_path and path.read_bytes().startswith(content), "a restart goes on"
    await bench.runtime.remove(container.name)
    assert not path.exists()


async def test_the_engine_and_its_images_are_described(bench: Bench) -> None:
    info = await bench.runtime.info()
    assert info.version and info.cpus >= 1 and info.memory_bytes > 2**26 and info.arch in ("amd64", "arm64")
    image_id = await bench.runtime.image_id(bench.image)
    held = {image.id: image for image in await bench.runtime.images()}
    assert image_id is not None and bench.image in held[image_id].references
    assert await bench.runtime.image_id(image_id) == image_id


async def test_what_a_container_uses_is_measured(bench: Bench) -> None:
    container = await bench.run()
    stats = await bench.runtime.stats(container.name)
    assert stats.cpu_total_ns > 0 and stats.memory_bytes >= 0 and stats.pids >= 1


async def test_a_pull_of_what_does_not_exist_fails(bench: Bench) -> None:
    heard: list[str] = []
    with pytest.raises(LatticeError) as refused:
        await bench.runtime.pull("127.0.0.1:1/acme/nothing:1", progress=heard.append)
    assert "127.0.0.1:1/acme/nothing:1" in str(refused.value)


async def test_a_network_asked_for_many_times_at_once_is_one(bench: Bench) -> None:
    name = f"lattice-{bench.cluster}-busy"
    await asyncio.gather(*(bench.runtime.ensure_network(name, {CLUSTER: bench.cluster}) for _ in range(8)))
    containers = [await bench.run(each, network=name) for each in ("a", "b")]
    assert all(container.is_up for container in containers)


async def own_image(bench: Bench) -> str:
    """The name of an image that only this test knows, with one more name `…:2`."""
    name = f"lattice-test-{secrets.token_hex(6)}"
    if isinstance(bench.runtime, FakeRuntime):
        bench.runtime.registry[f"{name}:1"] = None
        await bench.runtime.pull(f"{name}:1", progress=lambda _: None)
        bench.runtime.tag(f"{name}:1", f"{name}:2")
    else:
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.addfile(tarfile.TarInfo(name))
        await asyncio.to_thread(_import, archive.getvalue(), name)
    return name


def _import(archive: bytes, name: str) -> None:
    docker = ["docker", "import", "--change", 'CMD ["/none"]', "-", f"{name}:1"]
    subprocess.run(docker, input=archive, check=True, capture_output=True)
    subprocess.run(["docker", "tag", f"{name}:1", f"{name}:2"], check=True, capture_output=True)


async def test_an_image_goes_with_its_last_name(bench: Bench) -> None:
    name = await own_image(bench)
    image_id = await bench.runtime.image_id(f"{name}:1")
    await bench.runtime.remove_image(f"{name}:1")
    assert await bench.runtime.image_id(f"{name}:1") is None
    assert await bench.runtime.image_id(f"{name}:2") == image_id
    await bench.runtime.remove_image(f"{name}:2")
    assert image_id not in {image.id for image in await bench.runtime.images()}
    await bench.runtime.remove_image(f"{name}:2")


async def test_an_image_that_a_container_uses_is_not_removed(bench: Bench) -> None:
    name = await own_image(bench)
    image_id = await bench.runtime.image_id(f"{name}:1")
    await bench.runtime.remove_image(f"{name}:2")
    assert image_id not in await bench.runtime.images_in_use()
    options = await bench.options(image=f"{name}:1")
    await bench.runtime.create(options)  # not even started
    assert image_id in await bench.runtime.images_in_use()
    with pytest.raises(Conflict):
        await bench.runtime.remove_image(f"{name}:1")
    assert await bench.runtime.image_id(f"{name}:1") == image_id
    await bench.runtime.remove(options.name)
    await bench.runtime.remove_image(f"{name}:1")
    assert await bench.runtime.image_id(f"{name}:1") is None
