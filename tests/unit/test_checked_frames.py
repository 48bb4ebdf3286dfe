"""Frames of spools and segments: whatever happens to the bytes, what is intact is found, and what is found is intact."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lattice.checked_frames import MAGIC, Damage, Frame, encode, frame_at, from_buffer, scan

contents = st.tuples(st.binary(max_size=40), st.binary(max_size=60))


def everything(data: bytes, *, verify_bodies: bool = True) -> list[Frame | Damage]:
    return list(scan(from_buffer(data), len(data), verify_bodies=verify_bodies))


def read(data: bytes, *, verify_bodies: bool = True) -> list[tuple[bytes, bytes]]:
    """(header, body) of every frame found."""
    found = everything(data, verify_bodies=verify_bodies)
    return [(one.header, data[one.body_offset : one.end]) for one in found if isinstance(one, Frame)]


@given(st.lists(contents, max_size=6))
def test_what_was_written_is_read(frames: list[tuple[bytes, bytes]]) -> None:
    data = b"".join(encode(*frame) for frame in frames)
    assert read(data) == frames
    assert read(data, verify_bodies=False) == frames


@given(st.lists(contents, min_size=1, max_size=4), st.data())
def test_a_torn_end_costs_the_last_frame_only(frames: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    whole = [encode(*frame) for frame in frames]
    kept = data.draw(st.integers(0, len(whole[-1]) - 1))
    torn = b"".join(whole[:-1]) + whole[-1][:kept]
    found = everything(torn)
    assert read(torn) == frames[:-1]
    if kept:
        assert found[-1] == Damage(len(torn) - kept, kept)


@given(st.lists(contents, min_size=1, max_size=5), st.data())
def test_one_wrong_byte_costs_one_frame_only(frames: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    whole = [encode(*frame) for frame in frames]
    broken = data.draw(st.integers(0, len(frames) - 1))
    byte = data.draw(st.integers(0, len(whole[broken]) - 1))
    flipped = bytearray(whole[broken])
    flipped[byte] ^= data.draw(st.integers(1, 255))
    damaged = b"".join(whole[:broken]) + bytes(flipped) + b"".join(whole[broken + 1 :])
    assert read(damaged) == frames[:broken] + frames[broken + 1 :]
    assert any(isinstance(one, Damage) for one in everything(damaged))


@given(st.lists(contents, min_size=1, max_size=3), st.binary(max_size=80))
def test_nothing_is_lost_between_damage(frames: list[tuple[bytes, bytes]], junk: bytes) -> None:
    """Frames and damage together are the whole file, without a gap or an overlap."""
    data = junk.join(encode(*frame) for frame in frames) + junk
    position = 0
    for one in everything(data):
        assert one.offset == position
        position = one.end
    assert position == len(data)


def test_the_magic_inside_a_body_is_no_frame() -> None:
    inner = encode(b"{}", b"inside")
    data = encode(b"{}", MAGIC + inner) + encode(b"{}", b"after")
    assert [body for _, body in read(data)] == [MAGIC + inner, b"after"]


def test_no_frame_where_none_begins() -> None:
    data = encode(b"{}", b"body")
    assert frame_at(from_buffer(data), 0, len(data)) is not None
    assert frame_at(from_buffer(data), 1, len(data)) is None
    assert frame_at(from_buffer(data[:-1]), 0, len(data) - 1) is None
    assert frame_at(from_buffer(b""), 0, 0) is None
