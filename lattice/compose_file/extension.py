"""`x-lattice` of a compose service: variables whose values compose has no words for, because nobody is to write them down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from lattice.compose_file.findings import Place
from lattice.compose_file.scalars import mapping
from lattice.contracts.environment_spec import CredentialKey, CredentialRef

_PARTS = ("env", "secrets")


@dataclass(frozen=True, slots=True)
class Extension:
    """`env` and `secrets` of the spec, as far as they stand here; `uses` are the services whose credentials are among them."""

    env: Mapping[str, CredentialRef] = field(default_factory=dict)
    secrets: Mapping[str, Any] = field(default_factory=dict)
    uses: frozenset[str] = frozenset()


def extension(value: object, names: Mapping[str, str], plain: Mapping[str, str], place: Place) -> Extension:
    """What `x-lattice` says; `names` are the workloads of the file's services, `plain` the variables that `environment` sets."""
    given = mapping(value, place)
    for part in given:
        if part not in _PARTS:
            place.under(part).refuse(f"there is no such key; there are: {', '.join(_PARTS)}")
    env, uses = dict[str, CredentialRef](), set[str]()
    for variable, content, here in _variables(given, "env", plain, place):
        lender = content.get("from")
        if isinstance(lender, str) and lender in names:
            uses.add(lender)
            content = {**content, "from": names[lender]}
        if (reference := _reference(content)) is not None:
            env[variable] = reference
        else:
            here.refuse(f"write {{from: SERVICE or WORKLOAD, key: {'|'.join(CredentialKey)}}}")
    secrets = {variable: content for variable, content, _ in _variables(given, "secrets", plain, place)}
    return Extension(env, secrets, frozenset(uses))


def _reference(content: Mapping[str, Any]) -> CredentialRef | None:
    try:
        return CredentialRef.model_validate(content)
    except ValidationError:
        return None


def _variables(
    given: Mapping[str, Any], part: str, plain: Mapping[str, str], place: Place
) -> Iterator[tuple[str, dict[str, Any], Place]]:
    for variable, content in mapping(given.get(part), place.under(part)).items():
        here = place.under(part, variable)
        if variable in plain:
            here.refuse(f"{variable} is set in `environment` too")
        elif not isinstance(content, Mapping):
            here.refuse("write {from: …}; a plain text belongs into `environment`")
        else:
            yield variable, dict(content), here
