"""Builds the agent of this machine: its identity first, then its bus and its engine, then all parts."""

from __future__ import annotations

import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from agent.data_lock import held
from agent.docker_runtime import Deadlines, open_docker
from agent.enrolment import Enrolment, plain_name
from agent.identity_store import IdentityStore
from agent.image_collection import CollectionRules
from agent.node import POLICY_FILE, AgentConfig, NodeSelf, open_agent
from agent.settings import AgentSettings
from lattice.background import Background
from lattice.bus import NatsBus
from lattice.clock import SystemClock
from lattice.contracts.messages import NodeCredentials
from lattice.errors import Invalid
from lattice.own_logs import OwnLogs
from lattice.pki_files import client_context
from lattice.process import Checks
from lattice.settings import BusSettings


@asynccontextmanager
async def build(settings: AgentSettings) -> AsyncIterator[Checks]:
    """A running agent.  Until this machine is approved it waits inside here: alive, and not ready."""
    with held(settings.data_dir):
        async with _joined_and_running(settings) as checks:
            yield checks


@asynccontextmanager
async def _joined_and_running(settings: AgentSettings) -> AsyncIterator[Checks]:
    store = IdentityStore(settings.data_dir / "identity")
    enrolment = Enrolment(store, clock=SystemClock(), chance=random.Random())
    token = settings.join_token.get_secret_value() if settings.join_token else None
    name = settings.node_name or plain_name(socket.gethostname())
    credentials = await enrolment.credentials(token, name)
    who = _who(store, credentials)
    config = _config(settings, who, store.bus_settings(credentials))
    runtime = open_docker(
        settings.docker_url,
        files_root=config.files_root,
        deadlines=Deadlines(look_s=settings.docker_timeout_s),
    )
    try:
        async with (
            Background() as background,
            NatsBus(store.bus_settings(credentials), identity=who.node_id) as bus,
            open_agent(who, config, bus=bus, runtime=runtime) as agent,
        ):
            background.start("own-logs", OwnLogs.of_agent(who.node_id, bus).run)
            background.start("credentials", enrolment.keep_fresh)
            bus.on_refused(enrolment.renew_soon)
            yield {"docker": agent.ready, "bus": bus.ready, "membership": enrolment.ready}
    finally:
        await runtime.close()


def _who(store: IdentityStore, credentials: NodeCredentials) -> NodeSelf:
    registration = store.registration
    if registration is None:
        raise Invalid("The record of this machine's enrolment is gone: join again with a new token.")
    return NodeSelf(registration.node_id, credentials.cluster_id, store.keys().sealing)


def _config(settings: AgentSettings, who: NodeSelf, files: BusSettings) -> AgentConfig:
    return AgentConfig(
        # Read again for each connection, so that a renewed certificate is used.
        tunnel_tls=lambda: client_context(
            files.ca_file, certificate_file=files.cert_file, key_file=files.key_file
        ),
        data_dir=settings.data_dir / "journal",
        files_root=settings.runtime_dir / who.cluster_id,
        heartbeat_s=settings.heartbeat_s,
        report_s=settings.report_s,
        fetch_s=settings.fetch_s,
        ping_s=settings.docker_ping_s,
        policy_file=settings.policy_file or settings.data_dir / POLICY_FILE,
        policy_required=settings.policy_file is not None,
        collection=CollectionRules(
            high_percent=settings.image_high_percent,
            low_percent=settings.image_low_percent,
            min_age=timedelta(seconds=settings.image_min_age_s),
        ),
        collect_every_s=settings.image_look_s,
        measure_every_s=settings.measure_s,
        log_spool_bytes=settings.log_spool_bytes,
    )
