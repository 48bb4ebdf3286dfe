"""Updates on the running product: while one is under way, and while it goes back, what is there goes on serving."""

from __future__ import annotations

import json
import time

import httpx
import pytest

from tests.fixtures.databases import on_database
from tests.fixtures.load import under_load
from tests.fixtures.platform import Json, NewName, Platform, until

SERVE = ("sh", "-c", "echo $V > /tmp/index.html; exec httpd -f -p 8080 -h /tmp")
BREAKS = "[sh, -c, 'echo this cannot work; exit 3']"


def serve(platform: Platform, image: str, name: str, *options: str) -> Json:
    """A web server that answers with its version."""
    health = ("--health-http", "8080/index.html")
    platform.ok("run", image, "--name", name, "-p", "8080", "-e", "V=1", *health, *options, "--", *SERVE)
    return shown(platform, name)


def shown(platform: Platform, name: str) -> Json:
    return dict(platform.json("show", name))


def versions(platform: Platform, name: str) -> set[str]:
    """What the addresses that are shown now answer."""
    return {httpx.get(route["url"], timeout=5).text.strip() for route in shown(platform, name)["routes"]}


def test_an_update_replaces_without_a_gap_and_can_be_taken_back(
    platform: Platform, new_name: NewName, image_test: str
) -> None:
    name = new_name("web")
    before = serve(platform, image_test, name)
    platform.ok("update", name, "--set", "env.V=2")
    assert versions(platform, name) == {"2"}
    after = shown(platform, name)
    assert after["revision"] == 2 and after["rollout"]["state"] == "succeeded"
    assert [i["id"] for i in after["instances"]] != [i["id"] for i in before["instances"]]
    until(lambda: len(platform.containers(name)) == 1, what="the old container being gone")
    assert "+  V: '2'" in platform.ok("diff", name, "1", "2")
    platform.ok("rollback", name)
    assert versions(platform, name) == {"1"}
    numbers = [revision["number"] for revision in platform.json("history", name)["items"]]
    assert numbers == [3, 2, 1]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (f"command={BREAKS}", "exited with 3"),
        ("health.http.path=/nowhere", "not healthy within 5 s"),
        ("resources.cpu={all}", "not healthy within 5 s"),
    ],
    ids=["crashes", "unhealthy", "no-room"],
)
def test_a_failed_update_goes_back_while_the_old_instance_serves(
    platform: Platform, new_name: NewName, image_test: str, change: str, why: str
) -> None:
    name = new_name("web")
    before = serve(platform, image_test, name, "--set", "update.healthy_deadline=5s")
    mine = platform.container(name)
    change = change.replace("{all}", _all_cores(platform))
    with under_load(before["routes"][0]["url"]) as load:
        said = platform.refused("update", name, "--set", change)
        time.sleep(0.5)
    assert load.failures == [] and len(load.answers) > 20 and set(load.answers) == {"1"}
    assert why in said and "the earlier revision serves" in said
    until(lambda: len(platform.containers(name)) == 1, what="the new container being gone")
    assert platform.container(name)["State"]["StartedAt"] == mine["State"]["StartedAt"]
    after = shown(platform, name)
    assert (after["revision"], after["rollout"]["state"]) == (1, "rolled_back")
    outcome = platform.json("history", name)["items"][0]["rollout"]
    assert why in outcome["reason"]


def _all_cores(platform: Platform) -> str:
    """As many as the node has: too many beside the one that runs."""
    (node,) = platform.json("node", "ls")["items"]
    return f"{node['capacity']['cpu_millis'] / 1000:g}"


def test_an_image_that_is_not_there_is_refused_before_anything_happens(
    platform: Platform, new_name: NewName, image_test: str
) -> None:
    name = new_name("web")
    before = serve(platform, image_test, name)
    said = platform.refused("update", name, "--set", "image=127.0.0.1:1/nothing:1")
    assert "127.0.0.1:1/nothing" in said
    after = shown(platform, name)
    assert (after["revision"], after["instances"]) == (1, before["instances"])


async def test_a_database_is_updated_stop_first_and_keeps_its_data(
    platform: Platform, new_name: NewName
) -> None:
    name = new_name("db")
    platform.ok("deploy", "postgres", "--name", name)
    first = platform.json("credentials", name)
    write = "create table kept (text text); insert into kept values ('here')"
    await on_database(first, lambda db: db.execute(write))
    ran = platform.run("update", name, "--set", "resources.memory=600Mi")
    assert ran.code == 0 and "stop-first, because no two instances may use its volume" in ran.err, ran.err
    again = platform.json("credentials", name)
    assert again["password"] == first["password"]
    assert await on_database(again, lambda db: db.fetchval("select text from kept")) == "here"
    assert platform.container(name)["HostConfig"]["Memory"] == 600 * 2**20


def test_scaling_touches_nothing_that_stays(platform: Platform, new_name: NewName, image_test: str) -> None:
    name = new_name("web")
    serve(platform, image_test, name, "--cpu", "0.05", "--memory", "16Mi")
    mine = platform.container(name)
    platform.ok("scale", name, "3")
    found = platform.containers(name)
    assert len(found) == 3 and mine["Id"] in {each["Id"] for each in found}
    assert len(shown(platform, name)["routes"]) == 3
    platform.ok("scale", name, "1")
    assert platform.container(name)["State"] == mine["State"]


def test_a_plan_says_what_apply_then_does_and_a_stale_one_is_refused(
    platform: Platform, new_name: NewName, image_test: str
) -> None:
    name = new_name("planned")
    spec = {
        "name": name,
        "image": image_test,
        "command": ["sleep", "86400"],
        "update": {"healthy_for": "0.1s"},
    }
    text = json.dumps(spec)
    said = platform.ok("plan", "-f", "-", stdin=text)
    assert f"{name} is new." in said and "1 instance is added." in said and "the only node that fits" in said
    assert all(each["name"] != name for each in platform.json("ps")["items"])
    platform.ok("apply", "-f", "-", "--if-match", "0", stdin=text)
    text = json.dumps({**spec, "env": {"V": "2"}})
    plan = platform.json("plan", "-f", "-", stdin=text)
    assert [(each["path"], each["after"]) for each in plan["changes"]] == [("env.V", "2")]
    assert (plan["action"], plan["order"], plan["replaced"]) == ("update", "start-first", 1)
    (place,) = plan["placements"]
    assert place["node"] == shown(platform, name)["instances"][0]["node"]
    assert shown(platform, name)["version"] == plan["version"]
    version = str(plan["version"])
    platform.ok("apply", "-f", "-", "--if-match", version, stdin=text)
    assert "changed meanwhile" in platform.refused("apply", "-f", "-", "--if-match", version, stdin=text)
    assert "would not change" in platform.ok("plan", "-f", "-", stdin=text)
    huge = json.dumps({**spec, "resources": {"memory": "900Ti"}})
    refused = platform.refused("plan", "-f", "-", stdin=huge)
    assert "no node is large enough" in refused
