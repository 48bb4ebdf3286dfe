"""What applying a compose file does to each service of an app.  Pure: the file is the whole app, so what it does not name is removed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lattice.compose_file.findings import Finding
from lattice.compose_file.reading import AppFile, AppService
from lattice.contracts.spec import WorkloadSpec
from lattice.contracts.views import AppChange, ComposeFinding
from lattice.errors import FieldError, Invalid


@dataclass(frozen=True, slots=True)
class Present:
    """A service as it is now; `current`: it runs what its spec says, with the newest versions of images and secrets."""

    workload: str
    spec: WorkloadSpec
    current: bool = True


def changes(wanted: Iterable[AppService], present: Mapping[str, Present]) -> list[AppChange]:
    """What is to be done, removals last; `present` by service."""
    services = list(wanted)
    found = [_change(each, present.get(each.service)) for each in services]
    gone = present.keys() - {each.service for each in services}
    removed = [
        AppChange(service=service, workload=present[service].workload, change="remove")
        for service in sorted(gone)
    ]
    return found + removed


def _change(wanted: AppService, present: Present | None) -> AppChange:
    name = wanted.spec.name
    if present is None:
        return AppChange(service=wanted.service, workload=name, change="create")
    before, after = present.spec.model_dump(), wanted.spec.model_dump()
    fields = tuple(field for field in after if after[field] != before[field])
    if not fields and present.current:
        return AppChange(service=wanted.service, workload=name, change="keep")
    return AppChange(service=wanted.service, workload=name, change="update", fields=fields)


def left_out(file: AppFile, *, ignore_unsupported: bool) -> list[ComposeFinding]:
    """What is not honoured and is left out because that was asked for.  Invalid names everything that is in the way."""
    serious = [each for each in file.problems if not (each.optional and ignore_unsupported)]
    if serious:
        raise Invalid(_sentence(serious), errors=[_field_error(each) for each in serious])
    return told(file.problems)


def told(findings: Iterable[Finding]) -> list[ComposeFinding]:
    """Findings as they are answered."""
    return [ComposeFinding(path=each.path, detail=each.detail) for each in findings]


def _field_error(finding: Finding) -> FieldError:
    return FieldError(pointer=finding.pointer, detail=finding.detail)


def _sentence(serious: list[Finding]) -> str:
    count = f"{len(serious)} place{'s' if len(serious) > 1 else ''}"
    text = f"the compose file cannot be applied as it is, because of {count} in it; nothing was changed"
    if all(each.optional for each in serious):
        text += ". Apply it without them, if that is meant: ignore_unsupported=true (lattice apply --ignore-unsupported)"
    return text
