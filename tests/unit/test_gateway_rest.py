"""How the gateway speaks REST: problems for every error, long work, versions, keys, pages; and what it passes on to the registry."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lattice.contracts import catalogue
from lattice.contracts.messages import GetByName
from lattice.contracts.nouns import Role
from lattice.contracts.views import NodeView
from lattice.errors import DeadlineExceeded, LatticeError
from services.gateway import openapi
from services.gateway.app import describe
from tests.fixtures.gateway import CA_PEM, NODE, PUBLIC_URL, World, running_gateway

WEB = {"name": "web", "image": "test"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path) as world:
        world.registry.add_node()
        yield world


def _assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "instance", "code", "request_id", "errors"}
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    assert problem["detail"]
    return problem


# ---------------------------------------------------------------- problems


async def test_an_unknown_path_is_a_problem(world: World) -> None:
    problem = _assert_problem(await world.get("/v1/nothing"), 404, "not_found")
    assert problem["instance"] == "/v1/nothing"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/nodes/one", "DELETE, GET, PATCH"),
        ("PATCH", "/v1/workloads", "GET, POST"),
        ("GET", "/v1/nodes/one/approve", "POST"),
        ("TRACE", "/v1/users/ada", "DELETE, PATCH"),
        ("PUT", "/v1/nodes/register", "POST"),
    ],
)
async def test_a_wrong_method_names_every_right_one(world: World, method: str, path: str, allow: str) -> None:
    answer = await world.request(method, path)
    _assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == allow


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": "web", "image": "x", "replicas": True}, "/replicas"),
        ({"name": "web", "image": "x", "privileged": True}, "/privileged"),
        ({"name": "web", "image": "x", "ports": [{"name": "http", "port": 70_000}]}, "/ports/0/port"),
        ({"name": "web", "image": "x", "env": {"A/B~": "1"}}, "/env/A~1B~0/[key]"),
        ({"image": "x"}, "/name"),
    ],
)
async def test_a_broken_field_is_pointed_at(world: World, body: dict[str, Any], pointer: str) -> None:
    answer = await world.post("/v1/workloads", json=body)
    problem = _assert_problem(answer, 422, "invalid")
    assert pointer in [error["pointer"] for error in problem["errors"]]
    assert not world.registry.workloads


@pytest.mark.parametrize(
    "body",
    [b"{", b"[" * 100_000, b'"\xff"', b'{"name": "web", "image": "x", "values": {"a": "\\ud800"}}',
     b'{"name": "web", "image": "x", "values": {"a": "\\u0000"}}', b'{"name": "web", "image": "x", "values": {"a": NaN}}', b""],
)  # fmt: skip
async def test_a_body_that_cannot_be_read_is_a_problem(world: World, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await world.post("/v1/workloads", content=body, headers=headers)
    assert answer.status_code in (202, 422) if b"NaN" in body else answer.status_code == 422
    if answer.status_code == 422:
        _assert_problem(answer, 422, "invalid")


async def test_a_body_over_the_limit_is_refused(world: World) -> None:
    limit = world.settings.max_body_bytes
    for content in (b"x" * (limit + 1), _chunks(limit + 1)):
        answer = await world.post(
            "/v1/workloads", content=content, headers={"Content-Type": "application/json"}
        )
        _assert_problem(answer, 413, "too_large")


async def _chunks(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 1000 + 1):
        yield b"x" * 1000


@pytest.mark.parametrize(
    "query", ["limitt=5", "project=a1&project=a1", "project=%00", "page_size=false", "page_size=0"]
)
async def test_a_query_that_says_something_else_is_refused(world: World, query: str) -> None:
    _assert_problem(await world.get(f"/v1/workloads?{query}"), 422, "invalid")


async def test_a_page_that_is_too_large_is_lowered(world: World) -> None:
    assert (await world.get("/v1/workloads?page_size=100000")).status_code == 200


async def test_a_fault_shows_nothing_of_its_inside(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise RuntimeError("the secret is 12345")

    monkeypatch.setattr(world.bus, "ask", fails)
    answer = await world.get("/v1/nodes")
    problem = _assert_problem(answer, 500, "internal")
    assert "12345" not in answer.text
    assert problem["request_id"]


async def test_a_fault_of_the_registry_shows_nothing_either(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise LatticeError("column x of table y")

    monkeypatch.setattr(world.bus, "ask", fails)
    answer = await world.get("/v1/nodes")
    _assert_problem(answer, 500, "internal")
    assert "column" not in answer.text


async def test_a_part_that_is_away_is_a_503_with_a_time(world: World) -> None:
    world.bus.disconnect()
    answer = await world.get("/v1/nodes")
    _assert_problem(answer, 503, "temporary")
    assert int(answer.headers["Retry-After"]) >= 1
    assert (await world.get("/readyz", as_=None)).status_code == 503
    assert (await world.get("/healthz", as_=None)).status_code == 200
    await world.bus.reconnect()
    assert (await world.get("/readyz", as_=None)).status_code == 200


async def test_no_answer_in_time_is_a_504(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def late(*_: object, **__: object) -> None:
        raise DeadlineExceeded("no reply")

    monkeypatch.setattr(world.bus, "ask", late)
    answer = await world.post("/v1/workloads", json=WEB)
    _assert_problem(answer, 504, "deadline_exceeded")


async def test_request_ids_are_taken_and_given(world: World) -> None:
    assert (await world.get("/healthz", headers={"X-Request-Id": "abc-1"})).headers["X-Request-Id"] == "abc-1"
    for bad in ("", "a b", "x" * 65, "a\tb"):
        given = (await world.get("/healthz", headers={"X-Request-Id": bad})).headers["X-Request-Id"]
        assert given.startswith("rq-")


async def test_every_answer_is_guarded_by_headers(world: World) -> None:
    for path in ("/healthz", "/v1/nodes", "/nothing", "/docs"):
        headers = (await world.get(path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["Strict-Transport-Security"]


# ---------------------------------------------------------------- long work, versions, keys


async def test_a_plan_says_where_it_would_go_if_the_scheduler_answers(world: World) -> None:
    planned = (await world.post("/v1/workloads/plan", json=WEB)).json()
    assert (planned["action"], planned["version"]) == ("create", 0)
    assert planned["placements"] == [{"slot": 0, "node": "one", "reason": "the only node", "rejected": []}]
    world.registry.scheduler_away = True
    alone = await world.post("/v1/workloads/plan", json=WEB)
    assert (alone.status_code, alone.json()["placements"]) == (200, [])
    assert alone.json()["placements_missing"] == "the scheduler does not answer: Nobody answers."
    assert not world.registry.workloads
    wrong = await world.post("/v1/workloads/plan", json={**WEB, "replicsa": 2})
    really = await world.post("/v1/workloads", json={**WEB, "replicsa": 2})
    assert wrong.status_code == really.status_code == 422
    assert wrong.json()["errors"] == really.json()["errors"]


async def test_a_deploy_is_accepted_with_its_operation(world: World) -> None:
    answer = await world.post("/v1/workloads", json=WEB)
    assert answer.status_code == 202
    operation = answer.json()["operation"]
    assert answer.headers["Location"] == f"/v1/operations/{operation['id']}"
    assert answer.headers["ETag"] == '"1"'
    looked = await world.get(answer.headers["Location"])
    assert looked.json()["id"] == operation["id"]


async def test_an_app_is_accepted_with_its_place_and_tag(world: World) -> None:
    compose = {"services": {"web": {"image": "nginx"}}}
    answer = await world.request("PUT", "/v1/apps/shop", json=compose)
    assert answer.status_code == 202 and answer.headers["ETag"] == '"1"'
    looked = await world.get(answer.headers["Location"])
    assert (looked.json()["name"], looked.headers["ETag"]) == ("shop", '"1"')
    assert [each["name"] for each in (await world.get("/v1/apps")).json()["items"]] == ["shop"]
    assert (await world.post("/v1/apps/shop/plan", json=compose)).json()["app"] == "shop"
    assert (await world.request("DELETE", "/v1/apps/shop?volumes=true")).status_code == 202
    _assert_problem(await world.get("/v1/apps/shop"), 404, "not_found")


async def test_the_version_is_the_tag_and_guards_the_change(world: World) -> None:
    first = await world.get("/v1/nodes/one")
    assert first.headers["ETag"] == '"1"'
    changed = await world.post("/v1/nodes/one/cordon", headers={"If-Match": first.headers["ETag"]})
    assert changed.status_code == 200
    stale = await world.post("/v1/nodes/one/uncordon", headers={"If-Match": first.headers["ETag"]})
    _assert_problem(stale, 412, "stale_version")
    assert (await world.post("/v1/nodes/one/uncordon", headers={"If-Match": "*"})).status_code == 200


@pytest.mark.parametrize(
    "header",
    [{"If-Match": "7"}, {"If-Match": '"1", "2"'}, {"Idempotency-Key": "x" * 256}, {"Idempotency-Key": "a b"}],
)
async def test_a_condition_that_cannot_be_read_is_refused(world: World, header: dict[str, str]) -> None:
    answer = await world.post("/v1/nodes/one/cordon", headers=header)
    problem = _assert_problem(answer, 422, "invalid")
    assert problem["errors"][0]["pointer"] == f"/header/{next(iter(header))}"


async def test_the_registry_hears_who_asks_under_which_key(world: World) -> None:
    await world.add_user("ada", {"own": Role.DEPLOYER})
    world.registry.projects["own"] = world.registry.projects["default"].model_copy(update={"name": "own"})
    headers = {"Idempotency-Key": "k1", "X-Request-Id": "r1", "If-Match": '"4"'}
    for body in (
        '{"name": "web", "image": "test"}',
        '{"image":"test",  "name":"web"}',
        '{"name": "web", "image": "other"}',
    ):
        await world.post(
            "/v1/workloads", as_="ada", params={"project": "own"}, content=body, headers={**headers, "Content-Type": "application/json"}
        )  # fmt: skip
    same, reordered, other = world.registry.callers
    assert (same.actor, same.request_id, same.idempotency_key, same.if_match) == ("user:ada", "r1", "k1", "4")
    assert same.request_hash == reordered.request_hash != other.request_hash
    assert len(same.request_hash) == 64


async def test_the_same_key_makes_one_token_and_answers_it_twice(world: World) -> None:
    headers = {"Idempotency-Key": "k1"}
    first = await world.post("/v1/tokens", json={"name": "ci"}, headers=headers)
    again = await world.post("/v1/tokens", json={"name": "ci"}, headers=headers)
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    assert len((await world.get("/v1/tokens")).json()["items"]) == 2  # the one that asked, and the new one
    other = await world.post("/v1/tokens", json={"name": "other"}, headers=headers)
    _assert_problem(other, 422, "invalid")


async def test_the_same_key_makes_one_join_token_and_answers_it_twice(world: World) -> None:
    headers = {"Idempotency-Key": "k1"}
    first = await world.post("/v1/join-tokens", json={"ttl_s": 600}, headers=headers)
    again = await world.post("/v1/join-tokens", json={"ttl_s": 600}, headers=headers)
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    assert (await world.post("/v1/join-tokens", json={"ttl_s": 600})).json()["id"] != first.json()["id"]


async def test_a_kept_answer_is_shown_to_the_same_token_only(world: World) -> None:
    headers = {"Idempotency-Key": "k1"}
    first = (await world.post("/v1/tokens", json={"name": "ci"}, headers=headers)).json()
    world.tokens["ci"] = first["token"]
    answer = await world.post("/v1/tokens", as_="ci", json={"name": "ci"}, headers=headers)
    _assert_problem(answer, 409, "conflict")
    assert first["token"] not in answer.text


async def test_a_key_is_free_again_after_a_day(world: World) -> None:
    headers = {"Idempotency-Key": "k1"}
    assert (await world.post("/v1/users", json={"username": "ada"}, headers=headers)).status_code == 201
    world.clock.advance(86_401)
    again = await world.post("/v1/users", json={"username": "bea"}, headers=headers)
    assert again.json()["username"] == "bea"


# ---------------------------------------------------------------- what is passed on


async def test_enrolment_passes_the_proof_on(world: World) -> None:
    body = {"token": "good", "name": "n1", "csr_pem": "csr", "nkey": "U", "sealing_key": "k"}
    registered = await world.post("/v1/nodes/register", as_=None, json=body)
    assert registered.json() == {"node_id": NODE, "fingerprint": "aaaa"}
    place = registered.headers["Location"]
    proof = {"Lattice-Signed-At": "2030-01-01T00:00:00Z", "Lattice-Signature": "good"}
    assert (await world.get(place, as_=None, headers=proof)).json()["state"] == "pending"
    renewed = await world.post(f"/v1/nodes/{NODE}/renew", as_=None, headers=proof, json={"csr_pem": "csr"})
    assert renewed.status_code == 200
    _assert_problem(await world.get(place, as_=None), 422, "invalid")
    naive = {**proof, "Lattice-Signed-At": "2030-01-01T00:00:00"}  # without a zone it is no moment
    _assert_problem(await world.get(place, as_=None, headers=naive), 422, "invalid")
    forged = {**proof, "Lattice-Signature": "forged"}
    _assert_problem(await world.get(place, as_=None, headers=forged), 401, "unauthenticated")
    _assert_problem(
        await world.post("/v1/nodes/register", as_=None, json={**body, "token": "bad"}),
        401,
        "unauthenticated",
    )


async def test_a_join_token_comes_with_its_command(world: World) -> None:
    answer = await world.post("/v1/join-tokens", json={"ttl_s": 60, "pool": "edge"})
    assert answer.json()["command"] == "lattice node join lattice-join.x"


async def test_the_ca_is_open_to_all(world: World) -> None:
    answer = await world.get("/v1/ca", as_=None)
    assert answer.text == CA_PEM


async def test_projects_show_only_ones_own(world: World) -> None:
    await world.post("/v1/projects", json={"name": "own"})
    await world.add_user("ada", {"own": Role.VIEWER})
    assert [item["name"] for item in (await world.get("/v1/projects", as_="ada")).json()["items"]] == ["own"]
    assert len((await world.get("/v1/projects")).json()["items"]) == 2


async def test_credentials_are_asked_for_in_the_callers_name(world: World) -> None:
    world.registry.add_workload("web")
    answer = await world.get("/v1/workloads/web/credentials")
    assert answer.json()["password"] == "s3cret"
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("part", ["instances", "revisions", "events", "placement"])
async def test_the_parts_of_a_workload_are_lists(world: World, part: str) -> None:
    view = world.registry.add_workload("web")
    world.registry.add_fact(entity_id=view.id)
    for ref in ("web", view.id):
        listing = (await world.get(f"/v1/workloads/{ref}/{part}")).json()
        assert set(listing) == {"items", "next_page_token"}
    assert (await world.get(f"/v1/workloads/other/{part}")).status_code == 404


async def test_both_audit_trails_are_one_list_in_order(world: World) -> None:
    for number in range(7):
        world.clock.advance(1)
        if number % 2:
            world.registry.add_audit(f"theirs.{number}")
        else:
            await world.post("/v1/users", json={"username": f"user{number}"})
    seen: list[str] = []
    token: str | None = None
    while True:
        params = {"page_size": "2"} | ({"page_token": token} if token else {})
        page = (await world.get("/v1/audit", params=params)).json()
        seen += [row["at"] + row["action"] for row in page["items"]]
        world.clock.advance(1)
        world.registry.add_audit("new.while.reading")  # arrives at the head and must not move the rest
        token = page["next_page_token"]
        if token is None:
            break
    assert [row[-8:] for row in seen] == [
        "r.create",
        "theirs.5",
        "r.create",
        "theirs.3",
        "r.create",
        "theirs.1",
        "r.create",
    ]
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 7
    _assert_problem(await world.get("/v1/audit?page_token=nonsense"), 422, "invalid")


# ---------------------------------------------------------------- the document


def test_the_committed_document_is_up_to_date() -> None:
    assert openapi.FILE.read_text() == openapi.text(describe()), "run python -m services.gateway.openapi"


async def test_the_document_and_the_page_are_served_without_anything_from_elsewhere(world: World) -> None:
    document = (await world.get("/openapi.json", as_=None)).json()
    assert document["openapi"] == "3.1.0"
    assert all(
        path.startswith("/v1/") or path in ("/healthz", "/readyz", "/metrics") for path in document["paths"]
    )
    page = await world.get("/docs", as_=None)
    assert "style-src 'self'" in page.headers["Content-Security-Policy"]
    assert "<script" not in page.text
    assert "http://" not in page.text.replace(PUBLIC_URL, "")
    assert "/v1/workloads/{id}/logs" in page.text
    assert "Needs the role operator over the platform" in page.text
    assert "For everybody: nobody needs to be signed in." in page.text
    assert "For anybody who is signed in" in page.text
    assert (await world.get("/docs/style.css", as_=None)).headers["Content-Type"].startswith("text/css")


async def test_metrics_count_by_route_and_never_by_path(world: World) -> None:
    await world.get("/v1/nodes/one")
    text = (await world.get("/metrics")).text
    assert 'path="/v1/nodes/{id}"' in text
    assert "/v1/nodes/one" not in text


async def test_the_stub_answers_as_the_registry_would(world: World) -> None:
    node = await world.bus.ask(catalogue.GET_NODE, GetByName(ref="one"))
    assert isinstance(node, NodeView)


async def test_a_node_has_its_own_events_and_a_volume_its_own_page(world: World) -> None:
    node, volume = world.registry.add_node(), world.registry.add_volume()
    world.registry.add_fact(entity_id="wl-1")
    world.registry.add_fact(entity_id=node.id, verb="oom")
    listed = (await world.get("/v1/nodes/one/events")).json()["items"]
    assert [fact["verb"] for fact in listed] == ["oom"]
    assert (await world.get("/v1/nodes/nothing/events")).status_code == 404
    found = await world.get(f"/v1/volumes/{volume.id}")
    assert (found.json()["id"], found.json()["state"]) == (volume.id, "released")
    assert (await world.get("/v1/volumes/nothing")).status_code == 404
