"""Logs on the running product: each numbered line once, whatever is killed, restarted or away meanwhile."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import psutil
import pytest

from tests.fixtures.engine import Engine, running_engine
from tests.fixtures.platform import Json, Platform, platforms, until
from tests.fixtures.reliability import Record

MIB = 2**20
SMALL = ("--cpu", "0.1", "--memory", "32Mi")
# A line about every hundredth of a second, and how far it is where a later run goes on counting.
COUNT = "i=0; [ -f /tmp/i ] && i=$(cat /tmp/i); while :; do echo line $i; i=$((i+1)); echo $i > /tmp/next; mv /tmp/next /tmp/i; sleep 0.01; done"
LINE = re.compile(rb'"message":"line (\d+)')
# As fast as it can: about 120 bytes a line, so many lines that its Engine's files are rotated many times.
FLOOD = "i=0; while [ $i -lt {lines} ]; do echo line $i {filler}; i=$((i+1)); done; echo all; sleep 86400"


@pytest.fixture(scope="module")
def engine(docker_engine: str, image_test: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One that may be restarted."""
    with running_engine(tmp_path_factory.mktemp("engine"), image_test) as engine:
        yield engine


@pytest.fixture(scope="module")
def platform(engine: Engine) -> Iterator[Platform]:
    with platforms() as make:
        platform = make(LATTICE_DOCKER_URL=engine.url)
        platform.up()
        yield platform


def lines_of(platform: Platform, workload: str, *options: str) -> list[Json]:
    """Everything of a workload's log."""
    ran = platform.ok("logs", workload, "-n", "all", "-o", "json", *options)
    return [json.loads(text) for text in ran.splitlines()]


def numbers(lines: list[Json]) -> list[int]:
    assert not [line for line in lines if line["gap"]], "nothing is missing"
    return [int(line["message"].split()[1]) for line in lines]


def until_line(platform: Platform, workload: str, number: int) -> None:
    """Until a line is found by searching for it."""
    look = ("logs", workload, "-w", f"line {number}", "-n", "1", "-o", "json")
    until(lambda: platform.run(*look).out.strip(), what=f"line {number} of {workload}")


def newest(platform: Platform, workload: str) -> int:
    """The number of the newest line that is stored."""
    ran = platform.run("logs", workload, "-n", "1", "-o", "json")
    return int(json.loads(ran.out)["message"].split()[1]) if ran.out.strip() else -1


def kill(part: str) -> Callable[[Platform, Engine], None]:
    def killed(platform: Platform, _engine: Engine) -> None:
        pid = platform.kill(part)
        platform.until_replaced(part, pid)

    return killed


def hold(part: str) -> Callable[[Platform, Engine], None]:
    """Stop a part for some seconds and let it go on: for the others it is away."""

    def held(platform: Platform, _engine: Engine) -> None:
        platform.kill(part, signal.SIGSTOP)
        time.sleep(6)
        platform.kill(part, signal.SIGCONT)

    return held


def kill_container(platform: Platform, engine: Engine) -> None:
    engine.docker("kill", platform.container("counter")["Name"].lstrip("/"))


def restart_docker(_platform: Platform, engine: Engine) -> None:
    engine.end(signal.SIGTERM)
    engine.start()


FAULTS = {
    "agent-killed": kill("agent"),
    "log-store-killed": kill("logs"),
    "nats-killed": kill("nats"),
    "nats-away": hold("nats"),
    "log-store-away": hold("logs"),
    "container-killed": kill_container,
    "docker-restarted": restart_docker,
}


@pytest.fixture(scope="module")
def counter(platform: Platform, image_test: str) -> str:
    """A workload that counts, and goes on where it was when its container is restarted."""
    platform.ok("run", image_test, "--name", "counter", *SMALL, "--", "sh", "-c", COUNT)
    until_line(platform, "counter", 10)
    return "counter"


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_each_line_once_through_every_fault(
    platform: Platform, engine: Engine, counter: str, full_size: bool, record: Record
) -> None:
    rounds = 5 if full_size else 1
    for _ in range(rounds):
        for fault in FAULTS.values():
            before = newest(platform, counter)
            fault(platform, engine)
            until(lambda before=before: newest(platform, counter) > before + 50, what="new lines")  # type: ignore[misc]
    last = newest(platform, counter)
    found = [number for number in numbers(lines_of(platform, counter)) if number <= last]
    # The counter keeps how far it is after it has said a line: where it was killed in between, it says that line again.
    assert sorted(set(found)) == list(range(last + 1))
    again = len(found) - (last + 1)
    assert again <= 2 * rounds, f"{again} lines twice, though only a restart makes the counter say one again"
    record(
        "numbered lines through faults",
        f"{rounds} times each of {', '.join(FAULTS)}: all of {last + 1} lines found, none missing; {again} said twice by the container itself",
    )


def test_lines_of_a_removed_workload_are_all_there(platform: Platform, image_test: str) -> None:
    """Its last words too: the container is removed only when its log was read."""
    say = "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; sleep 86400"
    platform.ok("run", image_test, "--name", "brief", *SMALL, "--", "sh", "-c", say)
    platform.ok("rm", "brief", "--yes")
    until(lambda: len(lines_of(platform, "brief")) == 2000, what="all lines")
    assert numbers(lines_of(platform, "brief")) == list(range(2000))


