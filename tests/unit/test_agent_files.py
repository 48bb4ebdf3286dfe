"""Files of an instance that cannot get their owner."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

from agent.instance_files import InstanceFiles
from lattice.contracts.messages import FileMount
from lattice.errors import Forbidden
from lattice.sealing import new_sealing_key
from tests.fixtures.agent import instance_of, key_of

MOUNT = FileMount(path="/run/lattice/password", content="s3cret", uid=4711, gid=4711, mode=0o400)


def test_without_root_it_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was written and not given away was taken for right the next time, and its container could not read it."""

    def refuse(*_: object) -> NoReturn:
        raise PermissionError(1, "Operation not permitted")

    files = InstanceFiles(tmp_path, new_sealing_key())
    monkeypatch.setattr(os, "fchown", refuse)
    for _ in range(2):
        with pytest.raises(Forbidden, match="run the agent as root"):
            files.make(instance_of(key_of(), files=(MOUNT,)), {})
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
