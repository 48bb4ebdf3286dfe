"""How much a compose service may use, how often it runs and what becomes of it when it ends: `deploy`, and the older keys beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lattice.compose_file import amounts
from lattice.compose_file.findings import Place
from lattice.compose_file.scalars import Mapping_, known, one_of, only, read
from lattice.compose_file.support import DEPLOY_KEYS

_RESTART = {"no": "never", "always": "always", "unless-stopped": "always", "on-failure": "on-failure"}
_CONDITION = {"none": "never", "any": "always", "on-failure": "on-failure"}
_PARSERS: dict[str, tuple[str, Callable[[object], Any]]] = {
    "cpus": ("cpu", amounts.cores),
    "memory": ("memory", amounts.size_bytes),
    "pids": ("pids", amounts.whole),
}
_OLDER = {"cpus": "cpus", "mem_limit": "memory", "pids_limit": "pids"}


def running(service: Mapping_, place: Place) -> dict[str, Any]:
    """The parts of a spec about how a service runs: replicas, resources, restart, update."""
    deploy = {
        name: (content, here) for name, content, here in known(service.get("deploy"), DEPLOY_KEYS, place.under("deploy"))
    }  # fmt: skip
    if "mode" in deploy:
        read(one_of("replicated"), *deploy["mode"])
    return {
        "resources": _resources(service, deploy.get("resources"), place),
        "replicas": _replicas(service, deploy.get("replicas"), place),
        "restart": _restart(service, deploy.get("restart_policy"), place),
        "update": _update(deploy.get("update_config")),
    }


Part = tuple[Any, Place]


def _resources(service: Mapping_, given: Part | None, place: Place) -> dict[str, Any] | None:
    limits: dict[str, Part] = {
        older: (service[name], place.under(name)) for name, older in _OLDER.items() if name in service
    }
    if given is not None:
        content, here = given
        part = only(content, ("limits",), here, why="limits are reserved as well")
        below = here.under("limits")
        for name, amount in only(part.get("limits"), tuple(_PARSERS), below).items():
            if name in limits:
                below.under(name).refuse("it is given twice: here and beside `deploy`")
            limits[name] = (amount, below.under(name))
    found = {}
    for name, (amount, here) in limits.items():
        field, parse = _PARSERS[name]
        found[field] = read(parse, amount, here)
    wanted = {name: amount for name, amount in found.items() if amount is not None}
    missing = [word for word, field in (("0.5 cores", "cpu"), ("512 MiB", "memory")) if field not in wanted]
    if missing:
        place.note(f"no limit is given, so {' and '.join(missing)} are reserved and the most that it may use")
    return wanted or None


def _replicas(service: Mapping_, given: Part | None, place: Place) -> int | None:
    if given is not None:
        return read(amounts.whole, *given)
    return read(amounts.whole, service.get("scale"), place.under("scale"))


def _restart(service: Mapping_, given: Part | None, place: Place) -> dict[str, Any]:
    if given is not None:
        return _restart_policy(*given)
    policy = service.get("restart")
    if policy is None:
        place.note("no `restart` is given: as in compose it is not started again when it ends")
        return {"policy": "never"}
    word, _, times = str(policy).partition(":")
    here = place.under("restart")
    if times:
        here.unsupported("a number of attempts is not supported: a pause that grows lies between them")
    # YAML 1.1 reads a plain `no` as false.
    wanted = read(one_of(*_RESTART), "no" if policy is False else word, here)
    return {"policy": _RESTART[wanted]} if wanted else {}


def _restart_policy(value: object, place: Place) -> dict[str, Any]:
    given = only(value, ("condition", "delay"), place)
    condition = read(one_of(*_CONDITION), given.get("condition", "any"), place.under("condition"))
    delay_s = read(amounts.duration_s, given.get("delay"), place.under("delay"))
    backoff = {} if delay_s is None else {"backoff": {"initial": max(delay_s, 0.1)}}
    return {"policy": _CONDITION[condition or "any"], **backoff}


def _update(given: Part | None) -> dict[str, Any] | None:
    if given is None:
        return None
    content, place = given
    wanted = only(content, ("order",), place)
    order = read(one_of("start-first", "stop-first"), wanted.get("order"), place.under("order"))
    return {"order": order} if order else None
