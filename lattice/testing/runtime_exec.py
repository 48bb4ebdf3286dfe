"""A command inside a container of `FakeRuntime`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from lattice.runtime import ExecOptions, ExecOutput

ExecReply = Callable[[ExecOptions, bytes], tuple[bytes, bytes, int]]
"""From the command and all of its input to stdout, stderr and the exit code."""


def echo(options: ExecOptions, stdin: bytes) -> tuple[bytes, bytes, int]:
    """Print the input and succeed."""
    return stdin, b"", 0


class FakeExec:
    """A command inside a fake container: it reads all of its input, then prints what `exec_reply` says."""

    def __init__(self, options: ExecOptions, reply: ExecReply) -> None:
        self._options, self._reply = options, reply
        self._stdin = bytearray()
        self._input_ended = asyncio.Event()
        self._outputs: list[ExecOutput] | None = None
        self._code: int | None = None
        self._output_ended = False
        self.sizes: list[tuple[int, int]] = []
        self.closed = False
        if not options.stdin:
            self._input_ended.set()

    async def read(self) -> ExecOutput | None:
        await self._input_ended.wait()
        if self._outputs is None:
            stdout, stderr, self._code = self._reply(self._options, bytes(self._stdin))
            printed = (ExecOutput("stdout", stdout), ExecOutput("stderr", stderr))
            self._outputs = [output for output in printed if output.data]
        if self._outputs:
            return self._outputs.pop(0)
        self._output_ended = True
        return None

    async def write(self, data: bytes) -> None:
        self._stdin += data

    async def close_stdin(self) -> None:
        self._input_ended.set()

    async def resize(self, *, rows: int, columns: int) -> None:
        self.sizes.append((rows, columns))

    async def exit_code(self) -> int | None:
        """As with the Engine, the first answer after the end of the output still says that it runs."""
        if self._output_ended:
            self._output_ended = False
            return None
        return self._code

    async def close(self) -> None:
        self.closed = True
        self._input_ended.set()
