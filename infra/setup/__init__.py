"""Set-up of a machine for Lattice, from nothing but Python and make.

Everything here runs on the system's Python before `.venv` exists, so it uses the standard library alone. Each
module owns one thing that may be missing (packages, Python environment, Docker Engine, images); each offers
an `ensure_…` function that looks first, does only what is missing and says in a few words what it found or
did.
"""
