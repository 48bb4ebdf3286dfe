"""Two agents on one data directory would speak as one node: the second is refused, and told what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.data_lock import held
from lattice.errors import Conflict


def test_a_second_agent_on_the_same_folder_is_refused_with_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "agent"
    with held(folder):
        with (
            pytest.raises(Conflict, match=rf"process {os.getpid()} runs on {folder}.*another --data-dir"),
            held(folder),
        ):
            pytest.fail("two agents at once")
        assert folder.stat().st_mode & 0o777 == 0o700


def test_the_folder_is_free_again_once_the_agent_ended(tmp_path: Path) -> None:
    with held(tmp_path):
        pass
    with held(tmp_path):
        pass


def test_agents_of_other_folders_do_not_meet(tmp_path: Path) -> None:
    with held(tmp_path / "one"), held(tmp_path / "two"):
        pass
