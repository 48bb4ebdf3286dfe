"""The control plane's processes.  They never import each other: they share `lattice` and speak over NATS."""
