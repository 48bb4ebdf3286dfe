"""What tests talk to through a public name.

On 8080, HTTP: `POST /body` answers with the SHA-256 of what it was sent, and with as many bytes; `/events` tells ten events, one at a time;
`/socket` is a WebSocket that says everything again; anything else answers hello.
On 7000, TCP by its first line: `last` answers with the SHA-256 of everything after it once nothing more comes; `first` ends its own direction
at once and keeps the SHA-256 of what comes after that for the next `kept`; any other line is said again in capitals, and so are those after it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from asyncio import StreamReader as Reader
from asyncio import StreamWriter as Writer

MIB = 2**20
_WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_kept = b"nothing"


async def web(reader: Reader, writer: Writer) -> None:
    """One connection, with one request after the other."""
    try:
        while head := await _head(reader):
            await _PAGES.get(head["path"].partition("?")[0], _hello)(head, reader, writer)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()


async def _head(reader: Reader) -> dict[str, str]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    fields = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)
    }
    return {**fields, "path": lines[0].split()[1]}


async def _hello(head: dict[str, str], reader: Reader, writer: Writer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


async def _body(head: dict[str, str], reader: Reader, writer: Writer) -> None:
    left = length = int(head["content-length"])
    seen = hashlib.sha256()
    while left:
        data = await reader.read(min(left, MIB))
        if not data:
            raise ConnectionError("the body broke off")
        seen.update(data)
        left -= len(data)
    writer.write(
        b"HTTP/1.1 200 OK\r\nX-Digest: %s\r\nContent-Length: %d\r\n\r\n" % (seen.hexdigest().encode(), length)
    )
    for start in range(0, length, MIB):
        writer.write(b"y" * min(MIB, length - start))
        await writer.drain()


async def _events(head: dict[str, str], reader: Reader, writer: Writer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for number in range(10):
        event = b"id: %d\ndata: event %d\n\n" % (number, number)
        writer.write(b"%x\r\n%s\r\n" % (len(event), event))
        await writer.drain()
        await asyncio.sleep(0.2)
    writer.write(b"0\r\n\r\n")


async def _socket(head: dict[str, str], reader: Reader, writer: Writer) -> None:
    answer = base64.b64encode(hashlib.sha1(head["sec-websocket-key"].encode() + _WEBSOCKET_GUID).digest())
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n"
        % answer
    )
    while True:
        kind, data = await _frame(reader)
        writer.write(bytes([0x80 | kind]) + _length(len(data)) + data)
        await writer.drain()
        if kind == 8:  # both have said that they close
            raise ConnectionError("closed")


async def _frame(reader: Reader) -> tuple[int, bytes]:
    """One frame of a client, which are masked."""
    first, second = await reader.readexactly(2)
    length = second & 0x7F
    if length >= 126:
        length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8), "big")
    mask, data = await reader.readexactly(4), await reader.readexactly(length)
    return first & 0x0F, bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))


def _length(size: int) -> bytes:
    if size < 126:
        return bytes([size])
    return b"\x7e" + size.to_bytes(2, "big") if size < 65536 else b"\x7f" + size.to_bytes(8, "big")


_PAGES = {"/body": _body, "/events": _events, "/socket": _socket}


async def lines(reader: Reader, writer: Writer) -> None:
    """One connection over TCP."""
    try:
        await _LINES.get((line := await reader.readline()), _say_again)(line, reader, writer)
        await writer.drain()
    except ConnectionError:
        pass
    writer.close()


async def _say_again(line: bytes, reader: Reader, writer: Writer) -> None:
    while line:
        writer.write(line.upper())
        await writer.drain()
        line = await reader.readline()


async def _last(line: bytes, reader: Reader, writer: Writer) -> None:
    writer.write(await _digest(reader) + b"\n")


async def _first(line: bytes, reader: Reader, writer: Writer) -> None:
    global _kept
    writer.write(b"that was all\n")
    writer.write_eof()
    _kept = await _digest(reader)


async def _tell_kept(line: bytes, reader: Reader, writer: Writer) -> None:
    writer.write(_kept + b"\n")


async def _digest(reader: Reader) -> bytes:
    seen = hashlib.sha256()
    while data := await reader.read(MIB):
        seen.update(data)
    return seen.hexdigest().encode()


_LINES = {b"last\n": _last, b"first\n": _first, b"kept\n": _tell_kept}


async def main() -> None:
    servers = [
        await asyncio.start_server(web, "0.0.0.0", 8080, backlog=4096),
        await asyncio.start_server(lines, "0.0.0.0", 7000, backlog=4096),
    ]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(main())
