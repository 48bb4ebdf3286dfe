"""What a left-over pid file means, case by case."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from standalone import postgres_orphan as orphan
from standalone.processes import ProcessIdentity

WHO = ProcessIdentity(41, 7)


def found(
    *, zombie: bool = False, serves_this_data: bool | None = False, same_user: bool = True
) -> orphan.Leftover:
    return orphan.Leftover(WHO, zombie, serves_this_data, same_user)


@pytest.mark.parametrize(
    ("pid", "process", "kind"),
    [
        (None, None, orphan.Free),
        (41, None, orphan.Free),
        (41, found(zombie=True), orphan.Wait),
        (41, found(serves_this_data=True), orphan.Stop),
        (41, found(serves_this_data=True, same_user=False), orphan.Stop),
        (41, found(), orphan.RemoveFile),
        (41, found(same_user=False), orphan.Free),
        (41, found(serves_this_data=None), orphan.Wait),
        (41, found(serves_this_data=None, same_user=False), orphan.Free),
    ],
)
def test_each_left_over_has_its_answer_and_reason(
    pid: int | None, process: orphan.Leftover | None, kind: type[orphan.Judgement]
) -> None:
    judgement = orphan.judge(pid, process)
    assert isinstance(judgement, kind)
    assert judgement.reason


def test_a_clean_shutdown_is_tried_before_a_hard_one() -> None:
    assert orphan.stop_signal(0) == signal.SIGINT
    assert orphan.stop_signal(orphan.FAST_STOP_S) == signal.SIGQUIT


def test_ready_needs_the_word_and_a_living_process(tmp_path: Path) -> None:
    lines = ["1", "/data", "0", "5432", "", "127.0.0.1", "0", "ready   "]
    assert not orphan.is_ready(tmp_path)
    (tmp_path / orphan.PID_FILE).write_text("\n".join(lines))
    assert orphan.is_ready(tmp_path)
    (tmp_path / orphan.PID_FILE).write_text("\n".join([*lines[:-1], "starting"]))
    assert not orphan.is_ready(tmp_path)
    (tmp_path / orphan.PID_FILE).write_text("\n".join(["4194304", *lines[1:]]))
    assert not orphan.is_ready(tmp_path)


@pytest.mark.parametrize("content", ["", "garbage", "\n\n", "41"])
def test_a_cut_pid_file_is_not_ready(tmp_path: Path, content: str) -> None:
    (tmp_path / orphan.PID_FILE).write_text(content)
    assert not orphan.is_ready(tmp_path)
