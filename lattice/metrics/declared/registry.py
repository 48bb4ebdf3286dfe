"""The registry: how fast what was asked for comes true, and what waits."""

from lattice.metrics.spec import counter, gauge, histogram

DEPLOY_SECONDS = histogram(
    "lattice_registry_deploy_seconds",
    "Time from the moment an instance may run until it got so far for the first time; step is placed, pulled, started or ready.",
    "step",
    buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0),
)
RELAY_SECONDS = histogram(
    "lattice_registry_relay_seconds",
    "Time from the commit of a fact until it was on its stream.",
)
OUTBOX_ROWS = gauge(
    "lattice_registry_outbox_rows",
    "Committed and not on the bus yet; kind is fact, wake_up or document.",
    "kind",
)
OUTBOX_OLDEST = gauge(
    "lattice_registry_outbox_oldest_seconds",
    "For how long the oldest fact has waited for the relay; 0 where none does.",
    unit="seconds",
)
NODES = gauge("lattice_registry_nodes", "Nodes, by state.", "state")
WORKLOADS = gauge(
    "lattice_registry_workloads", "Workloads, by what they are to be: running, stopped or removed.", "desired"
)
UNSETTLED = gauge(
    "lattice_registry_unsettled_workloads", "Workloads that are to run and are not (yet) as they are to be."
)
INSTANCES = gauge("lattice_registry_instances", "Instances that are not gone, by phase.", "phase")
OPEN_OPERATIONS = gauge("lattice_registry_open_operations", "Operations that have not ended.")
DEAD_LETTERS = counter(
    "lattice_dead_letters_total",
    "Messages that no consumer could handle, by stream and consumer.",
    "stream",
    "consumer",
)
