"""Segment files on disk: `<data dir>/<project>/<workload id>/<time it began, in ns>` with one of these endings.

    .seg      blocks as they came; the newest one grows
    .packed   what a closed one was made into: fewer, larger blocks, with word filters in its index
    .index    beside a packed segment: all that is known of its blocks without reading them
    .tmp      half-written; removed at start

A packed segment has its name only when all of it is on disk, and only then the other one goes; so at any moment one of them is whole, and
at start the packed one counts.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

from lattice import checked_frames
from lattice.checked_frames import Damage, Frame
from lattice.errors import LatticeError
from services.logs.index import StoredBlock

SUFFIX, PACKED, INDEX, UNFINISHED = ".seg", ".packed", ".index", ".tmp"


class Damaged(LatticeError):
    """The bytes of a block on disk are not those that were written."""


def list_workloads(root: Path) -> Iterator[tuple[str, str, list[Path]]]:
    """(project, workload id, its segments in the order of their making)."""
    for folder in sorted(path for path in root.glob("*/*") if path.is_dir()):
        yield folder.parent.name, folder.name, _segments_in(folder)


def _segments_in(folder: Path) -> list[Path]:
    """What a crash left half done is removed, and what has been replaced is."""
    for path in folder.glob(f"*{UNFINISHED}"):
        path.unlink()
    for path in folder.glob(f"*{PACKED}"):
        path.with_suffix(SUFFIX).unlink(missing_ok=True)
    for path in folder.glob(f"*{INDEX}"):
        if path.with_suffix(SUFFIX).exists():
            path.unlink()
    # An index alone is that of a segment in the object store.
    found = {path.with_suffix(PACKED) for path in folder.glob(f"*{INDEX}")}
    found |= {path for path in folder.iterdir() if path.suffix in (SUFFIX, PACKED)}
    return sorted(path for path in found if path.stem.isdecimal())


def new_path(root: Path, project: str, workload_id: str, now_ns: int) -> Path:
    """The file of a new segment; names sort by time."""
    return root / project / workload_id / f"{now_ns:020}{SUFFIX}"


def read_frames(path: Path, *, newest: bool) -> list[Frame | Damage]:
    """What a segment holds.  Of a workload's newest segment bodies are verified, too: a crash may have torn what was written last."""
    with mapped(path) as buffer:
        return list(
            checked_frames.scan(checked_frames.from_buffer(buffer), len(buffer), verify_bodies=newest)
        )


def cut_torn_tail(path: Path, found: list[Frame | Damage]) -> Damage | None:
    """Remove what a crash left behind the last intact frame, so that the next frame follows it; says what was removed."""
    if not found or isinstance(found[-1], Frame):
        return None
    torn = found.pop()
    assert isinstance(torn, Damage), "not a frame, so damage"
    with path.open("r+b") as file:
        file.truncate(torn.offset)
        os.fsync(file.fileno())
    return torn


def append(path: Path, size_bytes: int, chunks: Sequence[bytes]) -> None:
    """Add frames to a segment of this size, on disk when it returns.  What a failure left behind is cut off."""
    if size_bytes == 0:
        _make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.lseek(descriptor, size_bytes, os.SEEK_SET)
        _write_all(descriptor, b"".join(chunks))
        os.fsync(descriptor)
        if size_bytes == 0:
            sync_folder(path.parent)
    except OSError:
        os.ftruncate(descriptor, size_bytes)
        if size_bytes == 0:
            path.unlink()
        raise
    finally:
        os.close(descriptor)


def read_body(block: StoredBlock) -> bytes:
    """The body of a block; Damaged if it is not what was written, FileNotFoundError if its segment was let go meanwhile."""
    if block.body_size == 0:
        return b""
    with block.segment.path.open("rb", buffering=0) as file:
        body = os.pread(file.fileno(), block.body_size, block.body_offset)
    return verified(block, body)


def verified(block: StoredBlock, body: bytes) -> bytes:
    """What was read of a block.  Raises Damaged if it is not what was written."""
    if len(body) != block.body_size or crc32(body) != block.body_check:
        raise Damaged(f"{block.segment.path.name} at byte {block.body_offset}: the block is damaged")
    return body


def remove(path: Path) -> None:
    """Let a segment go, with folders that are empty now."""
    path.with_suffix(INDEX).unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    for folder in (path.parent, path.parent.parent):
        try:
            folder.rmdir()
        except OSError:
            return  # not empty


def give_name(packed: Path) -> None:
    """Give a finished packed segment and its index their names, on disk when it returns."""
    for path in (packed.with_suffix(INDEX), packed):
        path.with_name(path.name + UNFINISHED).rename(path)
    sync_folder(packed.parent)


@contextmanager
def mapped(path: Path) -> Iterator[checked_frames.Buffer]:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            yield b""  # an empty file cannot be mapped
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
            yield buffer


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _make_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    sync_folder(folder.parent)
    sync_folder(folder.parent.parent)


def sync_folder(folder: Path) -> None:
    """A new file is found again after a crash only when its folder is on disk, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
