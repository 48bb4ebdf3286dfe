"""What the handlers about nodes need beyond `Deps`: who signs, how long things last, and who cuts links."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta

from lattice.contracts.messages import Caller
from services.registry.change import Change, Deps
from services.registry.issuing import Issuer


async def _nobody() -> None:
    """No link is to be cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """How long a node's credentials last, how far a clock may be off, and how long mishaps are told of."""

    credential_ttl_s: float = 86_400.0
    # A node that comes back within this time after its credentials expired needs no admin.
    renewal_window_s: float = 30 * 86_400.0
    clock_tolerance_s: float = 300.0
    # What happened (a failed deploy, a dead letter) is a trouble for so long, unless something newer went well.
    remembered_s: float = 86_400.0

    @property
    def credential_ttl(self) -> timedelta:
        return timedelta(seconds=self.credential_ttl_s)

    @property
    def renewal_window(self) -> timedelta:
        return timedelta(seconds=self.renewal_window_s)

    @property
    def clock_tolerance(self) -> timedelta:
        return timedelta(seconds=self.clock_tolerance_s)


@dataclass(frozen=True, slots=True)
class NodeDeps:
    """Handed to every handler about nodes."""

    deps: Deps
    issuer: Issuer
    settings: NodeSettings = field(default_factory=NodeSettings)
    # Called after a membership was taken away; it must not raise, because the decision stands already.
    cut_links: Callable[[], Awaitable[None]] = _nobody
    random_bytes: Callable[[int], bytes] = os.urandom

    def change(self, caller: Caller, *, action: str) -> AbstractAsyncContextManager[Change]:
        """Begin a change; see `Deps.change`."""
        return self.deps.change(caller, action=action)
