"""Everything that must be there before a container can be: image, network, volumes, files, ports.  Every part may be done twice."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping

from agent.facts import Facts, slot_text
from agent.instance_files import InstanceFiles
from agent.link_labels import link_label
from agent.naming import (
    WORKLOAD_NAME,
    container_labels,
    container_name,
    network_labels,
    network_name,
    network_of,
    networks_of,
    slot_of,
    volume_labels,
    volume_name,
)
from agent.ports import IsFree, choose, holder_of, is_free
from agent.pulled_images import PulledImages
from lattice.contracts.messages import DesiredInstance, SealedValue
from lattice.contracts.spec import PullPolicy
from lattice.errors import Invalid
from lattice.runtime import (
    Container,
    ContainerOptions,
    FileBind,
    ImageNotFound,
    PortTaken,
    PublishedPort,
    Runtime,
    VolumeMount,
)

Sealed = Mapping[str, SealedValue]


class Launcher:
    """Prepares what instances of one cluster need on one Engine."""

    def __init__(
        self,
        runtime: Runtime,
        cluster_id: str,
        files: InstanceFiles,
        images: PulledImages,
        *,
        chance: random.Random,
        port_is_free: IsFree = is_free,
    ) -> None:
        self._runtime, self._cluster_id, self._files, self._images = runtime, cluster_id, files, images
        self._chance, self._port_is_free = chance, port_is_free
        self._addresses: dict[str, str] = {}

    async def fetch_image(
        self, instance: DesiredInstance, sealed: Sealed, progress: Callable[[str], None]
    ) -> None:
        """Have the image on the node.  Raises ImageNotFound, ImageDenied, NoSpace, Temporary."""
        run = instance.run
        present = await self._images.is_here(run.image_id or run.image)
        if present and (run.image_id is not None or not _asks_registry(run.pull, run.image)):
            return
        if run.image_id is not None:
            raise ImageNotFound(f"image {run.image} exists only on nodes, and no longer on this one")
        if run.pull is PullPolicy.NEVER:
            raise ImageNotFound(
                f"image {run.image} is not on this node, and `pull: never` forbids fetching it"
            )
        auth = self._files.registry_auth(run, sealed)
        await self._images.pull(run.image, progress=progress, auth=auth)

    def choose_ports(self, instance: DesiredInstance, facts: Facts) -> dict[str, int]:
        """Host ports for the instance: its slot's own while they are free.  Raises NoPortLeft."""
        own = slot_text(slot_of(instance.key))
        taken = {port for slot, ports in facts.ports.items() if slot != own for port in ports.values()}
        fixed = {str(p.container_port): p.host_port for p in instance.run.ports if p.host_port is not None}
        wanted = [port.container_port for port in instance.run.ports if port.host_port is None]
        kept, avoid = facts.ports.get(own, {}), {*taken, *fixed.values()}
        return {**choose(wanted, kept, avoid, chance=self._chance, free=self._port_is_free), **fixed}

    def check_fixed_ports(self, instance: DesiredInstance, containers: Iterable[Container]) -> None:
        """Raises PortTaken, with who has it, for a fixed host port that is in use."""
        for port in instance.run.host_ports:
            if not self._port_is_free(port):
                raise PortTaken(f"host port {port} is in use on this node by {_holder(port, containers)}")

    async def make_container(
        self,
        instance: DesiredInstance,
        sealed: Sealed,
        ports: Mapping[str, int],
        known_volumes: frozenset[str],
        run_id: str = "",
    ) -> Container:
        """Make the container with all that it needs; start nothing."""
        await self._ensure_networks(instance)
        address = self._addresses[network_of(instance)]
        if instance.run.links and not address:
            raise Invalid(
                "the Engine says no address of this node in the container's network, to which its links could lead"
            )
        await self._ensure_volumes(instance, known_volumes)
        binds = await self._files.make(instance, sealed)
        env = self._files.variables(instance.run, sealed)
        return await self._runtime.create(
            container_options(self._cluster_id, instance, ports, binds, env, run_id, address=address)
        )

    async def make_files(self, instance: DesiredInstance, sealed: Sealed) -> None:
        """Have the instance's files, as they were when its container was made."""
        await self._files.make(instance, sealed)

    def remove_files(self, instance_id: str) -> None:
        """Remove what was made for an instance that is gone."""
        self._files.remove(instance_id)

    async def leave_network(self, network: str) -> None:
        """Remove a network if nothing uses it: the Engine has room for some thirty only."""
        self.doubt_networks([network])
        await self._runtime.remove_network(network_name(self._cluster_id, network))

    def doubt_networks(self, networks: Iterable[str]) -> None:
        """Look for these networks again before they are used next."""
        for network in networks:
            self._addresses.pop(network, None)

    async def _ensure_networks(self, instance: DesiredInstance) -> None:
        """Asked of the Engine once per network: the question costs more than making the container."""
        labels = network_labels(self._cluster_id, instance.project)
        for network in networks_of(instance):
            if network not in self._addresses:
                name = network_name(self._cluster_id, network)
                self._addresses[network] = await self._runtime.ensure_network(name, labels)

    def is_in_its_networks(self, instance: DesiredInstance, container: Container) -> bool:
        """Whether a container joined all that it was to join: a crash may come between its making and that."""
        wanted = {network_name(self._cluster_id, each) for each in instance.run.joins}
        return wanted <= set(container.networks)

    async def _ensure_volumes(self, instance: DesiredInstance, known: frozenset[str]) -> None:
        if not instance.run.volumes:
            return
        present = await self._runtime.volumes(self._cluster_id)
        for volume in instance.run.volumes:
            name = volume_name(self._cluster_id, volume.volume_id)
            if name in present:
                continue
            if volume.volume_id in known:
                raise Invalid(
                    f"volume {volume.name} ({volume.volume_id}) was on this node and is gone; it is not started "
                    "empty: restore it from a backup, or remove the volume and deploy again"
                )
            labels = volume_labels(self._cluster_id, instance, volume.volume_id)
            await self._runtime.ensure_volume(name, labels, size_bytes=volume.size_bytes)


