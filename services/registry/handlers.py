"""Which request is answered by whom: the registry's side of the catalogue, as a table.

A handler loads, asks a pure module what follows, and applies it in one change; it gets what it needs as its first argument.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from lattice.contracts import catalogue as c
from lattice.contracts.catalogue import Rpc
from lattice.messaging import Bus
from services.registry import (
    apps,
    belongings,
    credentials,
    enrolment,
    job_runs,
    join_tokens,
    nodes,
    planning,
    reading,
    routes,
    scheduling,
    sre_credentials,
    troubles,
    workload_create,
    workload_update,
    workloads,
)
from services.registry.node_deps import NodeDeps
from services.registry.workload_deps import WorkloadDeps

Handler = Callable[[Any, Any], Awaitable[Any]]

ABOUT_NODES: dict[Rpc[Any, Any], Handler] = {
    c.CREATE_JOIN_TOKEN: join_tokens.create_join_token,
    c.REGISTER_NODE: enrolment.register_node,
    c.GET_ENROLMENT: enrolment.get_enrolment,
    c.RENEW_NODE: enrolment.renew_node,
    c.APPROVE_NODE: nodes.approve_node,
    c.REJECT_NODE: nodes.reject_node,
    c.REVOKE_NODE: nodes.revoke_node,
    c.CORDON_NODE: nodes.cordon_node,
    c.UNCORDON_NODE: nodes.uncordon_node,
    c.DRAIN_NODE: nodes.drain_node,
    c.CONFIRM_LOST: nodes.confirm_lost,
    c.UPDATE_NODE: nodes.update_node,
    c.REMOVE_NODE: nodes.remove_node,
    c.LIST_NODES: nodes.list_nodes,
    c.GET_NODE: nodes.get_node,
    c.LIST_TROUBLES: troubles.list_troubles,
    c.CREATE_SRE_CREDENTIAL: sre_credentials.create_sre_credential,
    c.LIST_SRE_CREDENTIALS: sre_credentials.list_sre_credentials,
    c.REVOKE_SRE_CREDENTIAL: sre_credentials.revoke_sre_credential,
}

ABOUT_WORKLOADS: dict[Rpc[Any, Any], Handler] = {
    c.LIST_TEMPLATES: reading.list_templates,
    c.CREATE_WORKLOAD: workload_create.create_workload,
    c.LIST_WORKLOADS: reading.list_workloads,
    c.GET_WORKLOAD: reading.get_workload,
    c.STOP_WORKLOAD: workloads.stop_workload,
    c.START_WORKLOAD: workloads.start_workload,
    c.RESTART_WORKLOAD: workloads.restart_workload,
    c.DELETE_WORKLOAD: workloads.delete_workload,
    c.UPDATE_WORKLOAD: workload_update.update_workload,
    c.PLAN_WORKLOAD: planning.plan_workload,
    c.SCALE_WORKLOAD: workload_update.scale_workload,
    c.ROLLBACK_WORKLOAD: workload_update.rollback_workload,
    c.RUN_JOB: job_runs.run_job,
    c.LIST_RUNS: job_runs.list_runs,
    c.LIST_REVISIONS: reading.list_revisions,
    c.APPLY_APP: apps.apply_app,
    c.PLAN_APP: apps.plan_app,
    c.LIST_APPS: apps.list_apps,
    c.GET_APP: apps.get_app,
    c.DELETE_APP: apps.delete_app,
    c.GET_CREDENTIALS: credentials.get_credentials,
    c.LIST_OPERATIONS: reading.list_operations,
    c.GET_OPERATION: reading.get_operation,
    c.CANCEL_OPERATION: belongings.cancel_operation,
    c.LIST_VOLUMES: reading.list_volumes,
    c.GET_VOLUME: reading.get_volume,
    c.DELETE_VOLUME: belongings.delete_volume,
    c.SET_SECRET: belongings.set_secret,
    c.TAKE_ROUTE_DOWN: routes.take_route_down,
    c.RESTORE_ROUTE: routes.restore_route,
    c.LIST_SECRETS: reading.list_secrets,
    c.DELETE_SECRET: belongings.delete_secret,
    c.CREATE_PROJECT: belongings.create_project,
    c.LIST_PROJECTS: reading.list_projects,
    c.LIST_FACTS: reading.list_facts,
    c.LIST_AUDIT: reading.list_audit,
    c.RECORD_AUDIT: belongings.record_audit,
    c.TAKE_TERM: scheduling.take_term,
    c.SCHEDULING_SNAPSHOT: scheduling.scheduling_snapshot,
    c.COMMIT_PLACEMENTS: scheduling.commit_placements,
    c.KNOWN_INSTANCES: reading.known_instances,
}


async def serve_all(bus: Bus, about_nodes: NodeDeps, about_workloads: WorkloadDeps) -> None:
    """Answer every request of the catalogue that is ours."""
    for rpc, handler in ABOUT_NODES.items():
        await bus.serve(rpc, partial(handler, about_nodes))
    for rpc, handler in ABOUT_WORKLOADS.items():
        await bus.serve(rpc, partial(handler, about_workloads))
