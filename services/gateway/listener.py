"""The HTTPS listener: uvicorn in our own loop, without its signal handling, its access log or its plaintext port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from loguru import logger
from starlette.types import ASGIApp

from lattice.background import Background
from lattice.renewing_tls import RenewingTls
from services.gateway.settings import GatewaySettings

# Streams are ended by the application; what is left after this time is cut.
DRAIN_S = 5
_LARGEST_MESSAGE = 128 * 1024


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the process (`lattice.process`)."""
        yield


def _config(app: ASGIApp, settings: GatewaySettings, tls: RenewingTls) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.listen_host,
        port=settings.port,
        ssl_context_factory=lambda _config, _default: tls.context,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=DRAIN_S,
        ws_max_size=_LARGEST_MESSAGE,
        ws_max_queue=16,
        h11_max_incomplete_event_size=64 * 1024,
    )


@asynccontextmanager
async def listening(
    app: ASGIApp, settings: GatewaySettings, *, end_streams: Callable[[], None]
) -> AsyncIterator[int]:
    """Serve while the block runs; yields the port.  `end_streams` lets go of answers without end, which would hold up the end."""
    tls = await asyncio.to_thread(RenewingTls, settings.tls_cert_file, settings.tls_key_file)
    server = _Server(_config(app, settings, tls))
    serving = asyncio.create_task(server.serve(), name="https")
    try:
        port = await _port(server, serving)
        logger.info("listening on https://{}:{}", settings.listen_host, port)
        async with Background() as background:
            background.start("gateway certificate", lambda: tls.follow(settings.tls_reload_s))
            yield port
    finally:
        end_streams()
        server.should_exit = True
        await serving


async def _port(server: uvicorn.Server, serving: asyncio.Task[None]) -> int:
    while not server.started:
        if serving.done():
            serving.result()
            raise OSError("the HTTPS listener ended before it listened")
        await asyncio.sleep(0.01)
    port: int = server.servers[0].sockets[0].getsockname()[1]
    return port
