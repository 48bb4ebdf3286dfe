"""Dashboards and rules as code: `python -m dashboards --write` makes `dashboards/built`, `infra/prometheus/rules` and the index of the runbooks."""
