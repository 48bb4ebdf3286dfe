"""Every process: whether it works, what it logs, what it takes of the machine.

Those without the prefix are the standard metrics of Prometheus's own client, under the names that its dashboards know.
"""

from lattice.metrics.spec import History, counter, gauge

READY = gauge("lattice_process_ready", "1 while the process can do its work; see /readyz.")
LOOP_FAILURES = counter(
    "lattice_process_loop_failures_total", "Background loops that failed and were started again.", "loop"
)
LOG_RECORDS = counter(
    "lattice_process_log_records_total",
    "Records that the process logged; level is debug, info, success, warning, error or critical.",
    "level",
)
INFO = gauge("lattice_process_info", "1, with the version of Lattice that the process is.", "version")

CPU_SECONDS = counter(
    "process_cpu_seconds_total",
    "Processor time that the process took.",
    unit="seconds",
    history=History.RATE,
)
RESIDENT_BYTES = gauge(
    "process_resident_memory_bytes",
    "Memory that the process holds.",
    unit="bytes",
    history=History.NEWEST,
)
VIRTUAL_BYTES = gauge(
    "process_virtual_memory_bytes", "Addresses that the process has reserved.", unit="bytes"
)
START_TIME = gauge("process_start_time_seconds", "When the process started, since 1970.", unit="seconds")
OPEN_FDS = gauge("process_open_fds", "Files and connections that the process has open.")
MAX_FDS = gauge("process_max_fds", "Files and connections that it may have open.")
