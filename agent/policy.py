"""What the owner of this machine allows Lattice to do on it, and what that means for a desired document.  Pure.

The file is the owner's alone: nothing that the control plane sends can change it.  It speaks of new work; what was let in once goes on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from typing import Annotated, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from agent.facts import Facts, key_text
from lattice.contracts.messages import DesiredDocument, DesiredInstance
from lattice.contracts.nouns import Amounts, DesiredState, Inventory, LocalImage, Name, OwnerPolicy, PortRange
from lattice.contracts.owner_rules import NotAllowed, allows_image, why_not
from lattice.contracts.quantities import CpuMillis, SizeBytes, format_size
from lattice.contracts.spec_model import SpecModel

_TIME = re.compile(r"^([01]\d|2[0-3]):([0-5]\d)$|^24:00$")
_PATTERN = re.compile(r"^[A-Za-z0-9._/:*-]+$")
_PORTS = re.compile(r"^(\d{1,5})(?:-(\d{1,5}))?$")
_DAY = 24 * 60
_FIRST_PORT, _LAST_PORT = 1024, 65535


class Day(StrEnum):
    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


def _zone(name: str) -> str:
    zone_of(name)
    return name


def zone_of(name: str) -> tzinfo:
    """The time zone of this name; ValueError if this machine knows none."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"unknown time zone {name!r}: write one such as Europe/Berlin (they come with the system's tzdata)"
        ) from None


