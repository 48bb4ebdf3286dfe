"""The embedded default: NATS server, Postgres, all services and one agent on one machine, supervised."""
