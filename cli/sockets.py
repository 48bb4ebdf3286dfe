"""Opens WebSockets of the platform, with its trust, the user's credential, and refusals as errors that people understand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from cli.client import Client, problem_error, unreachable

_OPEN_TIMEOUT_S = 30.0


@asynccontextmanager
async def opened(client: Client, path: str, query: Mapping[str, str]) -> AsyncIterator[ClientConnection]:
    """A socket, for the block.  Raises the platform's refusal, or Unreachable."""
    url = client.endpoint.url.replace("http", "ws", 1) + f"{path}?{urlencode(query)}"
    connecting = connect(
        url,
        ssl=client.ssl if url.startswith("wss:") else None,
        additional_headers={key: value for key, value in client.headers().items() if key != "User-Agent"},
        open_timeout=_OPEN_TIMEOUT_S,
        max_size=None,
        compression=None,  # bytes of terminals and databases: nothing to win, and a round of work for each message
    )
    try:
        socket = await connecting
    except InvalidStatus as error:
        said = bytes(error.response.body or b"")
        raise problem_error(error.response.status_code, said, url=client.endpoint.url) from error
    except (OSError, WebSocketException, TimeoutError) as error:
        raise unreachable(client.endpoint.url, error) from error
    async with socket:
        yield socket