def container_options(
    cluster_id: str,
    instance: DesiredInstance,
    ports: Mapping[str, int],
    binds: tuple[FileBind, ...],
    env: Mapping[str, str],
    run_id: str = "",
    *,
    address: str = "",
) -> ContainerOptions:
    """The container of an instance; names of its links lead to `address`, the node's own in its network.  Pure."""
    run = instance.run
    return ContainerOptions(
        name=container_name(cluster_id, instance.key, run_id),
        image=run.image_id or run.image,
        labels=container_labels(cluster_id, instance, run_id) | link_label(address, run.links),
        network=network_name(cluster_id, network_of(instance)),
        aliases=tuple(dict.fromkeys((instance.workload_name, *run.aliases))),
        joins=tuple(network_name(cluster_id, network) for network in run.joins),
        hosts={host: address for link in run.links for host in link.hosts},
        command=run.command,
        entrypoint=run.entrypoint,
        env=env,
        ports=tuple(
            PublishedPort(container_port=p.container_port, host_port=ports[str(p.container_port)])
            for p in run.ports
        ),
        volumes=tuple(
            VolumeMount(volume=volume_name(cluster_id, v.volume_id), path=v.path) for v in run.volumes
        ),
        files=binds,
        cpu_millis=run.cpu_millis,
        memory_bytes=run.memory_bytes,
        pids=run.pids,
        stop_timeout_s=run.stop_timeout_s,
    )


def _holder(port: int, containers: Iterable[Container]) -> str:
    """One of our containers by its workload, else the process that listens."""
    for container in containers:
        if container.is_up and any(each.host_port == port for each in container.ports):
            return f"workload {container.labels.get(WORKLOAD_NAME, '?')} (container {container.name})"
    return holder_of(port)


def _asks_registry(policy: PullPolicy, image: str) -> bool:
    """Whether an image that is present is asked for all the same; a digest can mean nothing else than what is here."""
    return policy is PullPolicy.ALWAYS and "@sha256:" not in image
