"""From what a person wrote to what a container is: pure, so that `plan`, accept and tests get the same answer.

`expand` joins a spec with its template.  Files are still templates here: `${secrets.x}` and `${tls.key}` are filled when their values
exist, and a file in which such a value stands is itself a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lattice.contracts.spec import HealthSpec, PortProtocol, PortSpec, ResourceSpec, VolumeSpec, WorkloadSpec
from lattice.errors import FieldError, Invalid
from services.registry.template import Access, Template, TemplateFile, complete_values, fill, fill_health


@dataclass(frozen=True, slots=True)
class ImageChoice:
    """Which image to run: `wanted` first; `local` (any tag of that name) where `wanted` cannot be had and nobody insisted on it."""

    wanted: str
    local: str | None = None


@dataclass(frozen=True, slots=True)
class Expansion:
    """A workload as it will run, but for its image's digest and the values of its secrets."""

    image: ImageChoice
    command: tuple[str, ...] | None
    entrypoint: tuple[str, ...] | None
    env: dict[str, str]
    secret_refs: dict[str, str]
    files: tuple[TemplateFile, ...]
    generated: dict[str, int]
    places: dict[str, str]
    ports: tuple[PortSpec, ...]
    volumes: tuple[VolumeSpec, ...]
    resources: ResourceSpec
    health: HealthSpec | None
    liveness: HealthSpec | None
    stop_timeout_s: int
    access: Access | None
    uses_tls: bool


def expand(spec: WorkloadSpec, templates: Mapping[str, Template]) -> Expansion:
    """Join a spec with its template; Invalid says which part does not fit."""
    template = _find(spec, templates)
    values = complete_values(template, spec.values)
    places = {f"values.{name}": value for name, value in values.items() if isinstance(value, str)}
    _check_replicas(spec, template)
    _check_ports_of_checks(spec, template)
    _check_public_ports(spec, template)
    return Expansion(
        image=_image(spec, template, places),
        command=_command(spec, template, places),
        entrypoint=_entrypoint(spec, template),
        env={name: fill(text, places) for name, text in template.env.items()} | spec.plain_env,
        secret_refs={name: ref.from_ for name, ref in spec.secrets.items()},
        files=_files(template, values),
        generated={name: secret.length for name, secret in template.secrets.items()},
        places=places,
        ports=_merge_ports(template, spec),
        volumes=_merge_volumes(template, spec),
        resources=spec.resources or template.resources,
        health=spec.health or fill_health(template.health, places),
        liveness=spec.liveness,
        stop_timeout_s=template.stop_timeout_s,
        access=template.access or _plain_access(spec),
        uses_tls=template.uses_tls,
    )


def _find(spec: WorkloadSpec, templates: Mapping[str, Template]) -> Template:
    template = templates.get(spec.template or "custom")
    if template is None:
        raise Invalid(
            f"there is no template {spec.template!r}; there are: {', '.join(sorted(templates))}",
            errors=[FieldError(pointer="/template", detail="unknown template")],
        )
    if template.image is None and spec.image is None:
        detail = "this template needs an image"
        raise Invalid(
            f"template {template.name} needs an image", errors=[FieldError(pointer="/image", detail=detail)]
        )
    return template


def _check_replicas(spec: WorkloadSpec, template: Template) -> None:
    if spec.replicas > template.max_replicas:
        detail = f"at most {template.max_replicas} for template {template.name}"
        raise Invalid(
            f"replicas: {detail}; its data is not shared between instances",
            errors=[FieldError(pointer="/replicas", detail=detail)],
        )
    if spec.replicas > 1 and (spec.volumes or template.volumes):
        detail = "at most 1 with a volume: each instance would have data of its own"
        raise Invalid(f"replicas: {detail}", errors=[FieldError(pointer="/replicas", detail=detail)])


def _check_ports_of_checks(spec: WorkloadSpec, template: Template) -> None:
    known = {port.name for port in (*template.ports, *spec.ports)}
    try:
        spec.check_ports_of_checks(known)
    except ValueError as error:
        pointer = f"/{str(error).split(' ', maxsplit=1)[0]}"
        detail = f"{error} ({', '.join(sorted(known)) or 'there are none'})"
        raise Invalid(detail, errors=[FieldError(pointer=pointer, detail=detail)]) from None


def _check_public_ports(spec: WorkloadSpec, template: Template) -> None:
    """Nobody is made to send passwords readably by mistake: what is not http has to serve TLS, or somebody has to say that it need not."""
    secured = {port.name for port in template.ports} if template.uses_tls else set()
    for number, port in enumerate(spec.ports):
        if (
            port.public
            and port.protocol is PortProtocol.TCP
            and not port.plaintext
            and port.name not in secured
        ):
            detail = (
                f"port {port.name} would be public, and nothing says that it serves TLS: whoever is on the way could read what goes through it. "
                "Write `plaintext: true` beside `public: true` if that is meant"
            )
            raise Invalid(detail, errors=[FieldError(pointer=f"/ports/{number}", detail=detail)])


def _image(spec: WorkloadSpec, template: Template, places: Mapping[str, str]) -> ImageChoice:
    if template.image is None:
        return ImageChoice(wanted=spec.image or "")
    insisted = "version" in spec.values
    return ImageChoice(wanted=fill(template.image, places), local=None if insisted else template.local_image)


def _command(spec: WorkloadSpec, template: Template, places: Mapping[str, str]) -> tuple[str, ...] | None:
    if template.command is None:
        return spec.command
    if spec.command is not None:
        detail = f"template {template.name} sets its own command"
        raise Invalid(f"command: {detail}", errors=[FieldError(pointer="/command", detail=detail)])
    return tuple(fill(part, places) for part in template.command)


def _entrypoint(spec: WorkloadSpec, template: Template) -> tuple[str, ...] | None:
    if spec.entrypoint is not None and template.image is not None:
        detail = f"template {template.name} keeps its image's own"
        raise Invalid(f"entrypoint: {detail}", errors=[FieldError(pointer="/entrypoint", detail=detail)])
    return spec.entrypoint


def _files(template: Template, values: Mapping[str, Any]) -> tuple[TemplateFile, ...]:
    sets = [
        TemplateFile(path=f"{file_set.folder}/{name}", content=content, literal=True)
        for file_set in template.file_sets
        for name, content in sorted(values[file_set.values].items())
    ]
    taken = {file.path for file in sets}
    return (*(file for file in template.files if file.path not in taken), *sets)


def _merge_ports(template: Template, spec: WorkloadSpec) -> tuple[PortSpec, ...]:
    given = {port.name: port for port in spec.ports}
    return (*(given.pop(port.name, port) for port in template.ports), *given.values())


def _merge_volumes(template: Template, spec: WorkloadSpec) -> tuple[VolumeSpec, ...]:
    given = {volume.name: volume for volume in spec.volumes}
    return (*(given.pop(volume.name, volume) for volume in template.volumes), *given.values())


def _plain_access(spec: WorkloadSpec) -> Access | None:
    """A workload from an image is reached at its first port."""
    if not spec.ports:
        return None
    first = spec.ports[0]
    scheme = "http" if first.protocol == "http" else "tcp"
    return Access(port=first.name, uri=f"{scheme}://${{host}}:${{port}}")
