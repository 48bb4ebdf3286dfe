"""What the processes of Lattice say to each other, as data: nouns, messages, subjects, streams, permissions.

Everything here is pure: no clock, no network, no database, so that any module may import it.
"""
