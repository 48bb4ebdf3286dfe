"""The fixtures other tests stand on: the Engine, our test image, registries, and sweeping up afterwards."""

from __future__ import annotations

import aiodocker
import pytest

from infra.setup.commands import run
from tests.fixtures.docker import CLUSTER_LABEL, remove_cluster
from tests.fixtures.registry import ImageRegistry


async def test_the_test_image_runs_a_command(
    docker: aiodocker.Docker, image_test: str, cluster_id: str
) -> None:
    container = await docker.containers.run(
        {"Image": image_test, "Cmd": ["sh", "-c", "printf hello"], "Labels": {CLUSTER_LABEL: cluster_id}}
    )
    assert (await container.wait())["StatusCode"] == 0
    assert await container.log(stdout=True) == ["hello"]


async def test_sweeping_removes_what_carries_the_cluster_and_nothing_else(
    docker: aiodocker.Docker, image_test: str, cluster_id: str
) -> None:
    labels = {CLUSTER_LABEL: cluster_id}
    await docker.containers.run({"Image": image_test, "Cmd": ["sleep", "600"], "Labels": labels})
    await docker.networks.create({"Name": f"net-{cluster_id}", "Labels": labels})
    for name, own in ((f"mine-{cluster_id}", labels), (f"other-{cluster_id}", {})):
        await docker.volumes.create({"Name": name, "Labels": own})
    try:
        remove_cluster(cluster_id)
        mine = f"label={CLUSTER_LABEL}={cluster_id}"
        for kind in (["container", "ls", "--all"], ["network", "ls"], ["volume", "ls"]):
            assert run(["docker", *kind, "--quiet", "--filter", mine]) == ""
        assert run(["docker", "volume", "ls", "--quiet", "--filter", f"name=other-{cluster_id}"]) != ""
    finally:
        run(["docker", "volume", "rm", f"other-{cluster_id}"])


async def test_an_image_can_be_pulled_from_the_open_registry(
    docker: aiodocker.Docker, image_test: str, registry: ImageRegistry
) -> None:
    name = registry.push(image_test, "acme/tool:1")
    await docker.images.pull(name)
    try:
        digests = (await docker.images.inspect(name))["RepoDigests"]
        assert any(digest.startswith(f"{registry.address}/acme/tool@") for digest in digests)
    finally:
        await docker.images.delete(name)


async def test_the_private_registry_wants_its_password(
    docker: aiodocker.Docker, image_test: str, private_registry: ImageRegistry
) -> None:
    name = private_registry.push(image_test, "acme/tool:1")
    with pytest.raises(aiodocker.DockerError, match="no basic auth credentials"):
        await docker.images.pull(name)
    auth = {"username": private_registry.username, "password": private_registry.password}
    await docker.images.pull(name, auth=auth)
    await docker.images.delete(name)
