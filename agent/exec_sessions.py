"""Commands that people run inside containers: argv only, with or without a terminal.

Input and output are numbered frames on the session's own subjects.  The person's side sends a keep-alive now and then; when nothing at all came
for half a minute it is gone, and the command is ended, so that no shell is left behind in a container.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from loguru import logger

from agent.exec_exit import exit_code_of
from agent.journal import Journal
from agent.naming import key_from
from agent.world import World
from lattice.cancelling import cancel_and_wait
from lattice.contracts.catalogue import SESSION_IN, SESSION_OUT
from lattice.contracts.messages import ExecRequest, ExecStarted, SessionFrame, SessionFrameKind
from lattice.errors import Conflict, LatticeError, NotFound, TooManyRequests
from lattice.messaging import Bus, Received
from lattice.runtime import ExecOptions, ExecProcess, Runtime

SILENCE_S = 30.0
KEEPALIVE_S = 10.0
MOST_SESSIONS = 32
_FRAME_BYTES = 32 * 1024


class ExecSessions:
    """The sessions of one node."""

    def __init__(
        self,
        node_id: str,
        cluster_id: str,
        runtime: Runtime,
        bus: Bus,
        journal: Journal,
        world: World,
        *,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._node_id, self._cluster_id, self._runtime, self._bus = node_id, cluster_id, runtime, bus
        self._journal, self._world, self._silence_s = journal, world, silence_s
        self._sessions: dict[str, asyncio.Task[None]] = {}

    async def start(self, request: ExecRequest) -> ExecStarted:
        """Run a command.  Raises NotFound, Conflict if its container does not run, TooManyRequests."""
        if request.session_id in self._sessions:
            raise Conflict(f"Session {request.session_id} exists already: take another id.")
        if len(self._sessions) >= MOST_SESSIONS:
            raise TooManyRequests(f"{MOST_SESSIONS} commands run on this node already: end one first.")
        name = self._container_name(request)
        options = ExecOptions(argv=request.argv, tty=request.tty, stdin=request.stdin)
        process = await self._runtime.exec(name, options)
        if request.size is not None and request.tty:
            await process.resize(rows=request.size.rows, columns=request.size.columns)
        session = Session(self._node_id, request.session_id, process, self._bus, silence_s=self._silence_s)
        await session.listen()
        task = asyncio.create_task(session.run())
        self._sessions[request.session_id] = task
        task.add_done_callback(lambda _: self._sessions.pop(request.session_id, None))
        return ExecStarted(session_id=request.session_id)

    async def close(self) -> None:
        """End every session."""
        tasks = list(self._sessions.values())
        await cancel_and_wait(tasks)

    def _container_name(self, request: ExecRequest) -> str:
        """Only containers that the document wants: never a quarantined one."""
        document = self._journal.document
        own = [each for each in self._world.containers if key_from(each.labels) == request.key]
        wanted = document is not None and any(i.key == request.key for i in document.instances)
        if not wanted or not own:
            raise NotFound("This node has no such instance: look at `lattice show` for where it runs.")
        running = [each.name for each in own if each.is_up]
        if not running:
            raise Conflict("The instance does not run: start it first.")
        return running[-1]


class Session:
    """One command and the person who runs it."""

    def __init__(
        self, node_id: str, session_id: str, process: ExecProcess, bus: Bus, *, silence_s: float
    ) -> None:
        self._node_id, self._session_id = node_id, session_id
        self._process, self._bus, self._silence_s = process, bus, silence_s
        self._frames: asyncio.Queue[tuple[SessionFrame, bytes]] = asyncio.Queue()
        self._number = 0

    async def listen(self) -> None:
        """Hear the person's frames from now on."""
        self._subscription = await self._bus.subscribe(
            SESSION_IN, self._heard, node_id=self._node_id, session_id=self._session_id
        )

    async def run(self) -> None:
        """Carry bytes until the command ends or the person is gone."""
        reading = asyncio.create_task(self._read_all())
        writing = asyncio.create_task(self._write_all())
        alive = asyncio.create_task(self._keep_alive())
        try:
            await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
            await self._tell_end(reading, writing)
        except LatticeError as error:
            logger.info("session {} broke off: {}", self._session_id, error.detail)
        finally:
            await cancel_and_wait([reading, writing, alive])
            await self._subscription.stop()
            with suppress(LatticeError, OSError):
                await self._process.close()

    async def _heard(self, received: Received[SessionFrame]) -> None:
        self._frames.put_nowait((received.message, received.body))

    async def _read_all(self) -> None:
        while (output := await self._process.read()) is not None:
            for at in range(0, len(output.data), _FRAME_BYTES):
                await self._send(SessionFrameKind(output.stream), body=output.data[at : at + _FRAME_BYTES])

    async def _write_all(self) -> None:
        """Returns when the person has been silent for too long."""
        while True:
            try:
                async with asyncio.timeout(self._silence_s):
                    frame, body = await self._frames.get()
            except TimeoutError:
                return
            await self._handle(frame, body)

    async def _keep_alive(self) -> None:
        """A command may print nothing for hours; the other side must be able to tell that from a node that is gone."""
        while True:
            await asyncio.sleep(KEEPALIVE_S)
            with suppress(LatticeError):
                await self._send(SessionFrameKind.KEEPALIVE)

    async def _handle(self, frame: SessionFrame, body: bytes) -> None:
        match frame.kind:
            case SessionFrameKind.STDIN:
                await self._process.write(body)
            case SessionFrameKind.STDIN_CLOSED:
                await self._process.close_stdin()
            case SessionFrameKind.RESIZE if frame.size is not None:
                await self._process.resize(rows=frame.size.rows, columns=frame.size.columns)

    async def _tell_end(self, reading: asyncio.Task[None], writing: asyncio.Task[None]) -> None:
        if reading.done() and reading.exception() is None:
            await self._send(SessionFrameKind.EXIT, exit_code=await exit_code_of(self._process))
            return
        broken = next((t.exception() for t in (reading, writing) if t.done() and t.exception()), None)
        error = str(broken) if broken else f"nothing came from the client for {self._silence_s:g} s"
        await self._send(SessionFrameKind.EXIT, error=error)

    async def _send(
        self, kind: SessionFrameKind, *, body: bytes = b"", exit_code: int | None = None, error: str = ""
    ) -> None:
        self._number += 1
        frame = SessionFrame(
            session_id=self._session_id, kind=kind, number=self._number, exit_code=exit_code, error=error
        )
        await self._bus.publish(
            SESSION_OUT, frame, body=body, node_id=self._node_id, session_id=self._session_id
        )
