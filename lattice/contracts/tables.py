"""The catalogue as tables for people: `docs/channels.md`, written by `asyncapi`."""

from __future__ import annotations

from collections.abc import Sequence

from lattice.contracts.catalogue import CHANNELS, RPCS
from lattice.contracts.streams import STREAMS


def as_markdown() -> str:
    """The tables of `docs/channels.md`."""
    return "\n".join(
        [
            "<!-- Written by `python -m lattice.contracts.asyncapi --write`. -->",
            "# What the parts of Lattice say to each other",
            "",
            "`node` stands for the agents; each may use only the subjects with its own id.",
            "",
            "## Messages",
            *_table(("subject", "payload", "stream", "said by", "heard by", "meaning"), _channel_rows()),
            "",
            "## Requests",
            *_table(("subject", "request → reply", "asked by", "answered by", "meaning"), _rpc_rows()),
            "",
            "## Streams",
            *_table(("stream", "keeps", "for", "at most"), _stream_rows()),
            "",
        ]
    )


def _channel_rows() -> list[tuple[str, ...]]:
    return [
        (
            f"`{channel.address.template}`",
            channel.payload.__name__ + (" + bytes" if channel.binary else ""),
            channel.stream.name if channel.stream else "",
            ", ".join(channel.publishers) or "the server",
            ", ".join(channel.subscribers),
            channel.meaning,
        )
        for channel in CHANNELS
    ]


def _rpc_rows() -> list[tuple[str, ...]]:
    return [
        (
            f"`{rpc.address.template}`",
            f"{rpc.request.__name__} → {rpc.reply.__name__}",
            ", ".join(rpc.callers),
            rpc.server,
            rpc.meaning,
        )
        for rpc in RPCS
    ]


def _stream_rows() -> list[tuple[str, ...]]:
    return [
        (stream.name, stream.meaning, _duration(stream.max_age_s), f"{stream.max_bytes // 2**20} MiB")
        for stream in STREAMS
    ]


def _duration(seconds: float) -> str:
    if not seconds:
        return "ever"
    return f"{seconds / 86_400:g} days" if seconds >= 86_400 else f"{seconds / 3600:g} hours"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["", *("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)]
