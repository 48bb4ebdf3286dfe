"""Damage at random places: every frame that is intact is served, and nothing that was not written."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from services.logs.retention import Limits
from tests.fixtures.log_blocks import incoming
from tests.fixtures.log_store import NOW_NS, blocks, kept, opened, pack_all, put

LIMITS = Limits(segment_bytes=2**30, segment_age_s=10)
LATER_NS = NOW_NS + 20 * 10**9
FRAMES = 6
Files = dict[str, bytes]


@lru_cache(maxsize=1)
def written() -> tuple[Files, dict[tuple[str, int], tuple[int, int]]]:
    """A packed segment with its index and a growing one: their bytes, and the block whose frame each byte is part of."""
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder), LIMITS) as store:
        # Apart from each other, so that packing leaves them as they are.
        put(store, *(incoming(n * 10 + 1, n * 10 + 5) for n in range(FRAMES // 2)))
        put(store, *(incoming(n * 10 + 1, n * 10 + 5) for n in range(FRAMES // 2, FRAMES)), now_ns=LATER_NS)
        pack_all(store, LATER_NS)
        files = {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).glob("*/*/*")}
        owners, begun = {}, dict.fromkeys(files, 0)
        for block in sorted(blocks(store), key=lambda each: each.lines):
            name, end = str(block.segment.path.relative_to(folder)), block.body_offset + block.body_size
            owners.update({(name, byte): block.lines for byte in range(begun[name], end)})
            begun[name] = end
        return files, owners


def served(files: Files) -> list[int]:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        with opened(Path(folder), LIMITS) as store:
            again = kept(store).get("c0ffee", [])
            # The store goes on: what comes next is kept beside the damage.
            put(store, incoming(1000, 1004), now_ns=LATER_NS)
            assert kept(store)["c0ffee"] == [*again, *range(1000, 1005)]
        with opened(Path(folder), LIMITS) as store:
            assert kept(store)["c0ffee"] == [*again, *range(1000, 1005)]
        return again


@given(st.data())
def test_wrong_bytes_cost_the_blocks_that_they_are_in(data: st.DataObject) -> None:
    files, owners = written()
    name = data.draw(st.sampled_from(sorted(files)))
    broken, lost = bytearray(files[name]), set()
    for _ in range(data.draw(st.integers(1, 4))):
        byte = data.draw(st.integers(0, len(broken) - 1))
        broken[byte] ^= data.draw(st.integers(1, 255))
        lost.add(owners.get((name, byte)))
    found = served(files | {name: bytes(broken)})
    expected = [n for n in range(1, FRAMES * 10) if n % 10 in range(1, 6)]
    gone = {n for lines in lost if lines is not None for n in range(lines[0], lines[1] + 1)}
    assert [n for n in expected if n not in gone] == [n for n in found if n not in gone]
    assert set(found) <= set(expected)


@given(st.data())
def test_a_file_that_ends_early_costs_what_is_behind_its_end(data: st.DataObject) -> None:
    files, owners = written()
    name = data.draw(st.sampled_from(sorted(files)))
    size = data.draw(st.integers(0, len(files[name]) - 1))
    found = served(files | {name: files[name][:size]})
    lost = {lines for (of, byte), lines in owners.items() if of == name and byte >= size}
    expected = [n for n in range(1, FRAMES * 10) if n % 10 in range(1, 6)]
    gone = {n for first, last in lost for n in range(first, last + 1)}
    assert found == [n for n in expected if n not in gone]
