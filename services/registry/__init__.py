"""What exists: nodes, workloads, instances, operations, volumes, secrets.  The only writer of that state in Postgres."""
