"""Keeping freshly installed services from starting by themselves while packages are being installed.

Debian starts a service as soon as its package is unpacked, unless /usr/sbin/policy-rc.d forbids it. In a
container or chroot that start fails or leaves a stray daemon behind; on any machine it would occupy the port
of a service that we want only as a program. We start what we need ourselves, so nothing may start while we
install. A policy that is already there is the machine owner's: it stays as it is.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.setup.commands import as_root, run

POLICY = Path("/usr/sbin/policy-rc.d")
_MARK = "# Written by the set-up of Lattice for the time of one installation."
_FORBID_ALL = f"#!/bin/sh\n{_MARK}\nexit 101\n"


@contextmanager
def services_kept_still(policy: Path = POLICY) -> Iterator[None]:
    """While this context is open no package starts a service; afterwards the machine is as before."""
    ours = _is_ours(policy) or not policy.exists()
    if ours:
        _write(policy)
    try:
        yield
    finally:
        if ours:
            run(as_root(["rm", "-f", str(policy)]))


def _is_ours(policy: Path) -> bool:
    # One that an interrupted set-up left behind is ours as well, and goes with this run.
    return policy.is_file() and _MARK in policy.read_text(errors="replace")


def _write(policy: Path) -> None:
    with tempfile.NamedTemporaryFile("w", prefix="policy-rc.d-") as draft:
        draft.write(_FORBID_ALL)
        draft.flush()
        run(as_root(["install", "-m", "755", draft.name, str(policy)]))
