"""Public names on the running product: from a visitor through the ingress and the tunnel to a container, and back."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from tests.fixtures.load import under_load
from tests.fixtures.platform import Json, NewName, Platform, platforms, until

SERVE = ("sh", "-c", "echo $V > /tmp/index.html; exec httpd -f -p 8080 -h /tmp")
HEALTH = ("--health-http", "8080/index.html")


def serve(platform: Platform, image: str, name: str, *options: str) -> str:
    """The public URL of a web server that answers with its version."""
    platform.ok(
        "run", image, "--name", name, "-p", "8080", "--public", "-e", "V=1", *HEALTH, *options, "--", *SERVE
    )
    return public_url(platform.json("show", name))


def public_url(workload: Json) -> str:
    (url,) = [route["url"] for route in workload["routes"] if route["public"]]
    return str(url)


def by_address(url: str) -> tuple[str, str]:
    """The URL by address, and the name that is asked for: names below `localhost` are for browsers, the C library need not know them."""
    parts = urlsplit(url)
    return f"http://127.0.0.1:{parts.port}/", parts.netloc


def get(url: str) -> httpx.Response:
    address, host = by_address(url)
    return httpx.get(address, headers={"Host": host}, timeout=10)


def answers(url: str, text: str) -> bool:
    answer = get(url)
    return answer.status_code == 200 and answer.text.strip() == text


def test_a_workload_gets_a_public_name_that_follows_its_life(
    platform: Platform, new_name: NewName, image_test: str
) -> None:
    name = new_name("web")
    url = serve(platform, image_test, name)
    assert urlsplit(url).hostname == f"{name}--default.apps.localhost"
    until(lambda: answers(url, "1"), what="the answer")
    assert f"Public URL: {url}" in " ".join(platform.ok("show", name).split())
    assert url in platform.ok("routes", "ls")
    platform.ok("stop", name)
    until(lambda: get(url).status_code == 503, what="the page about a stopped workload")
    assert f"{name} is not ready" in get(url).text and "It is stopped." in get(url).text
    platform.ok("start", name)
    until(lambda: answers(url, "1"), what="the answer after the start")
    platform.ok("rm", name, "--yes")
    until(lambda: get(url).status_code == 404, what="the name being gone")


def test_what_is_private_has_no_public_name(platform: Platform, new_name: NewName, image_test: str) -> None:
    name = new_name("web")
    url = serve(platform, image_test, new_name("other"))
    platform.ok("run", image_test, "--name", name, "-p", "8080", "-e", "V=1", *HEALTH, "--", *SERVE)
    routes = platform.json("show", name)["routes"]
    assert routes and not any(route["public"] for route in routes)
    assert (
        get(url.replace(urlsplit(url).hostname or "", f"{name}--default.apps.localhost")).status_code == 404
    )


def test_an_update_under_load_costs_no_request(
    platform: Platform, new_name: NewName, image_test: str
) -> None:
    name = new_name("web")
    url = serve(platform, image_test, name, "--replicas", "2")
    until(lambda: answers(url, "1"), what="the answer")
    address, host = by_address(url)
    with under_load(address, host=host) as load:
        platform.ok("update", name, "--set", "env.V=2")
        until(lambda: answers(url, "2"), what="the new version")
    assert load.failures == [] and set(load.answers) == {"1", "2"}


@pytest.fixture(scope="module")
def own_platform(docker_engine: str, image_test: str) -> Iterator[Platform]:
    """One whose parts may be killed, with a public web server."""
    with platforms() as make:
        platform = make()
        platform.up()
        serve(platform, image_test, "web")
        yield platform


@pytest.mark.parametrize("part", ["ingress", "agent", "registry", "nats"])
def test_after_a_kill_the_name_answers_again(own_platform: Platform, image_test: str, part: str) -> None:
    """Where the control plane is killed it answers all the time."""
    url = public_url(own_platform.json("show", "web"))
    until(lambda: answers(url, "1"), what="the answer before")
    address, host = by_address(url)
    with under_load(address, host=host) as load:
        pid = own_platform.kill(part)
        own_platform.until_replaced(part, pid)
        until(lambda: answers(url, "1"), timeout_s=10, what="the answer after it")
    if part in ("registry", "nats"):
        assert load.failures == []
