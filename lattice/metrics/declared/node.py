"""A node's machine, as its agent measures it."""

from functools import partial

from lattice.metrics import spec
from lattice.metrics.spec import History, Scope

_counter = partial(spec.counter, scope=Scope.NODE)
_gauge = partial(spec.gauge, scope=Scope.NODE)

INFO = _gauge(
    "lattice_node_info",
    "1, with what the node is.",
    "node_id",
    "agent_version",
    "engine_version",
    "arch",
)
CPUS = _gauge("lattice_node_cpu_cores", "Processors of the machine.", unit="cores")
CPU_SECONDS = _counter(
    "lattice_node_cpu_seconds_total",
    "Processor time that went to anything but idling and waiting for disks.",
    unit="seconds",
    history=History.RATE,
)
LOAD1 = _gauge(
    "lattice_node_load1",
    "Processes that ran or wanted to, on average over a minute.",
    history=History.NEWEST,
)
BOOT_TIME = _gauge("lattice_node_boot_time_seconds", "When the machine started, since 1970.", unit="seconds")
MEMORY_SIZE = _gauge("lattice_node_memory_size_bytes", "Memory of the machine.", unit="bytes")
MEMORY_USED = _gauge(
    "lattice_node_memory_used_bytes",
    "Memory that could not be had for something new.",
    unit="bytes",
    history=History.NEWEST,
)
SWAP_USED = _gauge("lattice_node_swap_used_bytes", "Memory that lies on the disk.", unit="bytes")
DISK_SIZE = _gauge(
    "lattice_node_disk_size_bytes", "The disk on which the Engine keeps everything.", unit="bytes"
)
DISK_USED = _gauge(
    "lattice_node_disk_used_bytes", "What of it is in use.", unit="bytes", history=History.NEWEST
)
DISK_FREE = _gauge("lattice_node_disk_free_bytes", "What may still be written to it.", unit="bytes")
DISK_READ = _counter(
    "lattice_node_disk_read_bytes_total",
    "Read from all disks of the machine.",
    unit="bytes",
    history=History.RATE,
)
DISK_WRITTEN = _counter(
    "lattice_node_disk_written_bytes_total",
    "Written to all disks of the machine.",
    unit="bytes",
    history=History.RATE,
)
NETWORK_RECEIVED = _counter(
    "lattice_node_network_received_bytes_total",
    "Received over the machine's own interfaces, without those that the Engine makes.",
    unit="bytes",
    history=History.RATE,
)
NETWORK_SENT = _counter(
    "lattice_node_network_sent_bytes_total", "Sent over them.", unit="bytes", history=History.RATE
)
ENGINE_UP = _gauge("lattice_node_engine_up", "1 while the Engine answers.")
CONTAINERS = _gauge(
    "lattice_node_containers", "Containers of the platform on the node; state is up or ended.", "state"
)
TUNNEL_LINKS = _gauge("lattice_node_tunnel_links", "Open connections to ingresses.")
TUNNEL_STREAMS = _gauge("lattice_node_tunnel_streams", "Connections of visitors and links in them.")
TUNNEL_SENT = _counter(
    "lattice_node_tunnel_sent_bytes_total",
    "Sent through the tunnels.",
    unit="bytes",
    history=History.RATE,
)
TUNNEL_RECEIVED = _counter(
    "lattice_node_tunnel_received_bytes_total",
    "Received through the tunnels.",
    unit="bytes",
    history=History.RATE,
)
LOG_SPOOL = _gauge(
    "lattice_node_log_spool_bytes",
    "Log lines that the log store does not have yet, as they lie on the disk.",
    unit="bytes",
)
MEASURE_SECONDS = _gauge(
    "lattice_node_measure_seconds", "How long measuring all of this took the last time.", unit="seconds"
)
CLOCK_OFFSET = _gauge(
    "lattice_node_clock_offset_seconds",
    "How far the node's clock is ahead of the platform's, less the time that its message took; measured by the platform.",
    unit="seconds",
    history=History.NEWEST,
)
AGE = _gauge(
    "lattice_node_metrics_age_seconds",
    "How old the newest message of the node is; added by the platform.",
    unit="seconds",
)