def _minutes(text: object) -> int:
    match = _TIME.match(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError('write a time as "08:30", in quotes, from 00:00 to 24:00')
    return int(match[1]) * 60 + int(match[2]) if match[1] else _DAY


def _image_pattern(text: str) -> str:
    if not _PATTERN.match(text) or ":" in text.rpartition("/")[2]:
        raise ValueError("write an image's name without tag and digest, * for any part: docker.io/library/*")
    return text


def _port_range(value: object) -> PortRange:
    match = _PORTS.match(str(value)) if isinstance(value, (int, str)) else None
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not _FIRST_PORT <= first <= last <= _LAST_PORT:
        raise ValueError("write a port or a range of ports from 1024 to 65535: 5432, 8000-8099")
    return PortRange(first=first, last=last)


Minutes = Annotated[int, BeforeValidator(_minutes)]


class Times(SpecModel):
    """Part of the week: from one time of a day to another; one that ends earlier than it begins ends on the next day."""

    days: Annotated[tuple[Day, ...], Field(min_length=1)] = tuple(Day)
    from_: Minutes = Field(alias="from")
    to: Minutes

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.from_ == self.to:
            raise ValueError('from and to are the same: a whole day is from "00:00" to "24:00"')
        return self


class Hours(SpecModel):
    """When new work may begin."""

    timezone: Annotated[str, AfterValidator(_zone)]
    times: Annotated[tuple[Times, ...], Field(min_length=1, max_length=50)]


class Limits(SpecModel):
    """What Lattice may use of the machine at most."""

    cpu: CpuMillis | None = None
    memory: SizeBytes | None = None
    disk: SizeBytes | None = None


class NodePolicy(SpecModel):
    """The owner's file.  What is left out is not limited; fixed host ports must be allowed."""

    pools: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None
    resources: Limits = Limits()
    hours: Hours | None = None
    images: tuple[Annotated[str, AfterValidator(_image_pattern)], ...] | None = None
    host_ports: tuple[Annotated[PortRange, BeforeValidator(_port_range)], ...] = ()


def is_open(hours: Hours | None, now: datetime) -> bool:
    """Whether the hours allow new work at this moment."""
    if hours is None:
        return True
    local = now.astimezone(zone_of(hours.timezone))
    minute, today = local.hour * 60 + local.minute, list(Day)[local.weekday()]
    yesterday = list(Day)[local.weekday() - 1]
    return any(_covers(times, minute, today, yesterday) for times in hours.times)


def _covers(times: Times, minute: int, today: Day, yesterday: Day) -> bool:
    if times.from_ < times.to:
        return today in times.days and times.from_ <= minute < times.to
    begun_today = today in times.days and minute >= times.from_
    return begun_today or (yesterday in times.days and minute < times.to)


def format_hours(hours: Hours | None) -> str:
    """`mon tue 18:00-23:00, sun 00:00-24:00 (Europe/Berlin)`."""
    if hours is None:
        return ""
    told = ", ".join(
        f"{'every day' if len(set(each.days)) == len(Day) else ' '.join(each.days)} {_clock(each.from_)}-{_clock(each.to)}"
        for each in hours.times
    )
    return f"{told} ({hours.timezone})"


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def owner_policy(policy: NodePolicy, file: str, now: datetime) -> OwnerPolicy:
    """What is told to the platform."""
    limits = policy.resources
    return OwnerPolicy(
        file=file,
        pools=policy.pools,
        images=policy.images,
        host_ports=policy.host_ports,
        cpu_millis=limits.cpu,
        memory_bytes=limits.memory,
        disk_bytes=limits.disk,
        hours=format_hours(policy.hours),
        open_now=is_open(policy.hours, now),
    )


def limited(inventory: Inventory, owner: OwnerPolicy | None) -> Inventory:
    """The inventory as the owner allows it to be used."""
    if owner is None:
        return inventory
    capacity = inventory.capacity
    lowered = Amounts(
        cpu_millis=_least(capacity.cpu_millis, owner.cpu_millis),
        memory_bytes=_least(capacity.memory_bytes, owner.memory_bytes),
        disk_bytes=_least(capacity.disk_bytes, owner.disk_bytes),
    )
    return inventory.model_copy(update={"capacity": lowered, "policy": owner})


def _least(amount: int, limit: int | None) -> int:
    return amount if limit is None else min(amount, limit)


# ---------------------------------------------------------------------------------------- what it refuses


def refusals(
    document: DesiredDocument | None,
    facts: Facts,
    owner: OwnerPolicy | None,
    images: Iterable[LocalImage] = (),
) -> dict[str, str]:
    """Why instances of the document are not let in, by `key_text`.  What was let in before stays in and takes its share first.

    `images` are those of the node: an image that is ordered by its id is what it is called here, not what the order calls it.
    """
    if document is None or (owner is None and not any(each.run.host_ports for each in document.instances)):
        return {}
    owner = owner or OwnerPolicy(file="policy.yaml, which is not there")
    wanted = [each for each in document.instances if each.desired is DesiredState.RUNNING]
    names = {image.id: image.references for image in images}
    used = _sum(each for each in document.instances if _was_let_in(each, facts))
    refused: dict[str, str] = {}
    for instance in sorted((each for each in wanted if not _was_let_in(each, facts)), key=_order):
        problem = _why_not(owner, document.pool, instance, names) or _exceeds(owner, used, _needs(instance))
        if problem is None:
            used = _plus(used, _needs(instance))
        else:
            refused[key_text(instance.key)] = (
                f"the owner of this node {problem.reason} (rule {problem.rule} of {owner.file})"
            )
    return refused


def _why_not(
    owner: OwnerPolicy, pool: str, instance: DesiredInstance, names: Mapping[str, tuple[str, ...]]
) -> NotAllowed | None:
    image_id = instance.run.image_id
    if image_id is not None and owner.images is not None:
        own = names.get(image_id, ())
        if not any(allows_image(owner.images, name) for name in own):
            called = " and ".join(own) or "nothing that is known"
            reason = f"allows only images {', '.join(owner.images) or '(none)'}, and {image_id[:19]} is called {called} here"
            return NotAllowed("images", reason)
    return why_not(owner, pool=pool, image=instance.run.image, host_ports=instance.run.host_ports)


def _was_let_in(instance: DesiredInstance, facts: Facts) -> bool:
    record = facts.record(instance.key)
    return record.admitted or record.was_made


def _order(instance: DesiredInstance) -> tuple[str, int, int]:
    return (instance.key.workload_id, instance.key.slot, instance.key.epoch)


def _needs(instance: DesiredInstance) -> Amounts:
    run = instance.run
    disk_bytes = sum(volume.size_bytes for volume in run.volumes)
    return Amounts(cpu_millis=run.cpu_millis, memory_bytes=run.memory_bytes, disk_bytes=disk_bytes)


def _sum(instances: Iterable[DesiredInstance]) -> Amounts:
    total = Amounts()
    for instance in instances:
        total = _plus(total, _needs(instance))
    return total


def _plus(one: Amounts, other: Amounts) -> Amounts:
    return Amounts(
        cpu_millis=one.cpu_millis + other.cpu_millis,
        memory_bytes=one.memory_bytes + other.memory_bytes,
        disk_bytes=one.disk_bytes + other.disk_bytes,
    )


def _exceeds(owner: OwnerPolicy, used: Amounts, need: Amounts) -> NotAllowed | None:
    """What is not needed is not counted: an instance without a volume fits where the disk is used up."""
    for name, limit, taken, wanted, written in (
        ("cpu", owner.cpu_millis, used.cpu_millis, need.cpu_millis, _cores),
        ("memory", owner.memory_bytes, used.memory_bytes, need.memory_bytes, format_size),
        ("disk", owner.disk_bytes, used.disk_bytes, need.disk_bytes, format_size),
    ):
        if limit is not None and wanted and taken + wanted > limit:
            reason = f"allows {written(limit)} of {name}; {written(taken)} are in use and {written(wanted)} are wanted"
            return NotAllowed(f"resources.{name}", reason)
    return None


def _cores(millis: int) -> str:
    return f"{millis / 1000:g} cores"
