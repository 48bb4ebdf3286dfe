"""What scheduler and registry say to each other."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from lattice.contracts.nouns import Amounts, Id, NodeId, Noun, OwnerPolicy
from lattice.contracts.placement_spec import PlacementStrategy, PreferredConstraint


class TakeTerm(Noun):
    leader: str


class Term(Noun):
    term: int


class SchedulableNode(Noun):
    """What the scheduler knows of a node.  `placement_version` rises with every change of what is here."""

    node_id: NodeId
    name: str
    placement_version: int
    state: str
    reason: str = ""
    arch: str
    os: str = ""
    pool: str
    labels: dict[str, str] = {}
    capacity: Amounts
    reserved: Amounts
    held_by_stopped: Amounts = Field(
        Amounts(), description="the part of `reserved` that stopped instances keep"
    )
    disk_problem: str = Field("", description="why its disk is too full for new work; empty when it is not")
    document_free_bytes: int = Field(0, description="what its desired document can still take")
    image_ids: frozenset[str] = Field(
        frozenset(), description="of the images that somebody asks for by id, those that are here"
    )
    policy: OwnerPolicy | None = Field(None, description="what its owner allows; null: everything")
    host_ports: dict[int, str] = Field({}, description="fixed host port -> the workload that has it")
    workloads: dict[str, int] = Field({}, description="workload_id -> how many of its instances are here")


class PlacementRule(Noun):
    """Where an instance is to be, or not to be, with those of a workload."""

    workload_name: str
    workload_id: Id | None = Field(None, description="null while there is no workload of that name")
    topology: str = Field("node", description="`node` or `label.KEY`: what counts as together")
    weight: int | None = Field(None, description="of a wish; null where it must be so")
    is_theirs: bool = Field(
        False, description="the rule of the workload that it names, not of the one to place"
    )


class PlacementRequest(Noun):
    """One instance that needs a node."""

    instance_id: Id
    workload_id: Id
    workload_name: str
    project: str
    slot: int
    workload_generation: int
    reserve: Amounts
    document_bytes: int = Field(0, description="what it takes of its node's desired document")
    pools: tuple[str, ...] = ("default",)
    constraints: tuple[str, ...] = ()
    only_nodes: tuple[str, ...] | None = Field(
        None, description="where its volume or its local-only image is"
    )
    only_nodes_reason: str = ""
    avoid: dict[str, str] = Field({}, description="node_id -> why it is not to run there again")
    image_id: str | None = None
    host_ports: tuple[int, ...] = ()
    image: str = Field("", description="the reference, for nodes whose owner allows only some")
    group: str = Field("", description="instances of one group go to one node, in one decision")
    group_name: str = Field("", description="the group, for people: `app shop`")
    spread: str = Field(
        "node", description="`node` or `label.KEY`: what to spread over; `none` for not at all"
    )
    strategy: PlacementStrategy = PlacementStrategy.SPREAD
    preferred: tuple[PreferredConstraint, ...] = ()
    affinity: tuple[PlacementRule, ...] = ()
    anti_affinity: tuple[PlacementRule, ...] = Field(
        (), description="its own rules, and those of others that keep apart from it"
    )


class RejectedNode(Noun):
    """Why one node cannot take an instance."""

    node_id: NodeId
    node_name: str
    filter: str
    reason: str


class Leaving(Noun):
    """An instance that goes when another takes its place, and what it frees."""

    workload_id: Id
    node_id: NodeId
    reserve: Amounts
    document_bytes: int = 0


class TrialStep(Noun):
    """An instance that would want a node, and the one whose place it takes."""

    request: PlacementRequest
    leaving: Leaving | None = None


class TryPlacements(Noun):
    """Where would these go, one after the other?  With `stop_first`, each old one is gone before its new one comes."""

    steps: tuple[TrialStep, ...] = ()
    stop_first: bool = False


class TriedPlacement(Noun):
    slot: int
    node_name: str | None = None
    reason: str
    rejected: tuple[RejectedNode, ...] = ()


class TriedPlacements(Noun):
    """In the order of the steps.  Nothing was placed, and by the time that somebody does it the nodes may be others."""

    tried: tuple[TriedPlacement, ...] = ()


class SchedulingQuery(Noun):
    """Which waiting instances the scheduler asks about: those of these workloads, or all; and which nodes it has to be told of."""

    workload_ids: frozenset[Id] | None = Field(None, description="None for all that wait")
    image_ids: frozenset[str] = Field(
        frozenset(), description="images to look for on nodes, beside those that waiting instances ask for"
    )
    since: datetime | None = Field(
        None, description="only nodes that changed after this: `at` of an earlier answer"
    )
    after: NodeId | None = Field(
        None, description="only nodes, those after this one: the next page of all nodes"
    )


class SchedulingSnapshot(Noun):
    term: int
    nodes: tuple[SchedulableNode, ...]
    wanted: tuple[PlacementRequest, ...]
    gone: tuple[NodeId, ...] = Field(
        (), description="of those that changed: no nodes of the platform any more"
    )
    more_after: NodeId | None = Field(
        None, description="there are more nodes; of all nodes ask for those after this one"
    )
    at: datetime | None = Field(None, description="what changed later is not in here")


class Placement(Noun):
    """The scheduler's decision for one instance, with its reasons."""

    instance_id: Id
    workload_id: Id
    workload_generation: int
    node_id: NodeId
    placement_version: int = Field(description="of the node, as seen by the decision")
    score: float
    reason: str
    rejected: tuple[RejectedNode, ...] = ()


class UnplaceableInstance(Noun):
    instance_id: Id
    workload_id: Id
    summary: str
    rejected: tuple[RejectedNode, ...] = ()


class CommitPlacements(Noun):
    term: int
    placements: tuple[Placement, ...] = ()
    unplaceable: tuple[UnplaceableInstance, ...] = ()


class RefusedPlacement(Noun):
    instance_id: Id
    reason: str


class PlacementsCommitted(Noun):
    """Partial per instance: losers are to be placed again on the newer nodes that come along."""

    accepted: tuple[str, ...] = ()
    refused: tuple[RefusedPlacement, ...] = ()
    nodes: tuple[SchedulableNode, ...] = ()