def test_what_the_platform_says_is_found_by_operation(platform: Platform, image_test: str) -> None:
    platform.ok("run", image_test, "--name", "said", *SMALL, "--", "sleep", "86400")
    (operation,) = [each for each in platform.json("op", "ls")["items"] if each["subject_name"] == "said"]
    look = ("logs", "--platform", "--grep", operation["id"], "-o", "json")
    until(lambda: platform.run(*look).out.strip(), what="lines about the operation")
    shown = platform.json("op", "show", operation["id"])
    assert shown["log"][-1]["text"] == "succeeded" and len(shown["log"]) > 1
    assert {json.loads(each)["workload"] for each in platform.ok("logs", "--platform", "-o", "json", "-n", "1000").splitlines()} >= {
        "registry", "gateway", "agent", "logs", "scheduler",
    }  # fmt: skip


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_a_flood_loses_nothing_and_holds_nothing_up(
    platform: Platform, image_test: str, full_size: bool, record: Record
) -> None:
    """Three containers at full speed, each until its share of the flood is said; deploys and heartbeats go on."""
    total_bytes = (1024 if full_size else 24) * MIB
    filler = "x" * 100
    lines = total_bytes // 3 // (len(filler) + 13)
    names = ("flood-a", "flood-b", "flood-c")
    before_mib, quiet_s = memory_mib(platform), deploy_s(platform, image_test, "quiet")
    began_s, most_mib, told_gaps = time.monotonic(), 0.0, 0
    slow_s, ages = list[float](), list[float]()
    for name in names:
        say = FLOOD.format(lines=lines, filler=filler)
        platform.ok(
            "run", image_test, "--name", name, "--cpu", "0.4", "--memory", "32Mi", "--", "sh", "-c", say
        )
    with ThreadPoolExecutor(1) as asking:
        done = asking.submit(until_all_is_said, platform, names)
        while not done.done():
            most_mib = max(most_mib, memory_mib(platform))
            ages.append(heartbeat_age_s(platform))
            if len(slow_s) < 5:
                slow_s.append(deploy_s(platform, image_test, f"beside-{len(slow_s)}"))
            time.sleep(0.5)
        done.result()
    took_s = time.monotonic() - began_s
    for name in names:
        said, gaps = everything(platform, name)
        assert len(said) == len(set(said)) and said == sorted(said)
        unknown = any(gap["lines"] is None for gap in gaps)
        assert unknown or len(said) + sum(gap["lines"] for gap in gaps) == lines, (
            "what is missing is told with its number"
        )
        told_gaps += len(gaps)
        platform.ok("rm", name, "--yes")
    grown_mib = most_mib - before_mib
    assert grown_mib < 128, "the agent and the log store may take 64 MiB more each"
    assert max(ages) < 15 and max(slow_s) < max(2 * quiet_s, 5)
    record(
        f"a flood of {total_bytes // MIB} MiB from three containers",
        f"{3 * lines} lines in {took_s:.0f} s, {told_gaps} gaps; agent and log store together {grown_mib:+.0f} MiB at most; deploys "
        f"beside it {max(slow_s):.1f} s at most ({quiet_s:.1f} s before); heartbeats at most {max(ages):.0f} s old",
    )


def everything(platform: Platform, workload: str) -> tuple[list[int], list[Json]]:
    """The numbers of all lines, oldest first, and the gaps; page by page, since there may be millions."""
    pages: list[list[int]] = []
    gaps: list[Json] = []
    path, token = f"/v1/workloads/{workload}/logs?grep=line&limit=10000", ""
    while True:
        answer = platform.answer(path + (f"&page_token={token}" if token else ""))
        pages.append([int(number) for number in LINE.findall(answer.content)])
        gaps += [json.loads(text)["gap"] for text in answer.content.splitlines() if b'"stream":"gap"' in text]
        token = answer.headers.get("Next-Page-Token", "")
        if not token:
            return [number for page in reversed(pages) for number in page], gaps


def until_all_is_said(platform: Platform, names: Sequence[str]) -> None:
    for name in names:
        _until_end(platform, name)


def _until_end(platform: Platform, name: str) -> None:
    look = ("logs", name, "-n", "1", "-o", "json")
    until(
        lambda: '"message":"all"' in platform.run(*look).out.replace('": "', '":"'),
        timeout_s=1200,
        what=f"the end of {name}",
    )


def memory_mib(platform: Platform) -> float:
    """What agent and log store hold together."""
    pids = [platform.pid(part) for part in ("agent", "logs")]
    return sum(psutil.Process(pid).memory_info().rss for pid in pids if pid is not None) / MIB


def deploy_s(platform: Platform, image: str, name: str) -> float:
    began_s = time.monotonic()
    platform.ok("run", image, "--name", name, *SMALL, "--", "sleep", "86400")
    took_s = time.monotonic() - began_s
    platform.ok("rm", name, "--yes")
    return took_s


def heartbeat_age_s(platform: Platform) -> float:
    """How long ago the platform heard of the node."""
    (node,) = (platform.get("/v1/nodes") or {"items": [{}]})["items"]
    seen = node.get("last_seen")
    return (datetime.now(UTC) - datetime.fromisoformat(seen)).total_seconds() if seen else 0.0
