"""What somebody would be alerted of if it stayed so: the witnesses' words in the terms of the alerts.  Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from lattice.alerts import CONTROL_PLANE_BLIND, OF_TROUBLE, AlertSpec
from lattice.contracts.messages import PLATFORM, Trouble

# Of a SHA-256, in hexadecimal digits: 64 bits tell a million alerts apart.
_FINGERPRINT_DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something is so now.  `since` is None where the witness does not know since when; `mark` tells one time from the next."""

    spec: AlertSpec
    project: str
    entity_id: str
    entity_name: str
    since: datetime | None = None
    detail: str = ""
    mark: str = ""

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.spec.name, self.project, self.entity_id)


def fingerprint(name: str, project: str, entity_id: str) -> str:
    """The same for the same thing gone wrong, however often."""
    text = "\n".join((name, project, entity_id))
    return hashlib.sha256(text.encode()).hexdigest()[:_FINGERPRINT_DIGITS]


def of_troubles(troubles: Iterable[Trouble]) -> list[Finding]:
    """What the registry says; of a kind that a newer registry knows and we do not, nothing."""
    return [
        Finding(
            spec=OF_TROUBLE[trouble.kind],
            project=trouble.project,
            entity_id=trouble.entity_id,
            entity_name=trouble.entity_name,
            since=trouble.since,
            detail=trouble.detail,
            mark=trouble.mark,
        )
        for trouble in troubles
        if trouble.kind in OF_TROUBLE
    ]


def of_silence(silent_since: datetime | None, why: str) -> list[Finding]:
    """The registry does not answer."""
    if silent_since is None:
        return []
    finding = Finding(
        spec=CONTROL_PLANE_BLIND,
        project=PLATFORM,
        entity_id="registry",
        entity_name="registry",
        since=silent_since,
        detail=why,
    )
    return [finding]
