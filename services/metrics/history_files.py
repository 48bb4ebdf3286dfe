"""The last day on the disk: a file for each hour, or for less where the process began anew, with a frame for each minute.

A file stands by itself: the first frame that has a series says which it is, and later ones call it by its number.  Only the process that began a
file adds to it, so what a crash has torn is at its end and is left out; a minute is on the disk before the next one.

    header   JSON    {"minute": 29917365, "series": 2, "points": 40}
    body     zstd    the series that are new, a JSON list; then numbers (u32) and values (f32) of all points
"""

from __future__ import annotations

import json
import os
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import zstandard
from loguru import logger

from lattice import checked_frames
from lattice.checked_frames import Frame
from lattice.files import PRIVATE
from services.metrics.rings import MINUTES, Series

_SUFFIX = ".history"
_MINUTES_PER_FILE = 60
_LARGEST_BODY = 64 * 2**20

Values = Sequence[tuple[Series, float]]
Minute = tuple[int, Values]


class HistoryFiles:
    """The files of one folder, of which this process adds to one."""

    def __init__(self, folder: Path, *, most_bytes: int) -> None:
        self._folder, self._most_bytes = folder, most_bytes
        self._numbers: dict[Series, int] = {}
        self._began: int | None = None
        self._path: Path | None = None

    @property
    def size_bytes(self) -> int:
        """All of them."""
        return sum(path.stat().st_size for path in self._files())

    def read(self, since_minute: int) -> Iterator[Minute]:
        """What is there from a minute on, oldest first; what is damaged is left out."""
        for path in self._files():
            yield from (each for each in _read(path) if each[0] >= since_minute)

    def add(self, minute: int, values: Values) -> None:
        """Put a minute on the disk.  Raises OSError where that cannot be."""
        if self._began is None or minute - self._began >= _MINUTES_PER_FILE:
            self._began, self._numbers = minute, {}
            self._path = self._new_path(minute)
        new = [series for series, _ in values if series not in self._numbers]
        for series in new:
            self._numbers[series] = len(self._numbers)
        numbered = [(self._numbers[series], value) for series, value in values]
        assert self._path is not None
        _append(self._path, _encode(minute, new, numbered))

    def let_go(self, minute: int) -> None:
        """Remove what is older than a day, and the oldest of what is too much."""
        files = self._files()
        kept = [path for path in files if _minute_of(path) + _MINUTES_PER_FILE > minute - MINUTES]
        excess = sum(path.stat().st_size for path in kept) - self._most_bytes
        for path in files:
            if path in kept and (excess <= 0 or path == self._path):
                continue
            excess -= path.stat().st_size if path in kept else 0
            path.unlink()

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{_SUFFIX}"))

    def _new_path(self, minute: int) -> Path:
        """One that is not there: a process may begin twice in a minute, or with a clock that was set back."""
        number = 0
        while (path := self._folder / f"{minute:010}-{number:03}{_SUFFIX}").exists():
            number += 1
        return path


def _minute_of(path: Path) -> int:
    begin = path.name.partition("-")[0]
    return int(begin) if begin.isdecimal() else 0


def _encode(minute: int, new: Sequence[Series], numbered: Sequence[tuple[int, float]]) -> bytes:
    series = json.dumps([asdict(each) for each in new]).encode()
    numbers = array("I", (number for number, _ in numbered))
    values = array("f", (value for _, value in numbered))
    header = json.dumps({"minute": minute, "series": len(series), "points": len(numbered)}).encode()
    body = zstandard.compress(series + _little(numbers) + _little(values), 1)
    return checked_frames.encode(header, body)


def _little(numbers: array[int] | array[float]) -> bytes:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _append(path: Path, frame: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE)
    try:
        size = os.fstat(descriptor).st_size
        try:
            _write_all(descriptor, frame)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _read(path: Path) -> Iterator[Minute]:
    known: list[Series] = []
    data = path.read_bytes()
    for found in checked_frames.scan(checked_frames.from_buffer(data), len(data), verify_bodies=True):
        if not isinstance(found, Frame):
            logger.warning("{}: {} bytes at {} are damaged, left out", path, found.size, found.offset)
            continue
        try:
            yield _decode(found.header, data[found.body_offset : found.end], known)
        except (ValueError, KeyError, TypeError, IndexError, zstandard.ZstdError) as error:
            logger.warning("{} cannot be read from {} on: {!r}", path, found.offset, error)
            return


def _decode(header: bytes, body: bytes, known: list[Series]) -> Minute:
    """A minute; `known` gets the series that it brings."""
    about, plain = json.loads(header), zstandard.decompress(body, _LARGEST_BODY)
    series_end = about["series"]
    known += [Series(**each) for each in json.loads(plain[:series_end])]
    numbers, values = array("I"), array("f")
    middle = series_end + about["points"] * numbers.itemsize
    numbers.frombytes(plain[series_end:middle])
    values.frombytes(plain[middle : middle + about["points"] * values.itemsize])
    if sys.byteorder == "big":
        numbers.byteswap()
        values.byteswap()
    return about["minute"], _named(known, numbers, values)


def _named(known: Sequence[Series], numbers: Iterable[int], values: Iterable[float]) -> Values:
    return [(known[number], value) for number, value in zip(numbers, values, strict=True)]
