"""The account files of an image, as entries of its layer."""

from __future__ import annotations

from collections.abc import Sequence

from infra.images.layer import Entry
from infra.images.recipes import User

_ROOT = User("root", 0, "/root")
_NOBODY = User("nobody", 65534, "/nonexistent")


def account_entries(users: Sequence[User]) -> tuple[Entry, ...]:
    """`/etc/passwd` and `/etc/group` with root, these users and nobody."""
    everybody = (_ROOT, *users, _NOBODY)
    passwd = "".join(f"{u.name}:x:{u.number}:{u.number}::{u.home}:/bin/sh\n" for u in everybody)
    group = "".join(f"{u.name}:x:{u.number}:\n" for u in everybody)
    return (
        Entry("etc/passwd", mode=0o644, content=passwd.encode()),
        Entry("etc/group", mode=0o644, content=group.encode()),
    )
