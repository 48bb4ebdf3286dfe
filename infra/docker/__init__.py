"""The image of Lattice itself: one for all of its processes, which differ only in their command."""
