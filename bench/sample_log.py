"""Log lines such as services print, about 120 bytes each, for every benchmark of logs: as the Engine's records, in blocks as nodes send them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lattice import log_records
from lattice.contracts.messages import LogBlock

START_NS = 1_900_000_000 * 10**9
BLOCK_BYTES = 512 * 1024
NEEDLE = "needle-7f3a"
_EVERY_NS = 40_000


@dataclass(frozen=True, slots=True)
class Sample:
    """Blocks of one container, and how long the text alone is."""

    blocks: list[tuple[LogBlock, bytes]]
    lines: int
    text_bytes: int


def texts(count: int, *, seed: int = 7) -> Iterator[str]:
    """Lines of four kinds, in no order; one in a hundred thousand has the needle."""
    chance = random.Random(seed)
    for number in range(count):
        yield NEEDLE if number % 100_000 == 50_000 else _KINDS[chance.randrange(4)](chance)


def blocks(said: Iterable[str]) -> Iterator[tuple[int, bytes]]:
    """(how many, their records), in blocks as full as they may be; 25,000 lines a second."""
    time_ns, size, found = START_NS, 0, list[bytes]()
    for text in said:
        time_ns += _EVERY_NS
        one = log_records.record(time_ns, "stdout", text + "\n")
        if size + len(one) > BLOCK_BYTES:
            yield len(found), b"".join(found)
            size, found = 0, []
        found.append(one)
        size += len(one)
    yield len(found), b"".join(found)


def sample(count: int, **about: str) -> Sample:
    """As one container wrote it."""
    found, first = list[tuple[LogBlock, bytes]](), 1
    for lines, records in blocks(texts(count)):
        found.append(_block(first, records, about))
        first += lines
    return Sample(found, count, sum(len(text) + 1 for text in texts(count)))


def _block(first: int, records: bytes, about: dict[str, str]) -> tuple[LogBlock, bytes]:
    first_ns, last_ns = log_records.first_and_last_ns(records)
    last = first + log_records.count(records) - 1
    names = {
        "node_id": "nd-bench",
        "workload_id": "wl-bench",
        "instance_id": "in-bench",
        "project": "default",
        "source": "be",
    } | about
    block = LogBlock.model_validate(
        {
            **names,
            "slot": 0,
            "epoch": 1,
            "first": first,
            "last": last,
            "first_at_ns": first_ns,
            "last_at_ns": last_ns,
        }
    )
    return block, log_records.pack(records)


def _access(chance: random.Random) -> str:
    address = ".".join(str(chance.randrange(256)) for _ in range(4))
    path = f"/api/v1/items/{chance.randrange(100_000)}?page={chance.randrange(50)}"
    return f'{address} - - "GET {path} HTTP/1.1" {chance.choice((200, 200, 200, 404, 500))} {chance.randrange(20_000)} "-" "Mozilla/5.0 (X11)"'


def _job(chance: random.Random) -> str:
    done = f"job_id={chance.getrandbits(40):010x} duration_ms={chance.randrange(3000)}"
    return f'level=info component=worker msg="job finished" {done} queue=default attempt={chance.randrange(4)} host=node-{chance.randrange(20)}'


def _warning(chance: random.Random) -> str:
    what = f"order {chance.randrange(10**6)} retried after timeout of {chance.randrange(900)} ms"
    return f"WARN  com.example.orders.OrderService - {what}, user={chance.randrange(5000)} trace={chance.getrandbits(40):010x}"


def _debug(chance: random.Random) -> str:
    hit = chance.choice(("true", "false"))
    return f"DEBUG cache lookup key=user:{chance.randrange(5000)}:profile hit={hit} took_us={chance.randrange(900)} shard={chance.randrange(16)}"


_KINDS = (_access, _job, _warning, _debug)
