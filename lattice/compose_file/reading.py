"""A compose file as one app: each service becomes the spec of a workload.  Pure: a document in, specs, problems and notes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from lattice.compose_file import limits, volumes
from lattice.compose_file.dependencies import dependencies, in_order
from lattice.compose_file.environment import environment
from lattice.compose_file.extension import extension
from lattice.compose_file.external_links import external_links
from lattice.compose_file.findings import Finding, Findings, Place
from lattice.compose_file.health import health
from lattice.compose_file.names import is_service_name, plain_name
from lattice.compose_file.ports import ports
from lattice.compose_file.scalars import Mapping_, known, mapping, one_of, read, text, words
from lattice.compose_file.support import SERVICE_KEYS, TOP_KEYS
from lattice.contracts.spec import WorkloadSpec

MOST_SERVICES = 32
_PULL = {"always": "always", "missing": "missing", "if_not_present": "missing", "never": "never"}
_KEY_OF = {
    "env": ("environment",), "links": ("external_links",),
    "secrets": ("x-lattice", "secrets"), "health": ("healthcheck",), "replicas": ("deploy", "replicas"),
    "resources": ("deploy", "resources", "limits"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class AppService:
    """One service: its name in the file, under which the others reach it, and the workload that it becomes."""

    service: str
    spec: WorkloadSpec


@dataclass(frozen=True, slots=True)
class AppFile:
    """What a compose file means.  With a problem that is not optional, `services` is not complete.

    Services stand in an order in which each comes after those on which it depends.
    """

    services: tuple[AppService, ...]
    problems: tuple[Finding, ...]
    notes: tuple[Finding, ...]


def read_app(document: Mapping[str, Any], app: str) -> AppFile:
    """Map a compose document to the app of this name."""
    findings = Findings()
    top = {name: (content, here) for name, content, here in known(document, TOP_KEYS, Place(findings))}
    place = Place(findings, ("services",))
    services = mapping(*top.get("services", ({}, place)))
    if not 1 <= len(services) <= MOST_SERVICES:
        place.refuse(f"an app has 1 to {MOST_SERVICES} services")
    names = _workload_names(app, services, place)
    named = volumes.declared(*top.get("volumes", (None, place)))
    owners: dict[str, str] = {}
    written = {}
    for service, content in services.items():
        if service in names:
            written[service] = _service(service, content, names, named, owners, place.under(service))
    order = in_order(
        {service: spec["depends_on"].keys() | spec["uses"] for service, spec in written.items()}, place
    )
    found = [_checked(service, written[service], names, place.under(service)) for service in order]
    _check_conditions(written, place)
    specs = tuple(each for each in found if each is not None)
    return AppFile(specs, tuple(findings.problems), tuple(findings.notes))


def _workload_names(app: str, services: Mapping_, place: Place) -> dict[str, str]:
    """service -> the name of its workload."""
    names: dict[str, str] = {}
    for service in services:
        name = plain_name(f"{app}-{service}")
        if not is_service_name(service):
            place.under(service).refuse("a service's name has letters, digits, dots, hyphens and underscores")
        elif name is None:
            place.under(service).refuse(
                f"its workload would be called {app}-{service}, and a name has 2 to 28 lower-case letters, digits and single hyphens: "
                "choose a shorter name of the app or of the service"
            )
        elif name in names.values():
            place.under(service).refuse(f"another service becomes the workload {name} too")
        else:
            names[service] = name
    return names


def _service(
    service: str,
    content: object,
    names: Mapping[str, str],
    named: frozenset[str],
    owners: dict[str, str],
    place: Place,
) -> dict[str, Any]:
    """The fields of the service's spec; `depends_on` still names services, and so does `uses`: those whose credentials it has."""
    given = {name: value for name, value, _ in known(content, SERVICE_KEYS, place)}
    if not given.get("image"):
        place.refuse("`image` is missing: Lattice runs images and builds none")
    env = environment(given.get("environment"), place.under("environment"))
    more = extension(given.get("x-lattice"), names, env, place.under("x-lattice"))
    pull = read(one_of(*_PULL), given.get("pull_policy"), place.under("pull_policy"))
    return {
        "name": names[service],
        "image": read(text, given.get("image"), place.under("image")),
        "command": read(words, given.get("command"), place.under("command")),
        "entrypoint": read(words, given.get("entrypoint"), place.under("entrypoint")) or None,
        "env": {**env, **more.env},
        "secrets": more.secrets,
        "uses": more.uses,
        "ports": ports(given.get("ports"), place.under("ports")),
        "volumes": volumes.mounts(given.get("volumes"), named, owners, service, place.under("volumes")),
        "health": health(given.get("healthcheck"), place.under("healthcheck")),
        "depends_on": dependencies(given.get("depends_on"), frozenset(names), place.under("depends_on")),
        "links": external_links(given.get("external_links"), place.under("external_links")) or None,
        "pull": _PULL[pull] if pull else None,
        **limits.running(given, place),
    }


def _checked(
    service: str, written: Mapping[str, Any], names: Mapping[str, str], place: Place
) -> AppService | None:
    """The spec, unless something of it cannot be accepted; then that is told under the key of the compose file."""
    depends_on = {names[other]: condition for other, condition in written["depends_on"].items()}
    given = {
        name: value
        for name, value in {**written, "depends_on": depends_on}.items()
        if value is not None and name != "uses"
    }
    try:
        return AppService(service, WorkloadSpec.model_validate(given))
    except ValidationError as error:
        for each in error.errors(include_input=False, include_url=False):
            field, *rest = (*each["loc"], "")[:2] if each["loc"] else ("", "")
            if field != "" and (field != "image" or written["image"]):
                _under(place, str(field), rest[0]).refuse(each["msg"].removeprefix("Value error, "))
            elif written["image"]:
                place.refuse(each["msg"].removeprefix("Value error, "))
        return None


def _under(place: Place, field: str, part: object) -> Place:
    here = place.under(*_KEY_OF.get(field, (field,)))
    return here.under(part) if isinstance(part, int) or (isinstance(part, str) and part) else here


def _check_conditions(written: Mapping[str, Mapping[str, Any]], place: Place) -> None:
    """What is waited for must be able to come."""
    for service, spec in written.items():
        for other, condition in spec["depends_on"].items():
            here, waited = place.under(service).under("depends_on").under(other), written.get(other)
            if waited is None:
                continue
            if condition == "healthy" and waited["health"] is None:
                here.refuse(
                    f"{other} has no healthcheck here, so it never counts as healthy: give it one, or wait for service_started"
                )
            if condition == "completed" and waited["restart"].get("policy") == "always":
                here.refuse(
                    f"{other} is started again whenever it ends, so it never completes: give it restart: no"
                )
