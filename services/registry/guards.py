"""Guards of public names: what a spec says, as the ingresses are told it.  They learn no password and no token, only what tells a right one.

Made with a revision, because hashing takes its time and the secrets are there then; a rollback has the guards of its time.
"""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error

from lattice.contracts.guard_spec import GuardSpec
from lattice.contracts.messages import RouteGuard
from lattice.contracts.spec import WorkloadSpec
from lattice.errors import FieldError, Invalid
from services.registry.change import Change
from services.registry.tables import RevisionRow, SecretRow
from services.registry.vault import Vault


async def guards_of(
    change: Change, vault: Vault, project: str, spec: WorkloadSpec
) -> dict[str, dict[str, Any]]:
    """port -> its guard, of those that have one.  Invalid names a secret that is missing or of no use."""
    found = {}
    for number, port in enumerate(spec.ports):
        if port.guard is not None:
            guard = await _guard(change, vault, project, port.guard, pointer=f"/ports/{number}/guard")
            found[port.name] = guard.model_dump(mode="json")
    return found


async def _guard(change: Change, vault: Vault, project: str, spec: GuardSpec, *, pointer: str) -> RouteGuard:
    headers = await _headers(change, vault, project, spec, pointer=pointer)
    hashes = [await asyncio.to_thread(PasswordHasher().hash, header) for header in headers]
    return RouteGuard(
        allow=spec.allow,
        credentials=tuple(hashes),
        asks_people=spec.basic_auth is not None,
        rate=spec.rate,
        max_body_bytes=spec.max_body,
    )


async def _headers(
    change: Change, vault: Vault, project: str, spec: GuardSpec, *, pointer: str
) -> list[bytes]:
    headers = []
    for field, name in spec.secrets:
        value = await _secret(change, vault, project, name, pointer=f"{pointer}/{field}")
        headers.append(_header(field, value, name, pointer=f"{pointer}/{field}"))
    return headers


async def _secret(change: Change, vault: Vault, project: str, name: str, *, pointer: str) -> str:
    rows = await change.tx.find(SecretRow, project=project, owner="", name=name)
    if not rows:
        raise _refused(
            f"project {project} has no secret {name!r}; make it with: lattice secret set {name}", pointer
        )
    return (await vault.reveal(change.tx, rows[0], rows[0].current)).decode().removesuffix("\n")


def _header(field: str, value: str, name: str, *, pointer: str) -> bytes:
    """The whole `Authorization` header that is right."""
    if field == "bearer":
        return f"Bearer {value}".encode()
    if ":" not in value:
        raise _refused(f"secret {name} is not of the form user:password", pointer)
    return b"Basic " + base64.b64encode(value.encode())


def _refused(detail: str, pointer: str) -> Invalid:
    return Invalid(detail, errors=[FieldError(pointer=pointer, detail=detail)])


async def have_changed(
    change: Change, vault: Vault, project: str, spec: WorkloadSpec, revision: RevisionRow
) -> bool:
    """Whether a secret of a guard is another one by now than when the revision was made."""
    known = (revision.access or {}).get("guards", {})
    for number, port in enumerate(spec.ports):
        if port.guard is not None:
            headers = await _headers(change, vault, project, port.guard, pointer=f"/ports/{number}/guard")
            hashes = RouteGuard.model_validate(known.get(port.name, {})).credentials
            if len(headers) != len(hashes):
                return True
            for kept, header in zip(hashes, headers, strict=True):
                if not await asyncio.to_thread(_fits, kept, header):
                    return True
    return False


def _fits(kept: str, header: bytes) -> bool:
    try:
        return PasswordHasher().verify(kept, header)
    except Argon2Error:
        return False
