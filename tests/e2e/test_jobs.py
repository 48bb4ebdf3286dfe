"""Jobs on the running product: once, as a schedule says, and now."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from tests.fixtures.platform import Json, NewName, Platform, until


def written(folder: Path, name: str, image: str, script: str, **more: Any) -> str:
    """A file that describes a job."""
    spec = {"name": name, "kind": "job", "image": image, "command": ["sh", "-c", script], **more}
    file = folder / f"{name}.yaml"
    file.write_text(json.dumps(spec))  # JSON is YAML
    return str(file)


def runs(platform: Platform, name: str) -> list[Json]:
    return list(platform.json("job", "runs", name)["items"])


def test_a_job_runs_once_when_accepted_and_again_when_asked(
    platform: Platform, new_name: NewName, image_test: str, tmp_path: Path
) -> None:
    name = new_name("once")
    script = "echo from $HOSTNAME; sleep 0.2"
    platform.ok("apply", "-f", written(tmp_path, name, image_test, script))
    (first,) = until(
        lambda: [r for r in runs(platform, name) if r["state"] == "succeeded"], what="its first run"
    )
    assert (first["trigger"], first["exit_code"], first["attempts"]) == ("deploy", 0, 1)
    assert platform.until_state(name, "stopped")["last_run"]["id"] == first["id"]
    platform.ok("job", "run", name)
    second = runs(platform, name)[0]
    assert (second["trigger"], second["state"]) == ("manual", "succeeded")
    assert second["container_id"] != first["container_id"] and second["started_at"] > first["finished_at"]
    for run in (first, second):
        line = until(partial(platform.ok, "job", "logs", name, run["id"]), what="its log")
        assert run["container_id"][:12] in line and len(line.splitlines()) == 1
    assert len(platform.containers(name)) == 1  # the newest, to be looked at


def test_a_schedule_is_accepted_and_its_runs_may_fail(
    platform: Platform, new_name: NewName, image_test: str, tmp_path: Path
) -> None:
    name = new_name("nightly")
    schedule = {"cron": "0 3 29 2 *", "timezone": "Europe/Berlin"}
    platform.ok("apply", "-f", written(tmp_path, name, image_test, "echo no; exit 7", schedule=schedule))
    shown = platform.json("show", name)
    assert shown["state"] == "stopped" and shown["next_run_at"].endswith("-02-29T02:00:00Z")
    assert runs(platform, name) == [] and platform.containers(name) == []
    ran = platform.run("job", "run", name)
    assert ran.code == 1 and "exited with 7" in ran.err
    (run,) = runs(platform, name)
    assert (run["state"], run["exit_code"], run["reason"]) == ("failed", 7, "exited with 7")
    retries = {"restart": {"policy": "on-failure", "backoff": {"initial": "0.1s"}}, "job": {"retries": 1}}
    file = written(tmp_path, name, image_test, "exit 3", schedule=schedule, **retries)
    platform.ok("apply", "-f", file)
    assert platform.run("job", "run", name).code == 1
    again = runs(platform, name)[0]
    assert (again["exit_code"], again["attempts"], again["revision"]) == (3, 2, 2)


def test_what_makes_no_sense_is_refused_before_anything_is_done(
    platform: Platform, new_name: NewName, image_test: str, tmp_path: Path
) -> None:
    name = new_name("wrong")
    for schedule, why in (
        ({"cron": "0 0 3 * * *"}, "five fields"),
        ({"cron": "0 3 * * *", "timezone": "Europe/Atlantis"}, "no time zone"),
    ):
        ran = platform.run("apply", "-f", written(tmp_path, name, image_test, "true", schedule=schedule))
        assert ran.code == 1 and why in ran.err
    assert platform.run("show", name).code == 1
