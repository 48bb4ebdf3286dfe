"""Who gets in: passwords, tokens, the first admin, the operator's token; and how soon somebody is out again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lattice.contracts.nouns import Role
from lattice.storage import Transaction
from services.gateway.auth import KEPT_S
from services.gateway.housekeeping import tidy
from services.gateway.tables import AnswerRow, ApiTokenRow, AuditRow, SessionRow, UserRow
from services.gateway.throttle import FAILURES_PER_NAME
from tests.fixtures.gateway import World, running_gateway

PASSWORD = "correct horse battery"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, operator_token_file=tmp_path / "operator-token") as world:
        yield world


async def _make_user(world: World, username: str, **roles: str) -> str:
    body = {"username": username, "password": PASSWORD, "roles": roles}
    answer = await world.post("/v1/users", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def _sign_in(world: World, username: str, password: str = PASSWORD) -> str:
    answer = await world.post("/v1/auth/login", as_=None, json={"username": username, "password": password})
    assert answer.status_code == 200, answer.text
    world.tokens[username] = answer.json()["token"]
    return world.tokens[username]


async def test_a_sign_in_opens_and_a_sign_out_closes(world: World) -> None:
    await _make_user(world, "ada", default="viewer")
    await _sign_in(world, "ada")
    me = await world.get("/v1/me", as_="ada")
    assert me.json()["username"] == "ada"
    assert me.json()["roles"] == {"default": "viewer"}
    assert (await world.post("/v1/auth/logout", as_="ada")).status_code == 204
    assert (await world.get("/v1/me", as_="ada")).status_code == 401


async def test_the_audit_trail_names_who_was_changed(world: World) -> None:
    await _make_user(world, "ada")
    (row,) = (await world.get("/v1/audit", params={"action": "user.create"})).json()["items"]
    assert (row["entity"], row["entity_name"]) == ("user", "ada")


async def test_a_wrong_name_and_a_wrong_password_look_alike(world: World) -> None:
    await _make_user(world, "ada")
    answers = [
        await world.post("/v1/auth/login", as_=None, json={"username": name, "password": "wrong"})
        for name in ("ada", "nobody")
    ]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].json()["detail"] == answers[1].json()["detail"]
    rows = (await world.get("/v1/audit", params={"action": "user.sign_in_refused"})).json()["items"]
    assert {row["entity_id"] for row in rows} == {"ada", "nobody"}


async def test_guessing_is_throttled_even_with_the_right_password(world: World) -> None:
    await _make_user(world, "ada")
    for _ in range(FAILURES_PER_NAME.amount):
        wrong = {"username": "ada", "password": "wrong"}
        assert (await world.post("/v1/auth/login", as_=None, json=wrong)).status_code == 401
    right = {"username": "ada", "password": PASSWORD}
    answer = await world.post("/v1/auth/login", as_=None, json=right)
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= FAILURES_PER_NAME.get_expiry()
    assert answer.json()["code"] == "too_many_requests"


async def test_a_sign_in_that_succeeds_forgives_earlier_failures(world: World) -> None:
    await _make_user(world, "ada")
    for _ in range(3):
        for _ in range(FAILURES_PER_NAME.amount - 1):
            await world.post("/v1/auth/login", as_=None, json={"username": "ada", "password": "wrong"})
        await _sign_in(world, "ada")


async def test_only_hashes_are_stored(world: World) -> None:
    await _make_user(world, "ada")
    session = await _sign_in(world, "ada")
    made = await world.post("/v1/tokens", json={"name": "ci"}, headers={"Idempotency-Key": "k1"})
    secrets = (PASSWORD, session, made.json()["token"])
    async with world.store.transaction() as tx:
        stored = await _everything(tx)
    assert made.json()["token"].startswith("lat_")
    assert "$argon2id$" in stored
    for secret in secrets:
        assert secret not in stored
        assert secret.rsplit("_", 1)[-1] not in stored


async def _everything(tx: Transaction) -> str:
    rows = [
        row
        for table in (UserRow, ApiTokenRow, SessionRow, AuditRow, AnswerRow)
        for row in await tx.find(table)
    ]
    return "\n".join(row.model_dump_json() for row in rows)


async def test_a_revoked_token_is_refused_at_once(world: World) -> None:
    made = (await world.post("/v1/tokens", json={"name": "ci"})).json()
    world.tokens["ci"] = made["token"]
    assert (await world.get("/v1/me", as_="ci")).status_code == 200
    assert (await world.request("DELETE", f"/v1/tokens/{made['id']}")).status_code == 204
    refused = await world.get("/v1/me", as_="ci")
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"] == "Bearer"


async def test_a_token_revoked_elsewhere_is_refused_within_a_second(world: World) -> None:
    made = (await world.post("/v1/tokens", json={"name": "ci"})).json()
    world.tokens["ci"] = made["token"]
    assert (await world.get("/v1/me", as_="ci")).status_code == 200
    async with world.store.transaction() as tx:  # as another replica would
        row = await tx.get(ApiTokenRow, made["id"])
        assert row is not None
        tx.delete(row)
    world.clock.advance(KEPT_S)
    assert (await world.get("/v1/me", as_="ci")).status_code == 401


async def test_tokens_expire(world: World) -> None:
    made = (await world.post("/v1/tokens", json={"name": "ci", "expires_in_days": 1})).json()
    world.tokens["ci"] = made["token"]
    assert (await world.get("/v1/me", as_="ci")).status_code == 200
    world.clock.advance(86_400)
    assert (await world.get("/v1/me", as_="ci")).status_code == 401


@pytest.mark.parametrize("days", [0, 91, True, "30"])
async def test_a_token_lives_ninety_days_at_most(world: World, days: object) -> None:
    answer = await world.post("/v1/tokens", json={"name": "ci", "expires_in_days": days})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/expires_in_days"


async def test_a_token_of_a_limited_token_is_as_limited(world: World) -> None:
    limited = (
        await world.post("/v1/tokens", json={"name": "ci", "role": "viewer", "project": "default"})
    ).json()
    world.tokens["ci"] = limited["token"]
    for wider in ({}, {"role": "admin", "project": "default"}, {"role": "viewer", "project": "other"}):
        answer = await world.post("/v1/tokens", as_="ci", json={"name": "more", **wider})
        assert answer.status_code == 403, wider
    same = {"name": "same", "role": "viewer", "project": "default"}
    assert (await world.post("/v1/tokens", as_="ci", json=same)).status_code == 201
    assert (await world.get("/v1/nodes", as_="ci")).status_code == 403


async def test_a_token_in_the_url_is_refused_with_the_reason(world: World) -> None:
    answer = await world.get("/v1/nodes", params={"token": world.tokens["admin"]})
    assert answer.status_code == 422
    assert "Authorization" in answer.json()["detail"]
    assert world.tokens["admin"] not in answer.text


async def test_people_see_and_revoke_their_own_tokens_only(world: World) -> None:
    await world.add_user("ada", {"default": Role.DEPLOYER})
    mine = (await world.get("/v1/tokens", as_="ada")).json()["items"]
    assert [token["user"] for token in mine] == ["ada"]
    theirs = (await world.get("/v1/tokens")).json()["items"][0]["id"]
    assert (await world.request("DELETE", f"/v1/tokens/{theirs}", as_="ada")).status_code == 404
    assert (await world.get("/v1/tokens", as_="ada", params={"owner": "everybody"})).status_code == 403
    everybody = (await world.get("/v1/tokens", params={"owner": "everybody"})).json()["items"]
    assert {token["user"] for token in everybody} == {"ada", "admin"}


async def test_a_new_password_ends_every_sign_in(world: World) -> None:
    await _make_user(world, "ada", default="viewer")
    await _sign_in(world, "ada")
    new = {"password": "another good one", "current_password": PASSWORD}
    wrong = {**new, "current_password": "guess"}
    assert (await world.request("PATCH", "/v1/users/ada", as_="ada", json=wrong)).status_code == 403
    assert (await world.request("PATCH", "/v1/users/ada", as_="ada", json=new)).status_code == 200
    assert (await world.get("/v1/me", as_="ada")).status_code == 401
    await _sign_in(world, "ada", "another good one")


async def test_nobody_raises_themselves(world: World) -> None:
    await _make_user(world, "ada", default="viewer")
    await _sign_in(world, "ada")
    for body in (
        {"roles": {"*": "admin"}},
        {"roles": {"*": "admin"}, "password": "long enough", "current_password": PASSWORD},
    ):
        assert (await world.request("PATCH", "/v1/users/ada", as_="ada", json=body)).status_code == 403
    assert (
        await world.request("PATCH", "/v1/users/admin", as_="ada", json={"password": "long enough"})
    ).status_code == 403


async def test_roles_change_at_once(world: World) -> None:
    await world.add_user("ada", {"default": Role.VIEWER})
    assert (await world.get("/v1/nodes", as_="ada")).status_code == 403
    raised = await world.request("PATCH", "/v1/users/ada", json={"roles": {"*": "viewer"}})
    assert raised.json()["roles"] == {"*": "viewer"}
    assert (await world.get("/v1/nodes", as_="ada")).status_code == 200


async def test_the_last_admin_stays(world: World) -> None:
    for method, body in (("DELETE", None), ("PATCH", {"roles": {}})):
        answer = await world.request(method, "/v1/users/admin", json=body)
        assert answer.status_code == 409
    await _make_user(world, "ada", **{"*": "admin"})
    assert (await world.request("DELETE", "/v1/users/admin")).status_code == 204
    assert (await world.get("/v1/me")).status_code == 401


async def test_users_are_changed_on_the_version_that_was_read(world: World) -> None:
    await _make_user(world, "ada")
    first = await world.request(
        "PATCH", "/v1/users/ada", json={"roles": {"a1": "viewer"}}, headers={"If-Match": '"1"'}
    )
    assert first.status_code == 200
    assert first.headers["ETag"] == '"2"'
    stale = await world.request("PATCH", "/v1/users/ada", json={"roles": {}}, headers={"If-Match": '"1"'})
    assert stale.status_code == 412
    ada = next(user for user in (await world.get("/v1/users")).json()["items"] if user["username"] == "ada")
    assert ada["roles"] == {"a1": "viewer"}


async def test_the_first_admin_is_made_once(world: World) -> None:
    assert world.settings.bootstrap_secret_file is not None
    world.settings.bootstrap_secret_file.write_text("one-time\n")
    body = {"secret": "one-time", "username": "root", "password": PASSWORD}
    wrong = await world.post("/v1/auth/setup", as_=None, json={**body, "secret": "guess"})
    assert wrong.status_code == 401
    made = await world.post("/v1/auth/setup", as_=None, json=body)
    await _refusal_is_kept(world, "user.set_up_refused")
    assert made.status_code == 201
    assert made.json()["roles"] == {"*": "admin"}
    again = await world.post("/v1/auth/setup", as_=None, json={**body, "username": "second"})
    assert again.status_code == 410
    await _sign_in(world, "root")
    assert (await world.get("/v1/users", as_="root")).status_code == 200


async def test_two_set_ups_at_once_make_one_admin(world: World) -> None:
    assert world.settings.bootstrap_secret_file is not None
    world.settings.bootstrap_secret_file.write_text("one-time")
    bodies = [{"secret": "one-time", "username": f"root{i}", "password": PASSWORD} for i in range(4)]
    answers = await asyncio.gather(*(world.post("/v1/auth/setup", as_=None, json=body) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [201, 410, 410, 410]


async def test_without_a_secret_file_nobody_sets_up(world: World) -> None:
    answer = await world.post(
        "/v1/auth/setup", as_=None, json={"secret": "x", "username": "root", "password": PASSWORD}
    )
    assert answer.status_code == 401


async def test_the_operators_token_is_valid_after_each_start(world: World) -> None:
    file = world.settings.operator_token_file
    assert file is not None
    world.tokens["operator"] = "lat_" + "0" * 26 + "_" + "a" * 52
    file.write_text(world.tokens["operator"] + "\n")
    await tidy(world.app.state.gateway)
    me = (await world.get("/v1/me", as_="operator")).json()
    assert (me["username"], me["roles"]) == ("operator", {"*": "admin"})
    world.clock.advance(80 * 86_400)
    await tidy(world.app.state.gateway)
    world.clock.advance(80 * 86_400)
    assert (await world.get("/v1/me", as_="operator")).status_code == 200
    for method in ("DELETE", "PATCH"):
        answer = await world.request(
            method, "/v1/users/operator", as_="operator", json={"roles": {}} if method == "PATCH" else None
        )
        assert answer.status_code == 409


async def test_a_rewritten_operator_token_replaces_the_old_one(world: World) -> None:
    file = world.settings.operator_token_file
    assert file is not None
    for secret in ("a" * 52, "b" * 52):
        world.tokens[secret] = f"lat_{'0' * 26}_{secret}"
        file.write_text(world.tokens[secret])
        await tidy(world.app.state.gateway)
        world.clock.advance(KEPT_S)
    assert (await world.get("/v1/me", as_="b" * 52)).status_code == 200
    assert (await world.get("/v1/me", as_="a" * 52)).status_code == 401


async def test_a_password_like_the_name_is_refused(world: World) -> None:
    answer = await world.post("/v1/users", json={"username": "margaret", "password": "Margaret1"})
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"pointer": "/password", "detail": "little more than the user's name"}]
    assert (await world.get("/v1/users")).json()["items"][0]["username"] == "admin"


async def test_users_come_in_pages(world: World) -> None:
    for name in ("bea", "ada", "cleo"):
        await world.add_user(name, {})
    names: list[str] = []
    token: str | None = None
    for _ in range(4):
        params = {"page_size": "2"} | ({"page_token": token} if token else {})
        page = (await world.get("/v1/users", params=params)).json()
        names += [user["username"] for user in page["items"]]
        token = page["next_page_token"]
        if token is None:
            break
    assert names == ["ada", "admin", "bea", "cleo"]


async def test_expired_sign_ins_are_forgotten(world: World) -> None:
    await _make_user(world, "ada")
    await _sign_in(world, "ada")
    world.clock.advance(world.settings.session_ttl_s + 1)
    await tidy(world.app.state.gateway)
    async with world.store.transaction() as tx:
        assert await tx.count(SessionRow) == 0


async def _refusal_is_kept(world: World, action: str) -> None:
    (row,) = (await world.get("/v1/audit", params={"action": action})).json()["items"]
    assert row["actor"] == "anonymous" and row["after"]["address"]


async def test_a_refused_join_token_is_in_the_audit_trail(world: World) -> None:
    body = {"token": "bad", "name": "n1", "csr_pem": "csr", "nkey": "U", "sealing_key": "k"}
    answer = await world.post("/v1/nodes/register", as_=None, json=body)
    assert answer.status_code == 401
    await _refusal_is_kept(world, "node.register_refused")
