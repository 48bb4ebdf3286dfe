"""Compose files on the running product: services reach their own app's services by name, come in order, and go together."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from tests.fixtures.platform import Json, NewName, Platform, until

# The database's health needs a second, so that what waits for it is seen waiting.
COMPOSE = """
services:
  db:
    image: ${IMAGE:?the test image}
    command:
      - sh
      - -c
      - echo $$APP > /data/index.html; sleep 1; touch /tmp/ready; exec httpd -f -p 5432 -h /data
    environment: {APP: "${APP}"}
    healthcheck: {test: [CMD, test, -f, /tmp/ready], interval: 500ms}
    volumes: ["data:/data"]
    restart: always
    deploy: &small {resources: {limits: {cpus: "0.05", memory: 16M}}}
  migrate:
    image: ${IMAGE}
    entrypoint: [wget, -qO, /tmp/seen]
    command: ["http://db:5432/index.html"]
    depends_on: {db: {condition: service_healthy}}
    deploy: *small
  web:
    image: ${IMAGE}
    command: sh -c 'mkdir /tmp/www; wget -qO /tmp/www/index.html http://db:5432/index.html; exec httpd -f -p 8080 -h /tmp/www'
    depends_on:
      db: {condition: service_healthy}
      migrate: {condition: service_completed_successfully}
    ports: ["80:8080"]
    healthcheck: {test: [CMD, test, -f, /tmp/www/index.html], interval: 500ms}
    restart: unless-stopped
    deploy: *small
