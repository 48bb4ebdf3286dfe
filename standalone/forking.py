"""The supervisor's side of the nursery (`nursery`): keeps it running, and has it fork what it can.

It saves time and memory and is no condition: where it is gone, hangs or cannot fork, the process is started from its command, and the
nursery is started again.  No more than one process comes of one request: a newborn one waits for its order, and ends where none comes.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from dataclasses import replace

from loguru import logger

from lattice.errors import LatticeError, Temporary
from standalone.adopted import Adopted, collect_orphans
from standalone.child import Child
from standalone.log_files import open_log
from standalone.nursery_orders import LONGEST_BYTES, Order, can_be_forked, read_answer
from standalone.process_spec import ProcessSpec
from standalone.processes import adopt_orphans
from standalone.spawning import Running, execute

# On a busy machine what it has to import first takes seconds; a service that imports for itself would not be there sooner.
PATIENCE_S = 20.0


def order_for(spec: ProcessSpec) -> Order:
    """What a newborn process is told, so that it becomes what the command of the spec would have become."""
    return Order(spec.name, spec.argv, spec.env, str(spec.cwd), int(spec.death_signal))


class Nursery:
    """A nursery that is kept running from `start` to `stop`."""

    def __init__(self, spec: ProcessSpec, *, patience_s: float = PATIENCE_S) -> None:
        self._child = Child(replace(spec, prepare=self._open), lambda: None, spawn=self._execute)
        self._patience_s = patience_s
        self._sockets: tuple[socket.socket, socket.socket] | None = None
        """Where we order, and its standard input."""
        self._process: Running | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def pid(self) -> int | None:
        """Its process now."""
        return self._child.status.pid

    async def start(self) -> None:
        """Keep it running from now on; it answers when it can.  Where the kernel gives us no orphans there is none."""
        try:
            adopt_orphans(whether=True)
        except OSError as error:
            logger.warning("each service is started for itself: {}", error)
            return
        self._tasks = [asyncio.create_task(self._child.run()), asyncio.create_task(collect_orphans())]
        with suppress(TimeoutError):
            await asyncio.wait_for(self._child.became_ready.wait(), self._patience_s)

    async def stop(self) -> None:
        """End it, and with it every wait for an answer."""
        self._close()
        await self._child.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(OSError):
            adopt_orphans(whether=False)

    async def spawn(self, spec: ProcessSpec) -> Running:
        """Start a process: forked where that can be, else from its command.  Raises OSError if it cannot be started."""
        if self._sockets and spec.module and can_be_forked(spec.env, nursery=self._child.spec.env):
            try:
                return await self._fork(spec, spec.module, self._sockets[0])
            except (OSError, LatticeError) as error:
                logger.warning("{} is started without the nursery: {}", spec.name, error)
        return await execute(spec)

    async def _fork(self, spec: ProcessSpec, module: str, orders: socket.socket) -> Running:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            ours.setblocking(False)
            with theirs, open_log(spec.log_file) as log:
                socket.send_fds(orders, [module.encode()], [log.fileno(), theirs.fileno()])
            born = Adopted(await self._born(ours, self._process))
            with suppress(ConnectionError):  # it has ended already: its status says how
                ours.send(order_for(spec).encode())
        return born

    async def _born(self, newborn: socket.socket, asked: Running | None) -> int:
        """The pid of the process that answers; whoever was asked and does not answer is killed.  Raises Temporary."""
        try:
            async with asyncio.timeout(self._patience_s):
                message = await asyncio.get_running_loop().sock_recv(newborn, LONGEST_BYTES)
        except TimeoutError as error:
            if asked is not None and asked.returncode is None:
                asked.kill()
            raise Temporary(
                f"it did not answer within {self._patience_s:g} s and is started again"
            ) from error
        answer = read_answer(message)
        if not answer.pid:
            raise Temporary(answer.problem)
        return answer.pid

    async def _open(self) -> None:
        """Before each start: orders that nobody has taken end with the sockets that they wait in."""
        self._close()
        self._sockets = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._sockets[0].setblocking(False)

    def _close(self) -> None:
        for each in self._sockets or ():
            each.close()
        self._sockets = None

    async def _execute(self, spec: ProcessSpec) -> Running:
        assert self._sockets is not None, "it was prepared"
        with self._sockets[1] as stdin:
            self._process = await execute(spec, stdin=stdin.fileno())
        return self._process
