"""What has to be in the volumes before the first server starts: keys, passwords, the way in for the operator, the bus's configuration.

All of it may be repeated and changes nothing that is there, but for Postgres' certificate: it lives as long as the authority, because Postgres
runs as a user of its own, for whom only this container has the right to write, and it is made anew at each `up`.
"""

from __future__ import annotations

from datetime import datetime

from infra.compose.owners import LATTICE, POSTGRES, acting_as, give_to_owners, owners
from infra.compose.passwords import administrator, ensure_passwords, hand_to_database
from infra.compose.places import DATABASE_SERVER, Places
from infra.compose.settings import ComposeSettings
from lattice import pki
from lattice.clock import SystemClock
from lattice.contracts.permissions import node_permissions
from lattice.files import PUBLIC, write_durably
from lattice.identity import operator_config
from standalone import nats_server
from standalone.announcement import ensure_bootstrap_secret, operator_token_file, renew_operator_token
from standalone.credentials import LOCAL_NAMES, Authorities, CredentialFiles, ensure_authorities, split_names
from standalone.data_dir import DataDir, open_data_dir

BUS_PORT = 4222
BUS_MONITOR_PORT = 8222


def prepare_volumes(settings: ComposeSettings) -> None:
    """Make what is missing, then end."""
    prepare(Places(settings.root), now=SystemClock().now())


def prepare(places: Places, *, now: datetime) -> None:
    """Make what is missing.  Raises NotFound for a key or a password that is gone while the database needs it."""
    give_to_owners(owners(places))
    with acting_as(POSTGRES):
        first_start = not (places.database / "PG_VERSION").exists()
    with acting_as(LATTICE):
        data_dir = open_data_dir(places.authority)
        authorities = ensure_authorities(data_dir, first_start=first_start, now=now)
        write_durably(places.ca, authorities.certificates.trust_pem, mode=PUBLIC)
        ensure_passwords(places, first_start=first_start)
        _ensure_entry(places.operator(data_dir.cluster_id))
        nats_server.write_config(bus_config(places, data_dir, authorities))
        password = administrator(places).password
    with acting_as(POSTGRES):
        hand_to_database(places, password)
        write_durably(
            places.own(DATABASE_SERVER) / "server.pem", _database_pem(authorities.certificates, now)
        )


def bus_config(places: Places, data_dir: DataDir, authorities: Authorities) -> nats_server.NatsConfig:
    """The NATS server of the embedded platform, but listening inside its container's network."""
    return nats_server.NatsConfig(
        server_name=f"lattice-{data_dir.cluster_id}",
        host="0.0.0.0",
        port=BUS_PORT,
        monitor_port=BUS_MONITOR_PORT,
        folder=places.bus,
        tls=CredentialFiles(places.services, places.ca).nats_tls,
        operator=operator_config(authorities.tickets, node_permissions=node_permissions()),
    )


def _ensure_entry(data_dir: DataDir) -> None:
    """The operator's token is kept, because gateway and agent start apart from this container and both read it."""
    ensure_bootstrap_secret(data_dir)
    if not operator_token_file(data_dir).exists():
        renew_operator_token(data_dir)


def _database_pem(authority: pki.Authority, now: datetime) -> bytes:
    """Certificate chain and key of Postgres, by the names under which the other containers reach it."""
    key, (dns_names, addresses) = pki.new_private_key(), split_names((DATABASE_SERVER, *LOCAL_NAMES))
    leaf = pki.issue_service(
        authority,
        key.public_key(),
        DATABASE_SERVER,
        now=now,
        lifetime=authority.issuing.not_valid_after_utc - now,
        dns_names=dns_names,
        ip_addresses=addresses,
    )
    return authority.chain_pem(leaf) + pki.key_pem(key)
