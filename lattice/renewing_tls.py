"""A listener's TLS, with a certificate that is read again when its file changes.

New connections get the renewed certificate, open ones keep theirs; nothing restarts.  A context whose reload failed half-way has lost its
chain, so the renewed files make a new context, and each handshake is handed the newest whole one.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path

from loguru import logger

from lattice.errors import Invalid
from lattice.pki_files import server_context


class RenewingTls:
    """A server context that follows its files: what `make` makes of them, else TLS 1.3 as between our own parts."""

    def __init__(
        self,
        certificate_file: Path,
        key_file: Path,
        *,
        client_ca_file: Path | None = None,
        make: Callable[[Path, Path], ssl.SSLContext] | None = None,
    ) -> None:
        self._certificate_file = certificate_file
        self._key_file = key_file
        self._client_ca_file = client_ca_file
        self._make = make or partial(server_context, client_ca_file=client_ca_file)
        self._seen = self._stamp()
        self._newest = self._read()
        self.context = self._read()
        self.context.sni_callback = self._hand_over  # asked in each handshake, also where no name is given

    async def follow(self, every_s: float) -> None:
        """Look again and again; runs beside the requests."""
        while True:
            await asyncio.sleep(every_s)
            await asyncio.to_thread(self.look)

    def look(self) -> bool:
        """Read the files again if they changed; whether a new certificate is in use now."""
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        try:
            self._newest = self._read()
        except (OSError, ssl.SSLError, Invalid) as error:
            # Certificate and key are two files: between the two writes they do not fit together.
            logger.warning("{} cannot be used yet: {}", self._certificate_file, error)
            return False
        self._seen = stamp
        logger.info("a renewed certificate is in use")
        return True

    def _read(self) -> ssl.SSLContext:
        return self._make(self._certificate_file, self._key_file)

    def _hand_over(self, handshake: ssl.SSLObject, _name: str, _context: ssl.SSLContext) -> None:
        handshake.context = self._newest

    def _stamp(self) -> tuple[tuple[int, int, int], ...]:
        files = (self._certificate_file, self._key_file, self._client_ca_file)
        return tuple(_stamp_of(path) for path in files if path is not None)


def _stamp_of(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:  # gone, or not for us to read: the next look may find it
        return (0, 0, 0)
    return (found.st_ino, found.st_mtime_ns, found.st_size)
