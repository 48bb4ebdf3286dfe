"""The nursery: a process that has imported what our services need, and forks one whenever the supervisor asks (`python -m standalone.nursery`).

Half of what starting a service costs goes into imports, and most of them are the same for all.  Here they are done once, and their memory is
shared.  The supervisor (`forking`) keeps this process, and can do without it.

A service is no child of the nursery: the process between them ends at once, so that the kernel gives the newborn to the supervisor, which waits
for it like for any other.  It has nothing of the nursery but modules: its session, streams, environment and folder are its own, and no thread, event
loop or connection is ever made here.

Orders come through standard input, which is a socket.  While there are none, the next module is imported; an order for another goes before.
"""

from __future__ import annotations

import gc
import os
import runpy
import select
import signal
import socket
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from setproctitle import getproctitle, setproctitle, setthreadtitle

from standalone.nursery_orders import LONGEST_BYTES, Answer, Order, read_order
from standalone.processes import die_with
from standalone.settings import replace_environment

COULD_NOT_START = 127
# Those come first that need the least.
_PARTS = (
    *("services.scheduler", "services.logs", "services.ingress", "services.metrics"),
    *("services.registry", "services.alerts", "services.gateway", "agent"),
)
# What parts import only once they run comes along.
IMPORTS = (
    "uvloop",
    "nkeys",
    *(f"{part}.__main__" for part in _PARTS),
    "anyio._backends._asyncio",
    "httpcore",
)
_THREADS = Path("/proc/self/task")


@dataclass(frozen=True, slots=True)
class Newborn:
    """A process before it has been told what to be."""

    module: str
    log: int
    supervisor: socket.socket


def serve(orders: socket.socket, imports: Iterable[str]) -> Newborn | None:
    """In each newborn process what it is to be; in the nursery None, when nobody can ask any more."""
    rest = list(imports)
    ready = select.poll()
    ready.register(orders, select.POLLIN)
    while True:
        if rest and not ready.poll(0):
            import_module(rest.pop(0))
            continue
        content, descriptors, *_ = socket.recv_fds(orders, LONGEST_BYTES, 2)
        if not content:
            return None
        newborn = Newborn(content.decode(), descriptors[0], socket.socket(fileno=descriptors[1]))
        if _bear(newborn):
            orders.close()
            return newborn


def _entry(module: str) -> str:
    """What is run of a package: imported under this name, it imports everything and does nothing."""
    return f"{module}.__main__"


def _bear(newborn: Newborn) -> bool:
    """Fork it; True in the new process, False in the nursery."""
    try:
        import_module(_entry(newborn.module))
        _check_alone()
        gc.freeze()  # the collector of a newborn process leaves alone, and so shared, what is here now
        if _fork_away():
            return True
    except Exception as error:
        _answer(newborn, Answer(problem=f"{type(error).__name__}: {error}"))
    newborn.supervisor.close()
    os.close(newborn.log)
    return False


def _check_alone() -> None:
    """A fork has none of the other threads, but the locks that they held."""
    if len(list(_THREADS.iterdir())) > 1:
        raise RuntimeError("a library has started a thread")


def _fork_away() -> bool:
    """True in a new process that is the supervisor's child, False in the nursery."""
    given_away, gives_away = os.pipe()
    between = os.fork()
    if between == 0:
        os.close(gives_away)
        _fork_and_end()
        os.read(
            given_away, 1
        )  # nothing is ever written: it returns when the nursery has seen our parent's end
        os.close(given_away)
        return True
    os.close(given_away)
    _, status = os.waitpid(between, 0)
    os.close(gives_away)
    if status:
        raise OSError("no second process could be forked")
    return False


def _fork_and_end() -> None:
    """Returns only in the new process."""
    try:
        pid = os.fork()
    except OSError:
        os._exit(1)
    if pid:
        os._exit(0)


def _answer(newborn: Newborn, answer: Answer) -> None:
    try:
        newborn.supervisor.send(answer.encode())
    except OSError:  # nobody wants to know any more
        return


def be_born(newborn: Newborn, *, parent: int) -> None:
    """Live as that process, to its end."""
    die_with(parent, signal.SIGKILL)
    os.setsid()
    _answer(newborn, Answer(pid=os.getpid()))
    message = newborn.supervisor.recv(LONGEST_BYTES)
    if not message:  # the supervisor has given it up
        os._exit(0)
    newborn.supervisor.close()
    _become(newborn, read_order(message), parent)
    runpy.run_module(newborn.module, run_name="__main__", alter_sys=True)


def _become(newborn: Newborn, order: Order, parent: int) -> None:
    """Be as if this order's command had been run."""
    for stream in (1, 2):
        os.dup2(newborn.log, stream)
    os.close(newborn.log)
    try:
        os.chdir(order.folder)
    except OSError:
        traceback.print_exc()
        os._exit(COULD_NOT_START)
    replace_environment(order.environment)
    sys.argv, sys.orig_argv = [newborn.module], list(order.argv)
    sys.modules.pop(_entry(newborn.module))  # it is run now, and under another name
    setproctitle(" ".join(order.argv))
    setthreadtitle(order.name)
    die_with(parent, signal.Signals(order.death_signal))
    gc.enable()


def _orders() -> socket.socket:
    """Standard input, in whose place there is nothing from now on."""
    orders = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.close(nothing)
    return orders


def main() -> None:
    """Serve until the supervisor ends, or be what it asked for."""
    setthreadtitle("nursery")
    getproctitle()  # finds where the title is, which it could not once the environment is another
    gc.disable()  # what is imported stays, so looking for garbage costs a third of the time and finds nothing
    parent = os.getppid()
    newborn = serve(_orders(), IMPORTS)
    if newborn is not None:
        be_born(newborn, parent=parent)


if __name__ == "__main__":
    main()
