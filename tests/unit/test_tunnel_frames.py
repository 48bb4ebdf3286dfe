"""Frames of a tunnel: whatever pieces they arrive in, the same is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.errors import Invalid
from lattice.tunnel_frames import HEAD, LARGEST_CONTROL, LARGEST_DATA, FrameKind, FrameReader, frame

Read = list[tuple[FrameKind, int, bytes]]


class Heard:
    """What was read; neighbouring pieces of one stream's data are one."""

    def __init__(self) -> None:
        self.frames: Read = []

    def data_came(self, stream_id: int, piece: bytes | memoryview) -> None:
        newest = self.frames[-1] if self.frames else None
        if newest and newest[:2] == (FrameKind.DATA, stream_id):
            self.frames[-1] = (FrameKind.DATA, stream_id, newest[2] + bytes(piece))
        else:
            self.frames.append((FrameKind.DATA, stream_id, bytes(piece)))

    def frame_came(self, kind: FrameKind, stream_id: int, payload: bytes) -> None:
        self.frames.append((kind, stream_id, payload))


KINDS = st.sampled_from(FrameKind)
FRAMES = st.lists(st.tuples(KINDS, st.integers(0, 2**32 - 1), st.binary(max_size=300)), max_size=12)


def joined(frames: Read) -> Read:
    heard = Heard()
    for kind, stream_id, payload in frames:
        if kind is not FrameKind.DATA:
            heard.frame_came(kind, stream_id, payload)
        elif payload:
            heard.data_came(stream_id, payload)
    return heard.frames


@given(FRAMES, st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_the_same_is_read_from_any_pieces(frames: Read, sizes: list[int]) -> None:
    heard = Heard()
    reader = FrameReader(heard)
    wire = b"".join(frame(*each) for each in frames)
    number = 0
    while wire:
        size = sizes[number % len(sizes)]
        reader.feed(memoryview(wire)[:size])
        wire, number = wire[size:], number + 1
    assert heard.frames == joined(frames)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (HEAD.pack(0, 1, 0), "unknown kind 0"),
        (HEAD.pack(99, 1, 0), "unknown kind 99"),
        (HEAD.pack(FrameKind.OPEN, 1, LARGEST_CONTROL + 1), "more than"),
        (HEAD.pack(FrameKind.DATA, 1, LARGEST_DATA + 1), "more than"),
    ],
)
def test_what_is_no_frame_is_refused_before_its_payload_is_waited_for(head: bytes, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        FrameReader(Heard()).feed(head)
