"""What can go wrong with a container engine, as branches of the error tree; `lattice.runtime` shows them beside its types."""

from __future__ import annotations

from lattice.errors import Conflict, DeadlineExceeded, Forbidden, NotFound, Temporary


class EngineHangs(DeadlineExceeded):
    """The Engine did not answer within the deadline of the call."""

    code = "engine_hangs"
    title = "The Docker Engine does not answer"


class EngineAway(Temporary):
    """Nobody listens where the Engine should be, or we may not speak with it."""

    code = "engine_away"
    title = "The Docker Engine cannot be reached"


class ImageNotFound(NotFound):
    """The image's registry, or this node for a local image, does not have it."""

    code = "image_not_found"
    title = "Image not found"


class ImageDenied(Forbidden):
    """The image's registry wants other credentials."""

    code = "image_denied"
    title = "Image denied"


class NoSpace(Temporary):
    """The node's disk is full."""

    code = "no_space"
    title = "No space left on the node"


class EarlierRunLeft(Conflict):
    """The Engine restarted while it ended this container and still holds its earlier run, so it never starts again."""

    code = "earlier_run_left"
    title = "An earlier run is still held"


class PortTaken(Conflict):
    """Something on the node already listens on a port that was to be published."""

    code = "port_taken"
    title = "Port in use"
