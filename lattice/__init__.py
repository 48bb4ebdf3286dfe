"""The shared kernel of Lattice: what every process agrees on.  It imports no service and no agent."""

__version__ = "0.1.0"
