"""The data directory: private, recognised, held by one process, with ports that stay."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lattice.errors import Conflict, Invalid
from standalone import data_dir as dirs


def test_a_new_directory_is_private_and_complete(tmp_path: Path) -> None:
    made = dirs.open_data_dir(tmp_path / "a" / "data")
    folders = [made.keys, made.pki, made.nats, made.postgres, made.logs, made.run, made.agent]
    assert {stat.S_IMODE(path.stat().st_mode) for path in [made.root, *folders]} == {0o700}
    assert re.fullmatch("[a-z0-9]{8}", made.cluster_id)


def test_it_is_the_same_when_opened_again(tmp_path: Path) -> None:
    made = dirs.open_data_dir(tmp_path / "data")
    (tmp_path / "data").chmod(0o755)
    assert dirs.open_data_dir(tmp_path / "data") == made == dirs.find_data_dir(tmp_path / "data")
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert dirs.find_data_dir(tmp_path / "other") is None and not (tmp_path / "other").exists()


def test_a_folder_with_other_content_is_refused_and_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "thesis.txt").write_text("do not lose me")
    with pytest.raises(Invalid, match="not empty"):
        dirs.open_data_dir(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_first_start_that_was_cut_off_is_continued(tmp_path: Path) -> None:
    (tmp_path / ".cluster-id.1234").touch()
    assert dirs.open_data_dir(tmp_path, choose_id=lambda: "abcd1234").cluster_id == "abcd1234"


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(Invalid, match="not a folder"):
            dirs.open_data_dir(path)


def test_a_folder_that_the_kernel_refuses_is_explained(tmp_path: Path) -> None:
    for path in (Path("/proc/lattice"), tmp_path / ("long" * 100)):
        with pytest.raises(Invalid, match=r"cannot be made: .*Choose a data directory of your own"):
            dirs.open_data_dir(path)


@pytest.mark.parametrize("content", ["", "UPPER123", "../../..", "abcd12345"])
def test_a_damaged_cluster_id_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "cluster-id").write_text(content)
    with pytest.raises(Invalid, match="damaged"):
        dirs.open_data_dir(tmp_path)


# --- one at a time -----------------------------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from standalone import data_dir as dirs
with dirs.exclusive(dirs.open_data_dir(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_platform_on_the_same_directory_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    made = dirs.open_data_dir(tmp_path / "data")
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(made.root)], stdout=subprocess.PIPE)
    try:
        assert first.stdout is not None and first.stdout.readline() == b"held\n"
        with pytest.raises(Conflict, match=rf"process {first.pid}.*lattice down"), dirs.exclusive(made):
            pytest.fail("both hold it")
    finally:
        first.kill()
        first.wait()
    with dirs.exclusive(made):
        assert (made.run / "lock").read_text() == str(os.getpid())


def test_two_directories_are_held_side_by_side(tmp_path: Path) -> None:
    one, two = dirs.open_data_dir(tmp_path / "1"), dirs.open_data_dir(tmp_path / "2")
    with dirs.exclusive(one), dirs.exclusive(two):
        assert one.cluster_id != two.cluster_id


def test_children_do_not_inherit_the_lock(tmp_path: Path) -> None:
    made = dirs.open_data_dir(tmp_path / "data")
    with dirs.exclusive(made):
        child = subprocess.Popen(["sleep", "600"])
    try:
        with dirs.exclusive(made):
            assert child.poll() is None
    finally:
        child.kill()
        child.wait()
