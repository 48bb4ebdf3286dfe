"""Files of an instance: written once, and given to the container's user by whoever may do so."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

from agent.instance_files import InstanceFiles
from lattice.contracts.messages import FileMount
from lattice.errors import Temporary
from lattice.sealing import new_sealing_key
from lattice.testing import FakeRuntime
from tests.fixtures.agent import instance_of, key_of

MOUNT = FileMount(path="/run/lattice/password", content="s3cret", uid=4711, gid=4711, mode=0o400)
IMAGE = "test:1"


def refuse(*_: object) -> NoReturn:
    raise PermissionError(1, "Operation not permitted")


@pytest.fixture
def runtime() -> FakeRuntime:
    return FakeRuntime(images=(IMAGE,))


@pytest.fixture
def files(tmp_path: Path, runtime: FakeRuntime) -> InstanceFiles:
    return InstanceFiles(tmp_path, new_sealing_key(), runtime, "c1")


async def test_a_file_that_is_right_keeps_its_inode(files: InstanceFiles) -> None:
    mine = MOUNT.model_copy(update={"uid": os.geteuid(), "gid": os.getegid()})
    instance = instance_of(key_of(), files=(mine,), image=IMAGE)
    (bind,) = await files.make(instance, {})
    before = Path(bind.source).stat()
    await files.make(instance, {})
    assert Path(bind.source).stat().st_ino == before.st_ino and before.st_mode & 0o777 == 0o400


async def test_what_the_agent_may_not_give_away_the_engine_gives(
    files: InstanceFiles, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fchown", refuse)
    (bind,) = await files.make(instance_of(key_of(), files=(MOUNT,), image=IMAGE), {})
    given = runtime.given[bind.source]
    assert (given.content, given.uid, given.gid, given.mode) == (b"s3cret", 4711, 4711, 0o400)


async def test_what_was_not_given_away_is_not_left_behind(
    files: InstanceFiles, runtime: FakeRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was written and not given away was taken for right the next time, and its container could not read it."""
    monkeypatch.setattr(os, "fchown", refuse)
    runtime.away = True
    for _ in range(2):
        with pytest.raises(Temporary):
            await files.make(instance_of(key_of(), files=(MOUNT,), image=IMAGE), {})
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
