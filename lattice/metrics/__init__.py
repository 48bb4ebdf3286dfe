"""Metrics: what they are (`spec`), all that there are (`declared`), and how a process counts them (`instruments`).

`docs/metrics.md` is made from the declarations: `python -m lattice.metrics --write`, or `--check` to find out whether it is up to date.
"""
