"""The `lattice` command: a client of the gateway, and the starter of a platform on this machine."""
