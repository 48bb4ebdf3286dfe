"""What stands in the header of a frame of the spool (`lattice.checked_frames`).  Pure."""

from __future__ import annotations

from agent.log_place import LogPosition
from lattice import checked_frames
from lattice.contracts.messages import LogBlock
from lattice.contracts.nouns import Noun


class SpoolHeader(Noun):
    """Whose records, which, and where their log was read up to."""

    block: LogBlock
    size_bytes: int
    position: LogPosition


def encode(header: SpoolHeader, body: bytes) -> bytes:
    """One frame."""
    return checked_frames.encode(header.model_dump_json(exclude_defaults=True).encode(), body)
