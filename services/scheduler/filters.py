"""What a node must have to take an instance.  Each filter says whether it matters, whether a node passes, and why not.

The filters are asked in the order of `FILTERS`; the first that a node fails is the reason that people see for it.  To add one: write the
class, put it into `FILTERS`, and give it a case in `tests/unit/test_filters.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lattice.contracts.messages import PlacementRequest
from lattice.contracts.nouns import Amounts, NodeState
from lattice.contracts.placement_spec import parse_constraint
from lattice.contracts.quantities import format_size
from services.scheduler.affinity import COMPANY_FILTERS
from services.scheduler.candidate import Candidate, Room
from services.scheduler.constraints import holds, present
from services.scheduler.filtering import Filter, Group
from services.scheduler.owner_filters import HostPortFilter, OwnerFilter

# Ten thousand nodes are compared with it per batch; a member of an enumeration is looked up each time.
_READY = NodeState.READY.value


class StateFilter:
    """Only a node that is ready takes new work."""

    name = "state"

    def matters(self, request: PlacementRequest) -> bool:
        return True

    def check(self, request: PlacementRequest, candidate: Candidate) -> bool:
        return candidate.node.state == _READY

    def explain(self, request: PlacementRequest, candidate: Candidate) -> str:
        node = candidate.node
        return f"is {node.state}: {node.reason}" if node.reason else f"is {node.state}"

    def summarise(self, request: PlacementRequest, rejected: Sequence[Candidate]) -> list[Group]:
        counts: dict[str, int] = defaultdict(int)
        for candidate in rejected:
            counts[candidate.node.state] += 1
        return [Group(count, f"is {state}", f"are {state}") for state, count in sorted(counts.items())]


class DiskFilter:
    """The node's disk has not passed the watermark above which it takes no new work."""

    name = "disk_watermark"

    def matters(self, request: PlacementRequest) -> bool:
        return True

    def check(self, request: PlacementRequest, candidate: Candidate) -> bool:
        return not candidate.node.disk_problem

    def explain(self, request: PlacementRequest, candidate: Candidate) -> str:
        return f"cannot take it: {candidate.node.disk_problem}"

    def summarise(self, request: PlacementRequest, rejected: Sequence[Candidate]) -> list[Group]:
        return [
            Group(
                len(rejected),
                f"has too full a disk ({rejected[0].node.disk_problem})",
                "have too full a disk for new work",
            )
        ]


class PoolFilter:
    """The node belongs to one of the pools that the workload names."""

    name = "pool"

    def matters(self, request: PlacementRequest) -> bool:
        return True

    def check(self, request: PlacementRequest, candidate: Candidate) -> bool:
        return candidate.node.pool in request.pools

    def explain(self, request: PlacementRequest, candidate: Candidate) -> str:
        return f"is in pool {candidate.node.pool}, and {_either(request.pools)} is wanted"

    def summarise(self, request: PlacementRequest, rejected: Sequence[Candidate]) -> list[Group]:
        wanted = f"outside of pool {_either(request.pools)}"
        return [Group(len(rejected), f"is {wanted}", f"are {wanted}")]


class ConstraintFilter:
    """Every constraint of the workload is true of the node."""

    name = "constraint"

    def matters(self, request: PlacementRequest) -> bool:
        return bool(request.constraints)

    def check(self, request: PlacementRequest, candidate: Candidate) -> bool:
        return all(holds(text, candidate.node) for text in request.constraints)

    def explain(self, request: PlacementRequest, candidate: Candidate) -> str:
        text = self._failed(request, candidate)
        key = parse_constraint(text)[0]
        values = " or ".join(present(key, candidate.node)) or "nothing"
        return f"does not meet {text!r}: its {key} is {values}"

    def summarise(self, request: PlacementRequest, rejected: Sequence[Candidate]) -> list[Group]:
        counts: dict[str, int] = defaultdict(int)
        for candidate in rejected:
            counts[self._failed(request, candidate)] += 1
        return [
            Group(count, f"does not meet {text!r}", f"do not meet {text!r}") for text, count in counts.items()
        ]

    def _failed(self, request: PlacementRequest, candidate: Candidate) -> str:
        return next(text for text in request.constraints if not holds(text, candidate.node))


class OnlyNodesFilter:
    """The node is where the instance's volume or its image is."""

    name = "only_nodes"

    def matters(self, request: PlacementRequest) -> bool:
        return request.only_nodes is not None

    def check(self, request: PlacementRequest, candidate: Candidate) -> bool:
        return request.only_nodes is None or candidate.node.node_id in request.only_nodes

    def explain(self, request: PlacementRequest, candidate: Candidate) -> str:
        return f"is not where it has to run{_because(request)}"

    def summarise(self, request: PlacementRequest, rejected: Sequence[Candidate]) -> list[Group]:
        where = f"not where it has to run{_because(request)}"
        return [Group(len(rejected), f"is {where}", f"are {where}")]


