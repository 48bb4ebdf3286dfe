"""How a command inside a container ended.  The Engine closes its output a moment before it knows the exit code."""

from __future__ import annotations

import asyncio

from lattice.runtime import ExecProcess

LONGEST_WAIT_S = 5.0
_LOOK_EVERY_S = 0.01


async def exit_code_of(process: ExecProcess) -> int:
    """The exit code of a command whose output has ended; TimeoutError if the Engine does not tell it soon."""
    async with asyncio.timeout(LONGEST_WAIT_S):
        while (code := await process.exit_code()) is None:
            await asyncio.sleep(_LOOK_EVERY_S)
    return code
