"""The two ends of a tunnel, each a process: `python -m bench.tunnel_ends edge|agent FOLDER …`; what serves the bulk: `… bulk PORT`.

The ends do what a public endpoint and an agent do with bytes, and nothing else: no routes, no rights.  FOLDER holds `cert.pem` and `key.pem`.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
import threading
from pathlib import Path

import uvloop

from lattice.tunnel_link import TunnelLink
from lattice.tunnel_stream import LocalSide, TunnelStream

LINKS = 2
BLOCK = bytes(2**20)


async def edge(folder: Path, public_port: int, tunnel_port: int) -> None:
    loop = asyncio.get_running_loop()
    links: list[TunnelLink] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")

    def tunnel() -> TunnelLink:
        return TunnelLink(lambda stream, _: stream.reset("not from here"), dials=False, opened=links.append)

    def public() -> LocalSide:
        return LocalSide(min(links, key=lambda link: link.streams).open(b""))

    await loop.create_server(tunnel, "127.0.0.1", tunnel_port, ssl=context)
    front = await loop.create_server(public, "127.0.0.1", public_port, backlog=1024)
    await front.serve_forever()


async def agent(folder: Path, tunnel_port: int, service_port: int) -> None:
    loop, dialling = asyncio.get_running_loop(), set()
    context = ssl.create_default_context(cafile=str(folder / "cert.pem"))
    context.minimum_version, context.check_hostname = ssl.TLSVersion.TLSv1_3, False

    def accept(stream: TunnelStream, _: bytes) -> None:
        task = asyncio.create_task(
            loop.create_connection(lambda: LocalSide(stream), "127.0.0.1", service_port)
        )
        dialling.add(task)
        task.add_done_callback(dialling.discard)

    for _ in range(LINKS):
        await loop.create_connection(
            lambda: TunnelLink(accept, dials=True), "127.0.0.1", tunnel_port, ssl=context
        )
    await asyncio.Event().wait()


def bulk(port: int) -> None:
    """Sends without end to who says D; counts what is sent by who says U, and answers with the number when it has ended."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_serve_bulk, args=(client,), daemon=True).start()


def _serve_bulk(client: socket.socket) -> None:
    with client:
        try:
            if client.recv(1) == b"D":
                while True:
                    client.sendall(BLOCK)
            buffer, seen = bytearray(2**20), 0
            while size := client.recv_into(buffer):
                seen += size
            client.sendall(seen.to_bytes(8, "big"))
        except OSError:
            return


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["edge", folder, public_port, tunnel_port]:
            uvloop.run(edge(Path(folder), int(public_port), int(tunnel_port)))
        case ["agent", folder, tunnel_port, service_port]:
            uvloop.run(agent(Path(folder), int(tunnel_port), int(service_port)))
        case ["bulk", port]:
            bulk(int(port))
