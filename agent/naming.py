"""How what the agent makes on the Engine is named and labelled, so that it finds it again after any crash.

Ids stand in names, names of people are labels.  Everything carries `lattice.cluster`: what carries another one belongs to another platform on
the same Engine and is none of our business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from lattice.contracts.messages import DesiredInstance
from lattice.contracts.nouns import ContainerKey

CLUSTER = "lattice.cluster"
PROJECT = "lattice.project"
WORKLOAD = "lattice.workload"
WORKLOAD_NAME = "lattice.workload-name"
INSTANCE = "lattice.instance"
EPOCH = "lattice.epoch"
SLOT = "lattice.slot"
REVISION = "lattice.revision"
VOLUME = "lattice.volume"
NETWORK = "lattice.network"
JOINS = "lattice.joins"
LINKS = "lattice.links"
RUN = "lattice.run"

Slot = tuple[str, int]


def slot_of(key: ContainerKey) -> Slot:
    """The slot (workload id, number) that a container fills."""
    return (key.workload_id, key.slot)


def container_name(cluster_id: str, key: ContainerKey, run_id: str = "") -> str:
    """The name of an instance's container; each run of a job has one of its own, so that none is ever made twice."""
    name = key.container_name(cluster_id)
    return f"{name}-{re.sub('[^A-Za-z0-9_.-]', '', run_id)}" if run_id else name


def container_labels(cluster_id: str, instance: DesiredInstance, run_id: str = "") -> dict[str, str]:
    """The labels of an instance's container."""
    labels = {RUN: run_id} if run_id else {}
    return labels | {
        CLUSTER: cluster_id,
        PROJECT: instance.project,
        WORKLOAD: instance.key.workload_id,
        WORKLOAD_NAME: instance.workload_name,
        INSTANCE: instance.instance_id,
        EPOCH: str(instance.key.epoch),
        SLOT: str(instance.key.slot),
        REVISION: str(instance.revision),
        **({NETWORK: instance.run.network} if instance.run.network else {}),
        **({JOINS: ",".join(instance.run.joins)} if instance.run.joins else {}),
    }


def key_from(labels: Mapping[str, str]) -> ContainerKey | None:
    """Which container these labels name, or None when they were not written by us."""
    try:
        return ContainerKey(
            workload_id=labels[WORKLOAD], slot=int(labels[SLOT]), epoch=int(labels[EPOCH])
        )  # fmt: skip
    except (KeyError, ValueError):
        return None


def network_of(instance: DesiredInstance) -> str:
    """Which network an instance is in: its app's, else its project's."""
    return instance.run.network or instance.project


def networks_of(instance: DesiredInstance) -> tuple[str, ...]:
    """All networks that an instance is in, its own first."""
    return (network_of(instance), *instance.run.joins)


def networks_in(labels: Mapping[str, str]) -> tuple[str, ...]:
    """The same of a container; its own is empty for one that is not ours."""
    joined = labels.get(JOINS, "")
    return (labels.get(NETWORK) or labels.get(PROJECT, ""), *filter(None, joined.split(",")))


def network_name(cluster_id: str, network: str) -> str:
    """Each project, and each app, has its own bridge on each node."""
    return f"lattice-{cluster_id}-{network}"


def files_container_name(cluster_id: str) -> str:
    """The container, never started, through which files get an owner that the agent may not give them."""
    return f"lattice-{cluster_id}-files"


def network_labels(cluster_id: str, project: str) -> dict[str, str]:
    return {CLUSTER: cluster_id, PROJECT: project}


def volume_name(cluster_id: str, volume_id: str) -> str:
    """Volumes are named by id: two projects may both have a volume `data`."""
    return f"lattice-{cluster_id}-{volume_id}"


def volume_labels(cluster_id: str, instance: DesiredInstance, volume_id: str) -> dict[str, str]:
    return {
        CLUSTER: cluster_id,
        PROJECT: instance.project,
        WORKLOAD: instance.key.workload_id,
        VOLUME: volume_id,
    }
