"""Segment files on disk: `<data dir>/<project>/<workload id>/<time it began, in ns>.seg`."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from zlib import crc32

from lattice.errors import LatticeError
from services.logs import frames
from services.logs.frames import Damage, Frame
from services.logs.index import StoredBlock

SUFFIX, PACKED_SUFFIX, UNFINISHED_SUFFIX = ".seg", ".packed.seg", ".unfinished"


class Damaged(LatticeError):
    """The bytes of a block on disk are not those that were written."""


def list_workloads(root: Path) -> Iterator[tuple[str, str, list[Path]]]:
    """(project, workload id, its segments in the order of their making)."""
    for folder in sorted(path for path in root.glob("*/*") if path.is_dir()):
        _tidy(folder)
        yield folder.parent.name, folder.name, sorted(folder.glob(f"*{SUFFIX}"))


def new_path(root: Path, project: str, workload_id: str, now_ns: int) -> Path:
    """The file of a new segment; names sort by time."""
    return root / project / workload_id / f"{now_ns:020}{SUFFIX}"


def packed_path(path: Path) -> Path:
    """The file of a segment that was rewritten."""
    return path.with_name(path.name.removesuffix(SUFFIX) + PACKED_SUFFIX)


def is_packed(path: Path) -> bool:
    """Whether a file is that of a rewritten segment."""
    return path.name.endswith(PACKED_SUFFIX)


def began_ns(path: Path) -> int:
    """When a segment began, as its name says."""
    return int(path.name.partition(".")[0])


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """A new file that has its name only once everything of it is on disk."""
    unfinished = path.with_name(path.name + UNFINISHED_SUFFIX)
    with unfinished.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
    _sync_folder(path.parent)


def read_filter(block: StoredBlock) -> bytes:
    """The word filter of a block that has one; FileNotFoundError if its segment was let go meanwhile."""
    size = block.header.filter_bytes
    with block.segment.path.open("rb", buffering=0) as file:
        return os.pread(file.fileno(), size, block.body_offset + block.body_size - size)


def _tidy(folder: Path) -> None:
    """Remove what a rewriting that was cut off left: half of the new file, or the old one beside the whole new one."""
    for unfinished in folder.glob(f"*{UNFINISHED_SUFFIX}"):
        unfinished.unlink()
    for packed in folder.glob(f"*{PACKED_SUFFIX}"):
        packed.with_name(packed.name.removesuffix(PACKED_SUFFIX) + SUFFIX).unlink(missing_ok=True)


def read_frames(path: Path, *, newest: bool) -> list[Frame | Damage]:
    """What a segment holds.  Of a workload's newest segment bodies are verified, too: a crash may have torn what was written last."""
    with _mapped(path) as buffer:
        return list(frames.scan(buffer, verify_bodies=newest))


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
            _sync_folder(path.parent)
    except OSError:
        os.ftruncate(descriptor, size_bytes)
        raise
    finally:
        os.close(descriptor)


def read_body(block: StoredBlock) -> bytes:
    """The body of a block; Damaged if it is not what was written, FileNotFoundError if its segment was let go meanwhile."""
    with block.segment.path.open("rb", buffering=0) as file:
        body = os.pread(file.fileno(), block.body_size, block.body_offset)
    if len(body) != block.body_size or crc32(body) != block.body_check:
        raise Damaged(f"{block.segment.path.name} at byte {block.body_offset}: the block is damaged")
    return body


def remove(path: Path) -> None:
    """Let a segment go, with folders that are empty now."""
    path.unlink(missing_ok=True)
    for folder in (path.parent, path.parent.parent):
        try:
            folder.rmdir()
        except OSError:
            return  # not empty


@contextmanager
def _mapped(path: Path) -> Iterator[frames.Buffer]:
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
    _sync_folder(folder.parent)
    _sync_folder(folder.parent.parent)


def _sync_folder(folder: Path) -> None:
    """A new file is found again after a crash only when its folder is on disk, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
