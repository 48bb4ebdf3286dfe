"""Pulling official images without ever waiting long for a registry that cannot be reached."""

from __future__ import annotations

import selectors
import subprocess
import time

_WHOLE_PULL_S = 600
_WRONG_NAME = ("manifest unknown", "not found", "denied")


class Registry:
    """The registry as seen in this run: the first silence is believed, and nobody waits a second time."""

    def __init__(self, *, first_answer_s: float = 10) -> None:
        self.away_because: str | None = None
        self._first_answer_s = first_answer_s

    def pull(self, image: str) -> bool:
        """Whether the image could be pulled; silence is taken for an answer after `first_answer_s`."""
        if self.away_because:
            return False
        problem = _pull(image, first_answer_s=self._first_answer_s)
        if problem and not any(words in problem for words in _WRONG_NAME):
            self.away_because = problem
        return problem is None


def _pull(image: str, *, first_answer_s: float) -> str | None:
    """Pull and return None, or what went wrong."""
    with subprocess.Popen(
        ["docker", "pull", image],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as pulling:
        # The first line comes when the registry has named the image's layers; after that it is only a matter
        # of size.
        if not _speaks(pulling, within_s=first_answer_s):
            pulling.kill()
            return f"no answer within {first_answer_s:g} s"
        return _outcome(pulling)


def _outcome(pulling: subprocess.Popen[str]) -> str | None:
    try:
        output, _ = pulling.communicate(timeout=_WHOLE_PULL_S)
    except subprocess.TimeoutExpired:
        pulling.kill()
        return f"the pull did not end within {_WHOLE_PULL_S} s"
    return output.strip().splitlines()[-1] if pulling.returncode else None


def _speaks(process: subprocess.Popen[str], *, within_s: float) -> bool:
    assert process.stdout is not None
    deadline_s = time.monotonic() + within_s
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        return bool(selector.select(max(0.0, deadline_s - time.monotonic())))