class AvoidFilter:
    """The node is not one on which the instance kept failing, and which it is to leave."""

    name = "failed_there"

    def matters(self, request: PlacementRequest) -> bool:
        return bool(request.avoid)

    def check(self, request: PlacementRequest, candidate: Candidate) -> bool:
        return candidate.node.node_id not in request.avoid

    def explain(self, request: PlacementRequest, candidate: Candidate) -> str:
        return f"is to be left: {request.avoid[candidate.node.node_id]}"

    def summarise(self, request: PlacementRequest, rejected: Sequence[Candidate]) -> list[Group]:
        left = "to be left, because it kept failing there"
        return [Group(len(rejected), f"is {left}", f"are {left}")]


class ImageFilter:
    """The node holds an image that exists on nodes only."""

    name = "image"

    def matters(self, request: PlacementRequest) -> bool:
        return request.image_id is not None

    def check(self, request: PlacementRequest, candidate: Candidate) -> bool:
        return request.image_id is None or request.image_id in candidate.node.image_ids

    def explain(self, request: PlacementRequest, candidate: Candidate) -> str:
        return f"does not have the image {_short(request.image_id)}, which exists on nodes only"

    def summarise(self, request: PlacementRequest, rejected: Sequence[Candidate]) -> list[Group]:
        missing = f"have the image {_short(request.image_id)}, which exists on nodes only"
        return [Group(len(rejected), f"does not {missing}", f"do not {missing}")]


@dataclass(frozen=True, slots=True)
class ResourceFilter:
    """The node has room: what is reserved there and what the instance needs stay within its capacity."""

    name: str
    amount: Callable[[Amounts | Room], int]
    written: Callable[[int], str]

    def matters(self, request: PlacementRequest) -> bool:
        return self.amount(request.reserve) > 0

    def check(self, request: PlacementRequest, candidate: Candidate) -> bool:
        need = self.amount(request.reserve)
        return need == 0 or need <= self.amount(candidate.free)

    def explain(self, request: PlacementRequest, candidate: Candidate) -> str:
        lack = f"lacks {self.name}: it needs {self._need(request)} and has {self._free(candidate)} free"
        held = self.amount(candidate.node.held_by_stopped)
        return f"{lack}; stopped workloads keep {self.written(held)} until they are removed" if held else lack

    def summarise(self, request: PlacementRequest, rejected: Sequence[Candidate]) -> list[Group]:
        most = max(rejected, key=lambda candidate: self.amount(candidate.free))
        numbers = f"{self.name} (needs {self._need(request)}, most has {self._free(most)} free)"
        return [Group(len(rejected), f"lacks {numbers}", f"lack {numbers}")]

    def _need(self, request: PlacementRequest) -> str:
        return self.written(self.amount(request.reserve))

    def _free(self, candidate: Candidate) -> str:
        return self.written(max(0, self.amount(candidate.free)))


class DocumentFilter:
    """The node's desired document has room: a node is sent one message that names all that it is to run."""

    name = "document"

    def matters(self, request: PlacementRequest) -> bool:
        return request.document_bytes > 0

    def check(self, request: PlacementRequest, candidate: Candidate) -> bool:
        return request.document_bytes <= candidate.document_free_bytes

    def explain(self, request: PlacementRequest, candidate: Candidate) -> str:
        need, free = format_size(request.document_bytes), format_size(max(0, candidate.document_free_bytes))
        return f"has no room in its orders: the workload's take {need}, and {free} are left; put large files into the image or a volume"

    def summarise(self, request: PlacementRequest, rejected: Sequence[Candidate]) -> list[Group]:
        room = f"no room in {'its' if len(rejected) == 1 else 'their'} orders (the workload's take {format_size(request.document_bytes)})"
        return [Group(len(rejected), f"has {room}", f"have {room}")]


def _cores(millis: int) -> str:
    return "1 core" if millis == 1000 else f"{millis / 1000:g} cores"


FILTERS: tuple[Filter, ...] = (
    StateFilter(),
    PoolFilter(),
    OwnerFilter(),
    ConstraintFilter(),
    OnlyNodesFilter(),
    AvoidFilter(),
    ImageFilter(),
    DiskFilter(),
    *COMPANY_FILTERS,
    ResourceFilter("cpu", lambda amounts: amounts.cpu_millis, _cores),
    ResourceFilter("memory", lambda amounts: amounts.memory_bytes, format_size),
    ResourceFilter("disk", lambda amounts: amounts.disk_bytes, format_size),
    HostPortFilter(),
    DocumentFilter(),
)


# What other placements do not change, but by taking room.
LASTING_FILTERS: tuple[Filter, ...] = tuple(one for one in FILTERS if one not in COMPANY_FILTERS)


def failed(request: PlacementRequest, candidate: Candidate, filters: Sequence[Filter]) -> Filter | None:
    """The first filter that the node does not pass."""
    for one in filters:
        if not one.check(request, candidate):
            return one
    return None


def _either(values: Sequence[str]) -> str:
    return " or ".join(values)


def _because(request: PlacementRequest) -> str:
    return f" ({request.only_nodes_reason})" if request.only_nodes_reason else ""


def _short(image_id: str | None) -> str:
    return (image_id or "").removeprefix("sha256:")[:12]
