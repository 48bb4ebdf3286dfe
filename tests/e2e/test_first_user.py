"""The first people of a platform: one admin by the one-time secret, then users whose roles hold in the command line and in REST."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fixtures.commands import Ran
from tests.fixtures.platform import Platform

PASSWORD = "a long enough 'password'"


@dataclass(frozen=True)
class Person:
    """Somebody with a home folder of their own, signed in to the platform; each of their commands starts as at home."""

    platform: Platform
    home: Path

    def run(self, *arguments: str, stdin: str = "") -> Ran:
        # An empty variable counts as not set: the person has no rights of this machine's operator.
        own = {"HOME": str(self.home), "LATTICE_DATA_DIR": ""}
        return self.platform.run(*arguments, stdin=stdin, variables=own, fresh=True)

    def sign_in(self, name: str, password: str = PASSWORD) -> Ran:
        with self.platform.rest() as rest:
            url = str(rest.base_url).rstrip("/")
        ca = str(self.platform.root / "pki" / "ca.pem")
        return self.run("login", url, "--ca", ca, "--user", name, stdin=password)


Newcomer = Callable[..., Person]


@pytest.fixture
def newcomer(platform: Platform, tmp_path: Path) -> Newcomer:
    """Makes users with roles, signed in."""

    def make(*roles: str) -> Person:
        name = f"user{secrets.token_hex(3)}"
        options = [word for role in roles for word in ("--role", role)]
        platform.ok("user", "create", name, *options, stdin=PASSWORD)
        person = Person(platform, tmp_path / name)
        signed_in = person.sign_in(name)
        assert signed_in.code == 0, signed_in.err
        return person

    return make


def test_the_one_time_secret_makes_one_admin(platform: Platform, tmp_path: Path) -> None:
    secret = (platform.root / "keys" / "setup-secret").read_text().strip()
    body = {"secret": secret, "username": "ada", "password": PASSWORD}
    person = Person(platform, tmp_path / "ada")
    with platform.rest(token="none") as rest:
        assert rest.post("/v1/auth/setup", json=body | {"secret": "guessed"}).status_code == 401
        assert person.sign_in("ada").code == 1, "nobody was made by a wrong secret"
        assert rest.post("/v1/auth/setup", json=body).status_code == 201
        again = rest.post("/v1/auth/setup", json=body | {"username": "eve"})
        assert (again.status_code, again.headers["content-type"]) == (410, "application/problem+json")
        assert "set up already" in again.json()["detail"]
    assert person.sign_in("ada", "wrong password").code == 1
    assert person.sign_in("ada").code == 0
    users = {each["username"] for each in json.loads(person.run("user", "ls", "-o", "json").out)["items"]}
    assert "ada" in users and "eve" not in users


def test_a_viewer_looks_and_changes_nothing(platform: Platform, newcomer: Newcomer, image_test: str) -> None:
    viewer = newcomer("default=viewer")
    assert viewer.run("ps").code == 0
    before = platform.json("ps")
    refused = viewer.run("run", image_test, "--name", "mine", "--", "sleep", "600")
    assert (refused.code, "needs the role deployer" in refused.err) == (1, True), refused.err
    for command in (["secret", "set", "key"], ["node", "ls"], ["user", "ls"], ["node", "token"]):
        assert viewer.run(*command, stdin="value").code == 1, command
    assert platform.json("ps") == before


def test_a_deployer_deploys_in_their_project_alone(
    platform: Platform, newcomer: Newcomer, image_test: str
) -> None:
    project, name = f"shop-{secrets.token_hex(3)}", f"own-{secrets.token_hex(3)}"
    platform.ok("project", "create", project)
    deployer = newcomer(f"{project}=deployer")
    within = ("--project", project)
    made = deployer.run(*within, "run", image_test, "--name", name, "--", "sleep", "600")
    assert made.code == 0, made.err
    try:
        elsewhere = deployer.run("ps")
        assert elsewhere.code == 1 and "no project 'default' that you can see" in elsewhere.err
        entered = deployer.run(*within, "exec", name, "--", "true")
        assert entered.code == 1 and "operator" in entered.err, "exec needs more than deploying"
        assert deployer.run("project", "ls", "-o", "name").out.split() == [project]
    finally:
        platform.ok(*within, "rm", name, "--yes")


def test_a_token_can_do_less_than_its_owner(platform: Platform, newcomer: Newcomer, image_test: str) -> None:
    owner = newcomer("default=deployer")
    token = owner.run("token", "create", "ci", "--role", "viewer", "-o", "name").out.strip()
    with platform.rest(token=token) as rest:
        assert rest.get("/v1/workloads").status_code == 200
        refused = rest.post("/v1/workloads", json={"name": "mine", "image": image_test})
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        token_id = rest.get("/v1/me").json()["credential"]
        assert owner.run("token", "rm", token_id).code == 0
        assert rest.get("/v1/workloads").status_code == 401, "a revoked token is worth nothing"


def test_roles_taken_away_are_gone_at_once(platform: Platform, newcomer: Newcomer) -> None:
    person = newcomer("default=viewer")
    assert person.run("ps").code == 0
    name = person.run("api", "GET", "/v1/me").out.partition('"username":')[2].split('"')[1]
    platform.ok("user", "role", name)
    assert person.run("ps").code == 1
    platform.ok("user", "rm", name, "--yes")
    assert person.sign_in(name).code == 1


def test_who_did_what_is_told(platform: Platform, newcomer: Newcomer, image_test: str) -> None:
    viewer = newcomer("default=viewer")
    assert viewer.run("run", image_test, "--name", "mine", "--", "sleep", "600").code == 1
    name = viewer.run("api", "GET", "/v1/me").out.partition('"username":')[2].split('"')[1]
    with platform.rest() as rest:
        rows = rest.get("/v1/audit", params={"actor": f"user:{name}"}).json()["items"]
    refused = [row for row in rows if row["action"] == "request.refused"]
    assert refused[0]["after"] == {"code": "forbidden", "needs": "deployer"}
    assert "user.sign_in" in {row["action"] for row in rows}
