"""Whether the owner of a node allows something there.  Pure: the scheduler asks before it places, the agent before it makes a container."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase

from lattice.contracts.nouns import OwnerPolicy, PortRange
from lattice.image_reference import parse_reference


@dataclass(frozen=True, slots=True)
class NotAllowed:
    """Which rule says no, and why; `reason` follows "its owner" in a sentence."""

    rule: str
    reason: str


def why_not(
    policy: OwnerPolicy | None, *, pool: str, image: str, host_ports: Collection[int] = ()
) -> NotAllowed | None:
    """Why new work of this kind may not begin on the node now, or None.  Amounts are not looked at: they lower the node's capacity."""
    if policy is None:
        return why_not_ports(OwnerPolicy(), host_ports)
    if policy.problem:
        return NotAllowed("file", f"wrote a policy that cannot be used: {policy.problem}")
    if not policy.open_now:
        return NotAllowed("hours", f"allows new work only {policy.hours}")
    if policy.pools is not None and pool and pool not in policy.pools:
        return NotAllowed(
            "pools", f"allows only pool {' or '.join(policy.pools) or '(none)'}, and it is in pool {pool}"
        )
    if policy.images is not None and image and not allows_image(policy.images, image):
        return NotAllowed("images", f"allows only images {', '.join(policy.images) or '(none)'}")
    return why_not_ports(policy, host_ports)


def why_not_ports(policy: OwnerPolicy, host_ports: Collection[int]) -> NotAllowed | None:
    """Why these fixed host ports may not be used, or None."""
    outside = [port for port in sorted(host_ports) if not allows_port(policy.host_ports, port)]
    if not outside:
        return None
    allowed = format_ranges(policy.host_ports)
    only = f"allows fixed host ports only in {allowed}" if allowed else "allows no fixed host ports"
    wanted = ", ".join(map(str, outside))
    advice = f"leave out host_port, or ask for `host_ports: [{wanted}]` in the node's policy file"
    return NotAllowed("host_ports", f"{only}, and {wanted} is wanted: {advice}")


def allows_image(patterns: Collection[str], reference: str) -> bool:
    """Whether a pattern names the image: in full (`docker.io/library/redis`) or as people write it (`redis`), without tag and digest."""
    parsed = parse_reference(reference)
    names = (f"{parsed.host}/{parsed.repository}", parsed.familiar)
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


def allows_port(ranges: Collection[PortRange], port: int) -> bool:
    """Whether a range holds the port."""
    return any(each.first <= port <= each.last for each in ranges)


def format_ranges(ranges: Collection[PortRange]) -> str:
    """`5432, 8000-8099`."""
    return ", ".join(
        f"{each.first}" if each.first == each.last else f"{each.first}-{each.last}" for each in ranges
    )
