"""An entry of the service catalogue: what a template declares, read from `catalogue/*.yaml`.

A template is data with a schema; its strings may name `${values.x}`, `${secrets.x}`, `${tls.certificate|key|ca}` and, for access only,
`${host}` and `${port}`.  What becomes of it for one workload is decided in `expansion`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import yaml
from jsonschema import Draft202012Validator
from pydantic import BeforeValidator, Field

from lattice.contracts.nouns import Name
from lattice.contracts.spec import HealthSpec, PortSpec, ResourceSpec, VolumeSpec
from lattice.contracts.spec_model import SpecModel
from lattice.contracts.views import TemplateView
from lattice.errors import FieldError, Invalid

FOLDER = Path(__file__).parent / "catalogue"
_PLACE = re.compile(r"\$\{([a-z_.]+)\}")

FileMode = Annotated[int, BeforeValidator(lambda mode: int(mode, 8) if isinstance(mode, str) else mode)]


class GeneratedSecret(SpecModel):
    """A random secret, made once; it lives with the workload's volume where there is one."""

    length: int = Field(ge=16, le=128)


class TemplateFile(SpecModel):
    """A read-only file inside the container."""

    path: str
    content: str
    mode: FileMode = 0o444
    uid: int = 0
    gid: int = 0
    literal: bool = Field(False, description="content comes from a person: `${…}` in it means nothing")

    @property
    def is_secret(self) -> bool:
        """Whether a secret stands in it, so that it is delivered sealed."""
        return not self.literal and any(mark in self.content for mark in ("${secrets.", "${tls.key}"))

    def text(self, places: Mapping[str, str]) -> str:
        """The content with every place filled, in one pass: what a value contains is never read as a place."""
        return self.content if self.literal else fill(self.content, places)


class FileSet(SpecModel):
    """One file per entry of an object among the values."""

    folder: str
    values: str


class Access(SpecModel):
    """How to reach the service: `uri` and the parts that it is made of."""

    port: Name
    uri: str
    uri_ca_option: str = Field(
        "", description="appended where whoever connects has the platform's CA in ${ca_file}"
    )
    username: str = ""
    password: str = ""
    database: str = ""


class Template(SpecModel):
    """One entry of the catalogue."""

    name: Name
    title: str
    description: str
    example: str
    image: str | None = None
    local_image: str | None = Field(None, description="what set-up builds where the image cannot be had")
    uses_tls: bool = False
    max_replicas: int = Field(ge=1)
    values: dict[str, Any]
    secrets: dict[str, GeneratedSecret] = {}
    env: dict[str, str] = {}
    command: tuple[str, ...] | None = None
    files: tuple[TemplateFile, ...] = ()
    file_sets: tuple[FileSet, ...] = ()
    ports: tuple[PortSpec, ...] = ()
    volumes: tuple[VolumeSpec, ...] = ()
    resources: ResourceSpec = ResourceSpec()
    health: dict[str, Any] | None = None
    stop_timeout_s: int = 10
    access: Access | None = None

    def view(self) -> TemplateView:
        """The template as people see it."""
        images = tuple(image for image in (self.image, self.local_image) if image)
        return TemplateView(
            name=self.name,
            title=self.title,
            description=self.description,
            values_schema=self.values,
            images=images,
            max_replicas=self.max_replicas,
            example=self.example,
            ports=self.ports,
        )


@cache
def load_templates(folder: Path = FOLDER) -> Mapping[str, Template]:
    """All templates by name, read once; an unreadable one fails the start, with its file in the message."""
    templates = [_load(path) for path in sorted(folder.glob("*.yaml"))]
    return MappingProxyType({template.name: template for template in templates})


def _load(path: Path) -> Template:
    try:
        template = Template.model_validate(yaml.safe_load(path.read_text()))
        Draft202012Validator.check_schema(template.values)
    except Exception as error:
        raise Invalid(f"the template in {path.name} cannot be used: {error}") from error
    return template


def complete_values(template: Template, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values with defaults filled in; Invalid with a pointer per broken value."""
    properties: dict[str, dict[str, Any]] = template.values.get("properties", {})
    values = {name: schema["default"] for name, schema in properties.items() if "default" in schema} | dict(
        given
    )
    problems = [
        FieldError(
            pointer="/values" + "".join(f"/{part}" for part in error.absolute_path),
            detail=error.message[:300],
        )
        for error in sorted(Draft202012Validator(template.values).iter_errors(values), key=str)
    ]
    if problems:
        known = ", ".join(properties) or "none"
        raise Invalid(
            f"the values do not fit template {template.name}: {problems[0]['detail']} (its values: {known})",
            errors=problems,
        )
    return values


def fill(text: str, places: Mapping[str, str]) -> str:
    """The text with every `${place}` replaced; an unknown place is a fault of the template."""
    return _PLACE.sub(lambda match: places[match[1]], text)


def fill_health(health: Mapping[str, Any] | None, places: Mapping[str, str]) -> HealthSpec | None:
    """The health check with its places filled."""
    return None if health is None else HealthSpec.model_validate(_fill_all(health, places))


def _fill_all(value: Any, places: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return fill(value, places)
    if isinstance(value, Mapping):
        return {key: _fill_all(item, places) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill_all(item, places) for item in value]
    return value
