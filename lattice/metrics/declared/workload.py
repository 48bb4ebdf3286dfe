"""One instance of a workload, as its node's agent measures it; a container that is started again keeps its counters where the Engine does."""

from functools import partial

from lattice.metrics import spec
from lattice.metrics.spec import History, Scope

_counter = partial(spec.counter, scope=Scope.WORKLOAD)
_gauge = partial(spec.gauge, scope=Scope.WORKLOAD)

UP = _gauge("lattice_workload_up", "1 while its container runs.")
READY = _gauge(
    "lattice_workload_ready", "1 while it serves: it runs and its checks are passed.", history=History.NEWEST
)
START_TIME = _gauge(
    "lattice_workload_start_time_seconds", "When its container was started, since 1970.", unit="seconds"
)
RESTARTS = _counter(
    "lattice_workload_restarts_total", "How often it was started again.", history=History.NEWEST
)
CPU_SECONDS = _counter(
    "lattice_workload_cpu_seconds_total", "Processor time.", unit="seconds", history=History.RATE
)
CPU_THROTTLED = _counter(
    "lattice_workload_cpu_throttled_seconds_total",
    "Time in which it had to wait because of its limit.",
    unit="seconds",
)
CPU_LIMIT = _gauge("lattice_workload_cpu_limit_cores", "Processors that it may use.", unit="cores")
MEMORY = _gauge(
    "lattice_workload_memory_bytes",
    "Memory that it needs: without what the kernel keeps of files and would give back.",
    unit="bytes",
    history=History.NEWEST,
)
MEMORY_LIMIT = _gauge("lattice_workload_memory_limit_bytes", "Memory that it may use.", unit="bytes")
PROCESSES = _gauge("lattice_workload_processes", "Processes and threads.")
NETWORK_RECEIVED = _counter(
    "lattice_workload_network_received_bytes_total", "Received.", unit="bytes", history=History.RATE
)
NETWORK_SENT = _counter(
    "lattice_workload_network_sent_bytes_total", "Sent.", unit="bytes", history=History.RATE
)
BLOCK_READ = _counter(
    "lattice_workload_block_read_bytes_total", "Read from disks.", unit="bytes", history=History.RATE
)
BLOCK_WRITTEN = _counter(
    "lattice_workload_block_written_bytes_total", "Written to disks.", unit="bytes", history=History.RATE
)
LOG_LINES = _counter(
    "lattice_workload_log_lines_total",
    "Lines that it wrote, as far as the agent read them.",
    history=History.RATE,
)
LOG_BYTES = _counter(
    "lattice_workload_log_bytes_total", "Bytes of its log, as the Engine wrote them.", unit="bytes"
)
LOG_DROPPED = _counter(
    "lattice_workload_log_dropped_lines_total",
    "Lines that are lost; one for each place where the Engine rotated away nobody knows how many.",
)
