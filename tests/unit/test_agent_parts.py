"""The small pure parts: pauses, ports, progress of a pull, health, inventory, names."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiodocker import DockerError
from hypothesis import given
from hypothesis import strategies as st

from agent.backoff import delay_s
from agent.docker_inspect import event_of, image_of, time_of
from agent.docker_runtime_errors import QuotasUnsupported, pull_error, translated
from agent.enrolment import plain_name
from agent.health import SETTLES_S, Check, CheckState, after_check, together, unasked, unsettled_s
from agent.inventory import MOST_IMAGES, bounded_images
from agent.ports import FIRST, LAST, NoPortLeft, choose
from agent.pull_progress import PullProgress
from lattice.contracts.nouns import NAME_PATTERN, Health, LocalImage
from lattice.contracts.spec import BackoffSpec, HealthSpec, RestartMode, TcpCheck
from lattice.errors import Conflict, Invalid, LatticeError, NotFound, Temporary
from lattice.runtime import (
    EarlierRunLeft,
    EngineAway,
    EngineHangs,
    ImageDenied,
    ImageNotFound,
    NoSpace,
    PortTaken,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@given(st.integers(1, 10_000), st.floats(0, 0.999))
def test_a_pause_grows_to_its_maximum_with_a_little_chance(failures: int, chance: float) -> None:
    backoff = BackoffSpec(initial=1, max=300)
    pause = delay_s(failures, backoff, chance)
    assert 1 <= pause <= 330
    assert delay_s(failures + 1, backoff, chance) >= pause


def test_ports_are_kept_while_free_and_never_shared() -> None:
    chance = random.Random(1)
    kept = choose([80, 443], {"80": 20_500}, [], chance=chance, free=lambda _: True)
    assert kept["80"] == 20_500 and FIRST <= kept["443"] <= LAST and kept["443"] != 20_500
    taken = choose([80], {"80": 20_500}, [20_500], chance=chance, free=lambda _: True)
    assert taken["80"] != 20_500
    busy = choose([80], {"80": 20_500}, [], chance=chance, free=lambda port: port != 20_500)
    assert busy["80"] != 20_500
    with pytest.raises(NoPortLeft):
        choose([80], {}, [], chance=chance, free=lambda _: False)


def test_the_progress_of_a_pull_only_rises_and_ends_at_100() -> None:
    progress = PullProgress()
    messages: list[dict[str, Any]] = [
        {"status": "Pulling from acme/api", "id": "1"},
        {"status": "Downloading", "id": "a", "progressDetail": {"current": 50, "total": 100}},
        {"status": "Downloading", "id": "b", "progressDetail": {"current": 0, "total": 100}},
        {"status": "Downloading", "id": "a", "progressDetail": {"current": 100, "total": 100}},
        {"status": "Downloading", "id": "b", "progressDetail": {"current": 100, "total": 100}},
        {"status": "Extracting", "id": "a", "progressDetail": {"current": 100, "total": 100}},
        {"status": "Pull complete", "id": "a"},
        {"status": "Pull complete", "id": "b"},
    ]
    said = [text for message in messages if (text := progress.feed(message))]
    percents = [int(text.removesuffix(" %")) for text in said]
    assert percents == sorted(set(percents)) and percents[-1] == 100


def test_health_counts_failures_only_after_the_start() -> None:
    spec = HealthSpec(tcp=TcpCheck(port="http"), interval=5, start_period=30, retries=2)
    state, pauses = CheckState(), []
    for _ in range(12):
        state = after_check(state, "refused", spec, NOW, NOW + timedelta(seconds=10))
        pauses.append(state.pause_s)
    assert state.health is Health.UNKNOWN and state.failures == 0 and "starting" in state.reason
    assert pauses[0] < 0.2 and pauses[-1] == 5
    good = after_check(state, "", spec, NOW, NOW + timedelta(seconds=11))
    assert good.health is Health.HEALTHY and good.reason == ""
    once = after_check(good, "refused", spec, NOW, NOW + timedelta(seconds=12))
    assert once.health is Health.HEALTHY, "the start is over, but one failure is not two"
    twice = after_check(once, "refused", spec, NOW, NOW + timedelta(seconds=17))
    assert twice.health is Health.UNHEALTHY and "refused" in twice.reason
    assert after_check(twice, "", spec, NOW, NOW).health is Health.HEALTHY
    late = after_check(CheckState(failures=1), "x", spec, NOW, NOW + timedelta(seconds=31))
    assert late.health is Health.UNHEALTHY


def test_which_check_said_it_and_what_could_not_be_asked_says_nothing() -> None:
    spec = HealthSpec(tcp=TcpCheck(port="http"), interval=5, start_period=0, retries=2)
    ready, live = after_check(CheckState(), "", spec, NOW, NOW), CheckState()
    for second in (1, 6):
        assert together(ready, live) == (Health.HEALTHY, "")
        live = after_check(live, "refused", spec, NOW, NOW + timedelta(seconds=second), check=Check.LIVENESS)
    assert together(ready, live) == (Health.UNHEALTHY, "liveness check failed: refused")
    assert together(after_check(ready, "slow", spec, NOW, NOW), None) == (Health.HEALTHY, "")
    once = after_check(CheckState(), "refused", spec, NOW, NOW, check=Check.LIVENESS)
    assert unasked(once, spec).failures == 0, "only failures in a row count"


def test_what_may_end_by_itself_first_stays_up() -> None:
    """A command that failed after a second had been a successful deploy when a report came in between."""
    assert unsettled_s(RestartMode.ALWAYS, NOW, NOW) == 0
    assert unsettled_s(RestartMode.NEVER, NOW, NOW + timedelta(seconds=2)) == SETTLES_S - 2
    assert unsettled_s(RestartMode.ON_FAILURE, NOW, NOW + timedelta(minutes=1)) == 0


def test_only_named_images_are_reported_and_not_too_many() -> None:
    images = [LocalImage(id=f"sha256:{n}", references=(f"a:{n}",) * 20) for n in range(MOST_IMAGES + 5)]
    bounded = bounded_images([LocalImage(id="sha256:x"), *images])
    assert len(bounded) == MOST_IMAGES and len(bounded[0].references) == 8 and bounded[0].id == "sha256:0"


@given(st.text(max_size=80))
def test_any_host_name_becomes_a_name(text: str) -> None:
    import re

    assert re.fullmatch(NAME_PATTERN, plain_name(text)), plain_name(text)


def test_host_names_stay_readable() -> None:
    assert plain_name("Web-01.example.org") == "web-01"
    assert plain_name("10-0-0-7") == "node-10-0-0-7"


@pytest.mark.parametrize(
    ("message", "status", "kind"),
    [
        ("manifest for acme/api:9 not found: manifest unknown", 404, ImageNotFound),
        ("pull access denied for acme/api, repository does not exist", 404, ImageDenied),
        ("unauthorized: authentication required", 500, ImageDenied),
        ("no basic auth credentials", 500, ImageDenied),
        ("write /var/lib/docker/tmp/x: no space left on device", 500, NoSpace),
        ("no matching manifest for linux/amd64 in the manifest list entries", 404, ImageNotFound),
        ("no match for platform in manifest sha256:1: not found", 404, ImageNotFound),
        ("dial tcp: lookup registry-1: no such host", 500, Temporary),
        ("invalid reference format", 400, Invalid),
    ],
)
def test_why_a_pull_failed(message: str, status: int, kind: type[LatticeError]) -> None:
    error = pull_error(DockerError(status, message), "acme/api:9")
    assert type(error) is kind and "acme/api:9" in error.detail


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), EngineHangs),
        (ConnectionResetError(), EngineAway),
        (DockerError(900, "Cannot connect"), EngineAway),
        (DockerError(500, "Bind for 127.0.0.1:80 failed: port is already allocated"), PortTaken),
        (DockerError(500, f"task {'0a' * 32}: already exists: unknown"), EarlierRunLeft),
        (
            DockerError(
                500,
                f"failed to start shim: mkdir /run/runtime.v2.task/moby/{'0a' * 32}: file exists: unknown",
            ),
            EarlierRunLeft,
        ),
        (DockerError(404, "No such image: a:1"), ImageNotFound),
        (DockerError(404, "No such container: x"), NotFound),
        (DockerError(409, "Conflict"), Conflict),
        (DockerError(400, "bad parameter"), Invalid),
        (DockerError(500, "create x: quota size requested but no quota support"), QuotasUnsupported),
        (DockerError(500, "anything"), Temporary),
    ],
)
def test_what_the_engine_says_in_our_words(error: Exception, kind: type[LatticeError]) -> None:
    assert type(translated(error, "starting x")) is kind


def test_the_engines_values_are_read() -> None:
    assert time_of("2030-01-02T03:04:05.123456789Z") == datetime(2030, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)
    image = image_of({"Id": "sha256:1", "RepoTags": ["<none>:<none>", "a:1"], "RepoDigests": None})
    assert image == LocalImage(id="sha256:1", references=("a:1",))
    actor = {"ID": "abc", "Attributes": {"name": "x", "exitCode": "137", "lattice.slot": "0"}}
    event = event_of({"Action": "health_status: healthy", "Actor": actor, "timeNano": 5})
    assert (event.action, event.exit_code, event.at_ns, event.labels["lattice.slot"]) == (
        "health_status", 137, 5, "0",
    )  # fmt: skip
