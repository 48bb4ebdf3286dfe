"""Lines as services write them: what repeats, repeats, and what identifies a request does not.

About 110 bytes each; one request id of 64 bits per line is a quarter of what any compression leaves of them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from lattice.log_records import record

START_NS = 1_900_000_000 * 10**9
BLOCK_BYTES = 512 * 1024

_PATHS = (
    "/v1/orders", "/v1/orders/{}", "/v1/users/{}/cart", "/healthz", "/static/app.js", "/v1/search?q=shoes&page={}",
)  # fmt: skip


def lines(count: int, *, seed: int = 1) -> Iterator[str]:
    """So many, without their newlines; the same for the same seed."""
    chance = random.Random(seed)
    for _ in range(count):
        yield _request(chance) if chance.random() < 0.9 else _warning(chance)


def blocks(texts: Iterator[str]) -> Iterator[tuple[int, bytes]]:
    """(how many, their records), in blocks as full as they may be."""
    time_ns, size = START_NS, 0
    found: list[bytes] = []
    for text in texts:
        time_ns += 1_234_567
        one = record(time_ns, "stdout", text + "\n")
        if size + len(one) > BLOCK_BYTES:
            yield len(found), b"".join(found)
            found, size = [], 0
        found.append(one)
        size += len(one)
    yield len(found), b"".join(found)


def _request(chance: random.Random) -> str:
    path = chance.choice(_PATHS).format(chance.randint(1, 99_999))
    status, method = chance.choice((200, 200, 200, 201, 404, 500)), chance.choice(("GET", "POST", "PUT"))
    return (
        f"INFO http: {method} {path} status={status} bytes={chance.randint(100, 99_999)} took={chance.randint(1, 900)}ms"
        f" request_id={chance.getrandbits(64):016x} user={chance.randint(1, 5000)}"
    )


def _warning(chance: random.Random) -> str:
    return (
        f"WARN pool: connection {chance.randint(1, 200)} to db-{chance.randint(1, 5)}.internal:5432 was slow:"
        f" {chance.randint(100, 9000)} ms waiting, {chance.randint(1, 50)} in the queue"
    )
