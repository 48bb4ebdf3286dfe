"""The Engine's errors in our words.  It tells causes apart by prose only, so the prose is looked at; what is unknown may pass and is tried again."""

from __future__ import annotations

import re

import aiohttp
from aiodocker import DockerError

from agent.last_exits import WRONG_PROGRAM
from lattice.errors import Conflict, Invalid, LatticeError, NotFound, Temporary
from lattice.runtime import (
    EarlierRunLeft,
    EngineAway,
    EngineHangs,
    ImageDenied,
    ImageNotFound,
    NoSpace,
    PortTaken,
)

# aiodocker's own number for "no connection".
_NO_CONNECTION = 900


class QuotasUnsupported(LatticeError):
    """A volume cannot be limited in size here: its disk needs project quotas (XFS or ext4, mounted with `prjquota`)."""


# What containerd says where dockerd ended before it had put a container's end away, or its start; a new container has another id.
_TASK_LEFT = re.compile(
    r"task [0-9a-f]{64}: already exists|failed to start shim: mkdir \S+/[0-9a-f]{64}: file exists"
)
BROKEN_LINK = (aiohttp.ClientError, OSError)
ENGINE_ERRORS = (DockerError, TimeoutError, *BROKEN_LINK)


def translated(error: Exception, what: str) -> LatticeError:
    """Our error for one of `ENGINE_ERRORS` that came from doing `what`."""
    if isinstance(error, TimeoutError):
        return EngineHangs(f"The Docker Engine does not answer ({what}): look at dockerd on this node.")
    if not isinstance(error, DockerError) or error.status == _NO_CONNECTION:
        return EngineAway(
            f"The Docker Engine cannot be reached ({what}): is dockerd running, and may the agent use its socket?"
        )
    return _by_prose(error.message, what) or _by_status(error, what)


def pull_error(error: Exception, reference: str) -> LatticeError:
    """Our error for a pull that failed."""
    if not isinstance(error, DockerError) or error.status == _NO_CONNECTION:
        return translated(error, f"pulling {reference}")
    text = error.message.lower()
    if "pull access denied" in text:
        return ImageDenied(f"image {reference} does not exist, or its registry wants credentials")
    if any(word in text for word in ("unauthorized", "no basic auth", "denied", "forbidden")):
        return ImageDenied(f"the registry of {reference} refuses our credentials: check the pull secret")
    if "no matching manifest" in text or "no match for platform" in text:
        return ImageNotFound(
            f"image {reference} is not built for this node's kind of processor{_platform_in(text)}: build it for that, too, or "
            "name the nodes that it is for (placement.constraints: arch == …)"
        )
    if "manifest unknown" in text or "not found" in text or "no such image" in text:
        return ImageNotFound(f"image {reference} does not exist in its registry")
    if "invalid reference format" in text:
        return Invalid(f"{reference!r} is not the name of an image")
    space = _by_prose(error.message, f"pulling {reference}")
    return space or Temporary(f"pulling {reference} failed: {error.message}")


def _platform_in(text: str) -> str:
    found = re.search(r"no matching manifest for (\S+)", text)
    return f" ({found[1]})" if found else ""


def _by_prose(message: str, what: str) -> LatticeError | None:
    text = message.lower()
    if "no quota support" in text:
        return QuotasUnsupported(f"The Engine's disk has no quotas for folders ({what}).")
    if "no space left on device" in text:
        return NoSpace(f"The node's disk is full ({what}): free some space on it.")
    if "port is already allocated" in text or "address already in use" in text:
        return PortTaken(f"A port is in use on the node by something else ({what}).")
    if _TASK_LEFT.search(text):
        return EarlierRunLeft(f"The Engine still holds an earlier run of the container ({what}).")
    if "exec format error" in text:
        return Invalid(f"What the container is to run is {WRONG_PROGRAM} ({what}).")
    if "no such image" in text:
        return ImageNotFound(f"The image is not on this node ({what}).")
    return None


def _by_status(error: DockerError, what: str) -> LatticeError:
    kinds: dict[int, type[LatticeError]] = {400: Invalid, 404: NotFound, 409: Conflict}
    return kinds.get(error.status, Temporary)(f"{what}: {error.message}")
