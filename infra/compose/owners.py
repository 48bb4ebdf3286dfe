"""Whose each volume is.

The first container starts as root and then *is* each owner in turn.  So files are made with the right owner at once, also while others
read them, and it needs no right to overrule the modes of files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.compose.places import BUS_SERVER, DATABASE_SERVER, Places
from lattice.contracts.catalogue import SERVICES

PRIVATE_FOLDER = 0o700


@dataclass(frozen=True, slots=True)
class Account:
    """A user inside the containers; its group has the same number."""

    number: int


LATTICE = Account(10001)
POSTGRES = Account(999)


def owners(places: Places) -> Mapping[Path, Account]:
    """Every volume and its owner."""
    shared = (places.authority, places.ca.parent, places.passwords, places.entry)
    own = (places.own(part) for part in (*SERVICES, BUS_SERVER))
    theirs = (places.own(DATABASE_SERVER), places.database)
    stored = (places.bus, places.log_store, places.alert_keys, places.metrics)
    ours = (*shared, *stored, *own)
    return {**dict.fromkeys(ours, LATTICE), **dict.fromkeys(theirs, POSTGRES)}


def give_to_owners(owners: Mapping[Path, Account]) -> None:
    """Give each volume to its owner; a fresh one belongs to root.  Only root can; anybody else has made their own."""
    if os.geteuid() != 0:
        return
    for folder, owner in owners.items():
        if folder.stat().st_uid != owner.number:
            folder.chmod(PRIVATE_FOLDER)
            os.chown(folder, owner.number, owner.number)


@contextmanager
def acting_as(account: Account) -> Iterator[None]:
    """Be this user for a while; who is not root stays who it is."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(account.number)
    os.seteuid(account.number)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
