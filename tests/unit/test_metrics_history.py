"""The last day on disk and in memory: bounded, and whole but for what is damaged."""

from __future__ import annotations

import errno
import os
from math import isnan
from pathlib import Path

import pytest

from services.metrics.history_files import HistoryFiles
from services.metrics.rings import MINUTES, Ring, Rings, Series, points

NOW = 1_000_000
ROOMY = 2**30


def series(name: str) -> Series:
    return Series("lattice_node_load1", "node", name, name)


def test_a_ring_has_a_day_and_holes() -> None:
    ring = Ring(NOW)
    ring.put(NOW, 1)
    ring.put(NOW + 3, 4)
    assert ring.get(NOW) == 1 and isnan(ring.get(NOW + 1)) and ring.get(NOW + 3) == 4
    ring.put(NOW + MINUTES, 9)
    assert isnan(ring.get(NOW)), "its place has another minute now"
    assert ring.get(NOW + 3) == 4
    ring.put(NOW - 1, 7)  # a clock that was set back far
    assert isnan(ring.get(NOW - 1))
    ring.put(NOW + 10 * MINUTES, 1)
    assert isnan(ring.get(NOW + MINUTES)) and isnan(ring.get(NOW + 9 * MINUTES + 4))


def test_points_are_rounded_to_what_they_know() -> None:
    ring = Ring(NOW)
    ring.put(NOW, 0.1)  # as a 32-bit number 0.10000000149
    assert points(ring, NOW, 2, 1) == (0.1, None)


def test_so_many_series_and_no_more() -> None:
    rings = Rings(2)
    assert rings.put(NOW, [(series("a"), 1), (series("b"), 1), (series("c"), 1)]) == 1
    assert rings.put(NOW + MINUTES, [(series("b"), 1)]) == 0
    assert rings.put(NOW + MINUTES, [(series("c"), 1)]) == 0, "a has nothing of the last day"
    assert rings.get(series("a")) is None


def read(files: HistoryFiles, since: int = 0) -> list[tuple[int, dict[str, float]]]:
    return [
        (minute, {each.source_id: value for each, value in values}) for minute, values in files.read(since)
    ]


def test_what_is_written_is_read_by_whoever_comes_next(tmp_path: Path) -> None:
    files = HistoryFiles(tmp_path, most_bytes=ROOMY)
    for minute in range(NOW, NOW + 130):
        files.add(
            minute, [(series("a"), minute % 7), (series("b"), 0.5)] if minute % 2 else [(series("b"), 0.25)]
        )
    assert len(list(tmp_path.iterdir())) == 3, "one for each hour"
    found = read(HistoryFiles(tmp_path, most_bytes=ROOMY), NOW + 1)
    assert len(found) == 129
    assert found[0] == (NOW + 1, {"a": (NOW + 1) % 7, "b": 0.5})
    assert found[1] == (NOW + 2, {"b": 0.25})


def test_two_that_begin_in_one_minute_have_a_file_each(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        HistoryFiles(tmp_path, most_bytes=ROOMY).add(NOW, [(series("a"), value)])
    assert read(HistoryFiles(tmp_path, most_bytes=ROOMY)) == [(NOW, {"a": 1.0}), (NOW, {"a": 2.0})]


@pytest.mark.parametrize("place", range(0, 400, 13))
def test_damage_costs_a_file_at_most_and_never_the_start(tmp_path: Path, place: int) -> None:
    files = HistoryFiles(tmp_path, most_bytes=ROOMY)
    for minute in range(NOW, NOW + 60):
        files.add(minute, [(series("a"), minute - NOW)])
    files.add(NOW + 60, [(series("a"), 60)])
    first = min(tmp_path.iterdir())
    data = bytearray(first.read_bytes())
    data[place] ^= 0xFF
    first.write_bytes(bytes(data))
    found = read(HistoryFiles(tmp_path, most_bytes=ROOMY))
    assert found[-1] == (NOW + 60, {"a": 60.0})
    assert all(values == {"a": minute - NOW} for minute, values in found)


def test_old_and_too_much_is_let_go(tmp_path: Path) -> None:
    files = HistoryFiles(tmp_path, most_bytes=ROOMY)
    for minute in range(NOW, NOW + 240):
        files.add(minute, [(series("a"), 1)])
    files.let_go(NOW + 240)
    assert len(list(tmp_path.iterdir())) == 4
    files.let_go(NOW + MINUTES + 61)
    assert read(files)[0][0] == NOW + 60
    small = HistoryFiles(tmp_path, most_bytes=files.size_bytes - 1)
    small.let_go(NOW + 240)
    assert read(small)[0][0] == NOW + 120


def test_a_disk_that_is_full_leaves_no_half_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = HistoryFiles(tmp_path, most_bytes=ROOMY)
    files.add(NOW, [(series("a"), 1)])
    write = os.write

    def half(descriptor: int, data: memoryview) -> int:
        if len(data) < 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[: len(data) - 10])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        with pytest.raises(OSError, match="No space left"):
            files.add(NOW + 1, [(series("a"), 2)])
    files.add(NOW + 2, [(series("a"), 3)])
    assert read(files) == [(NOW, {"a": 1.0}), (NOW + 2, {"a": 3.0})]
