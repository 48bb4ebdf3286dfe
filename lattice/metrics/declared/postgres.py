"""The database of the platform, as the registry's own connections see it."""

from lattice.metrics.spec import counter, gauge

UP = gauge("lattice_postgres_up", "1 where the database answered.")
CONNECTIONS = gauge(
    "lattice_postgres_connections",
    "Connections to the database; state is active, idle, waiting or other.",
    "state",
)
MOST_CONNECTIONS = gauge("lattice_postgres_connections_limit", "Connections that the server allows.")
SIZE = gauge("lattice_postgres_size_bytes", "The database on its disk.", unit="bytes")
TRANSACTIONS = counter(
    "lattice_postgres_transactions_total", "Transactions; outcome is committed or rolled_back.", "outcome"
)
DEADLOCKS = counter(
    "lattice_postgres_deadlocks_total", "Transactions that were ended for the sake of others."
)
POOL = gauge(
    "lattice_postgres_pool_connections", "Connections of this process; state is used or idle.", "state"
)
