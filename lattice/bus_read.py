"""Reading back what a stream keeps: the newest message of a subject, or one message by its number.

Nodes may use the subject form of Direct Get only, for the one subject that their permissions name.  The body form, and reading by number,
are not bound to a subject, so they are the registry's alone.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from lattice.bus_append import refusal
from lattice.bus_requests import Reply, Requests
from lattice.errors import Temporary
from lattice.messaging import Kept

READ_TIMEOUT_S = 5.0
_NOT_FOUND = "404"
_NO_MESSAGE = 10037


async def last_by_subject(requests: Requests, stream: str, subject: str) -> tuple[Kept, int] | None:
    """The newest message that fits `subject`, with its number; from whichever replica answers."""
    reply = await requests.ask(f"$JS.API.DIRECT.GET.{stream}.{subject}", timeout_s=READ_TIMEOUT_S)
    if reply.status == _NOT_FOUND:
        return None
    if reply.status:
        raise Temporary(f"{stream} cannot be read now ({reply.status}): try again.")
    return _direct(reply)


def _direct(reply: Reply) -> tuple[Kept, int]:
    return Kept(reply.headers["Nats-Subject"], reply.payload, reply.headers), int(
        reply.headers["Nats-Sequence"]
    )


async def newest_of_each(requests: Requests, stream: str, subject: str) -> list[tuple[Kept, int]]:
    """The message that the stream keeps for each subject that fits, oldest first: one request for each.  For streams that keep one per subject."""
    found: list[tuple[Kept, int]] = []
    while True:
        wanted = {"seq": found[-1][1] + 1 if found else 1, "next_by_subj": subject}
        reply = await requests.ask(
            f"$JS.API.DIRECT.GET.{stream}", json.dumps(wanted).encode(), timeout_s=READ_TIMEOUT_S
        )
        if reply.status == _NOT_FOUND:
            return found
        if reply.status:
            raise Temporary(f"{stream} cannot be read now ({reply.status}): try again.")
        found.append(_direct(reply))


async def last_from_leader(requests: Requests, stream: str, subject: str) -> tuple[Kept, int] | None:
    """The same from the stream's leader, which is never behind: for compare-and-swap."""
    return await _get(requests, stream, {"last_by_subj": subject})


async def by_number(requests: Requests, stream: str, seq: int) -> Kept | None:
    """One message by its number, or None."""
    found = await _get(requests, stream, {"seq": seq})
    return None if found is None else found[0]


async def _get(requests: Requests, stream: str, wanted: dict[str, Any]) -> tuple[Kept, int] | None:
    reply = await requests.ask(
        f"$JS.API.STREAM.MSG.GET.{stream}", json.dumps(wanted).encode(), timeout_s=READ_TIMEOUT_S
    )
    said: dict[str, Any] = json.loads(reply.payload)
    if said.get("error", {}).get("err_code") == _NO_MESSAGE:
        return None
    if "error" in said:
        raise refusal(said["error"])
    message = said["message"]
    headers = _headers(base64.b64decode(message.get("hdrs", "")))
    return Kept(message["subject"], base64.b64decode(message.get("data", "")), headers), int(message["seq"])


def _headers(block: bytes) -> dict[str, str]:
    lines = (line.partition(b":") for line in block.split(b"\r\n")[1:] if b":" in line)
    return {name.strip().decode(): value.strip().decode("utf-8", "replace") for name, _, value in lines}