volumes: {data: {}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "compose.yaml"
    path.write_text(COMPOSE)
    return path


@pytest.fixture
def new_app(platform: Platform, new_name: NewName) -> Iterator[NewName]:
    """Gives names for apps; they are removed with their data when the test ends."""
    given: list[str] = []

    def name(stem: str) -> str:
        given.append(new_name(stem))
        return given[-1]

    yield name
    for app in given:
        platform.run("app", "rm", app, "--volumes", "--yes")


def services(app: Json) -> dict[str, Json]:
    return {each["service"]: each for each in app["services"]}


def page(app: Json) -> str:
    """What the app's web service says that it read from its database."""
    (route,) = services(app)["web"]["routes"]
    return httpx.get(route["url"], timeout=5).text.strip()


def started(platform: Platform, workload: str) -> datetime:
    return datetime.fromisoformat(platform.container(workload)["State"]["StartedAt"][:26] + "+00:00")


def test_two_apps_from_one_file_each_have_a_database_of_their_own(
    platform: Platform, new_app: NewName, file: Path, image_test: str
) -> None:
    one, two = new_app("one"), new_app("two")
    answers = {}
    for app in (one, two):
        ran = platform.run(
            "-o", "json", "apply", "-f", str(file), "--name", app, variables={"IMAGE": image_test, "APP": app}
        )
        assert ran.code == 0, ran.err
        assert "Filled from your environment or .env: APP, IMAGE." in ran.err
        assert "services.web.ports[0]: the port of the machine is chosen by Lattice" in ran.err
        answers[app] = ran.json
    for app in (one, two):
        seen = platform.json("app", "show", app)
        assert seen["state"] == "running" and page(seen) == app
        assert {name: each["state"] for name, each in services(seen).items()} == {
            "db": "running",
            "migrate": "stopped",
            "web": "running",
        }
        assert len({node for each in seen["services"] for node in each["nodes"]}) == 1
        assert started(platform, f"{app}-db") < started(platform, f"{app}-migrate")
        assert started(platform, f"{app}-migrate") < started(platform, f"{app}-web")
    assert [each["change"] for each in answers[one]["changes"]] == ["create"] * 3
    events = platform.json("events", f"{one}-web")["items"]
    assert [each["verb"] for each in events].count("ready") == 1

    _a_new_version_of_the_file_is_the_whole_app(platform, one, file, image_test)
    _an_app_goes_as_a_whole(platform, one, two)


def _a_new_version_of_the_file_is_the_whole_app(platform: Platform, app: str, file: Path, image: str) -> None:
    """Without `migrate` in the file it is removed; `db` is not touched."""
    before = platform.container(f"{app}-db")["State"]
    lines = COMPOSE.replace("      migrate: {condition: service_completed_successfully}\n", "")
    start, end = lines.index("  migrate:"), lines.index("  web:")
    changed = lines[:start] + lines[end:]
    file.write_text(changed.replace("restart: unless-stopped", "restart: always\n    environment: [V=2]"))
    variables = {"IMAGE": image, "APP": app}
    planned = platform.ok("app", "plan", "-f", str(file), "--name", app, **variables).splitlines()
    assert planned == [f"= db ({app}-db)", f"~ web ({app}-web): env, depends_on", f"- migrate ({app}-migrate): its volumes stay"]  # fmt: skip
    platform.ok("apply", "-f", str(file), "--name", app, **variables)
    seen = platform.json("app", "show", app)
    assert set(services(seen)) == {"db", "web"} and page(seen) == app
    assert platform.container(f"{app}-db")["State"] == before


def _an_app_goes_as_a_whole(platform: Platform, app: str, other: str) -> None:
    network = platform.container(f"{app}-db")["HostConfig"]["NetworkMode"]
    assert network != platform.container(f"{other}-db")["HostConfig"]["NetworkMode"]
    platform.ok("app", "rm", app, "--yes")
    names = [each["name"] for each in platform.json("app", "ls")["items"]]
    assert app not in names and other in names
    for service in ("db", "web"):
        assert platform.containers(f"{app}-{service}") == []
    until(lambda: network not in platform.docker("network", "ls"), what="the app's network being gone")
    kept = [each for each in platform.json("volume", "ls")["items"] if each["name"] == f"{app}-db-data"]
    assert [each["state"] for each in kept] == ["released"]
    platform.ok("volume", "rm", kept[0]["id"], "--yes")
    assert page(platform.json("app", "show", other)) == other


def test_what_is_not_supported_is_named_with_its_place_and_nothing_is_made(
    platform: Platform, new_app: NewName, tmp_path: Path, image_test: str
) -> None:
    app, path = new_app("bad"), tmp_path / "compose.yaml"
    path.write_text(
        f"services: {{web: {{image: '{image_test}', build: ., privileged: true, volumes: ['./src:/src']}}}}"
    )
    said = platform.refused("apply", "-f", str(path), "--name", app)
    for place in ("services.web.build", "services.web.privileged", "services.web.volumes.0"):
        assert place in said
    assert platform.run("app", "show", app).code == 1
    said = platform.refused("apply", "-f", str(path), "--name", app, "--ignore-unsupported")
    assert "services.web.volumes.0" in said and "services.web.build" not in said
    path.write_text(
        f"services: {{web: {{image: '{image_test}', command: sleep 1000, build: ., privileged: true}}}}"
    )
    ran = platform.run("-o", "json", "apply", "-f", str(path), "--name", app, "--ignore-unsupported")
    assert ran.code == 0, ran.err
    assert [each["path"] for each in ran.json["ignored"]] == ["services.web.build", "services.web.privileged"]
    assert platform.container(f"{app}-web")["HostConfig"]["Privileged"] is False


ASKS = """
services:
  ask:
    image: ${IMAGE}
    command: [sh, -c, 'exec psql "$$URL" -tAc "select count(*) from orders"']
    x-lattice: {env: {URL: {from: "${DATABASE}", key: uri}}}
    deploy: {resources: {limits: {cpus: "0.1", memory: 64M}}}
"""


def test_others_query_a_database_with_its_credentials(
    platform: Platform, new_app: NewName, new_name: NewName, tmp_path: Path
) -> None:
    """Nobody writes the password down: not a job of the project, and not a service of an app, whose network is another one."""
    database, job, app = new_name("orders"), new_name("make"), new_app("ask")
    platform.ok("deploy", "postgres", "--name", database, "--set", "resources.memory=128Mi")
    image = str(platform.json("show", database)["image"])
    table = 'exec psql "$URL" -c "create table orders as select generate_series(1, 3)"'
    url = ("--set", f"env.URL.from={database}", "--set", "env.URL.key=uri")
    platform.ok(
        "run", image, "--name", job, "--restart", "never", "--memory", "64Mi", *url, "--", "sh", "-c", table
    )
    (tmp_path / "compose.yaml").write_text(ASKS)
    file = str(tmp_path / "compose.yaml")
    platform.ok("apply", "-f", file, "--name", app, IMAGE=image, DATABASE=database)
    until(lambda: "3" in platform.ok("logs", f"{app}-ask").split(), what="the answer")
    told = platform.ok("-o", "json", "show", f"{app}-ask") + platform.ok("-o", "json", "show", job)
    assert platform.json("credentials", database)["password"] not in told
