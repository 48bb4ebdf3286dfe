"""Alerts over REST: who sees which, who may do what about them, and the stream that follows them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from lattice.contracts.messages import Trouble, TroubleKind
from lattice.contracts.nouns import Role
from tests.fixtures.event_stream import Stream
from tests.fixtures.gateway import World, running_gateway

NODE = Trouble(kind=TroubleKind.NODE_UNREACHABLE, project="_platform", entity_id="nd-1", entity_name="hydra")
DEPLOY = Trouble(kind=TroubleKind.DEPLOY_FAILED, project="shop", entity_id="wl-1", entity_name="web")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path) as world:
        await world.add_user("ops", {"*": Role.OPERATOR})
        await world.add_user("dev", {"shop": Role.DEPLOYER})
        await world.add_user("looker", {"shop": Role.VIEWER})
        await world.look(NODE, DEPLOY)
        yield world


async def ids(world: World) -> dict[str, str]:
    items = (await world.get("/v1/alerts")).json()["items"]
    return {item["project"]: item["id"] for item in items}


def names(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["name"] for item in answer.json()["items"]]


async def test_who_sees_which(world: World) -> None:
    assert sorted(names(await world.get("/v1/alerts", as_="ops"))) == [
        "LatticeDeployFailed",
        "LatticeNodeUnreachable",
    ]
    assert names(await world.get("/v1/alerts?project=shop", as_="looker")) == ["LatticeDeployFailed"]
    assert (await world.get("/v1/alerts", as_="looker")).status_code == 403
    assert names(await world.get("/v1/alerts?severity=critical", as_="ops")) == ["LatticeNodeUnreachable"]
    assert names(await world.get("/v1/alerts?name=LatticeDeployFailed", as_="ops")) == ["LatticeDeployFailed"]
    platform = (await ids(world))["_platform"]
    unseen = await world.get(f"/v1/alerts/{platform}", as_="looker")
    unknown = await world.get("/v1/alerts/al-nobody", as_="looker")
    assert unseen.status_code == unknown.status_code == 404
    assert unseen.json()["detail"].replace(platform, "X") == unknown.json()["detail"].replace(
        "al-nobody", "X"
    )


async def test_who_deploys_looks_after_the_projects_alerts_and_operators_after_the_platforms(
    world: World,
) -> None:
    own, platform = (await ids(world))["shop"], (await ids(world))["_platform"]
    assert (await world.post(f"/v1/alerts/{own}/ack", as_="looker", json={})).status_code == 403
    acked = await world.post(f"/v1/alerts/{own}/ack", as_="dev", json={"note": "on it"})
    assert acked.status_code == 200
    assert (acked.json()["state"], acked.json()["acknowledged_by"], acked.json()["note"]) == (
        "acknowledged",
        "user:dev",
        "on it",
    )
    assert (await world.post(f"/v1/alerts/{platform}/ack", as_="dev", json={})).status_code == 404
    over = await world.post(f"/v1/alerts/{platform}/resolve", as_="ops", json={})
    assert over.json()["state"] == "resolved" and over.json()["resolved_by"] == "user:ops"
    assert (await world.post(f"/v1/alerts/{platform}/resolve", as_="ops", json={})).status_code == 409


async def test_an_alert_is_silenced_and_loud_again(world: World) -> None:
    own = (await ids(world))["shop"]
    made = await world.post(f"/v1/alerts/{own}/silence", as_="dev", json={"for_s": 600, "reason": "known"})
    assert made.status_code == 201 and made.json()["active"] is True
    await world.look(NODE, DEPLOY)
    assert (await world.get(f"/v1/alerts/{own}")).json()["state"] == "silenced"
    silences = (await world.get("/v1/silences?project=shop", as_="looker")).json()["items"]
    assert [each["id"] for each in silences] == [made.json()["id"]]
    assert (
        await world.request("DELETE", f"/v1/silences/{made.json()['id']}", as_="looker")
    ).status_code == 403
    assert (await world.request("DELETE", f"/v1/silences/{made.json()['id']}", as_="dev")).status_code == 200
    await world.look(NODE, DEPLOY)
    assert (await world.get(f"/v1/alerts/{own}")).json()["state"] == "open"
    assert (await world.request("DELETE", f"/v1/silences/{made.json()['id']}", as_="ops")).status_code == 404


async def test_a_window_for_a_node_takes_an_operator(world: World) -> None:
    begins = world.clock.now() + timedelta(hours=1)
    wanted: dict[str, Any] = {
        "entity": "hydra", "starts_at": begins.isoformat(), "for_s": 3600, "reason": "new disk",
    }  # fmt: skip
    assert (await world.post("/v1/silences", as_="dev", json=wanted)).status_code == 403
    made = await world.post("/v1/silences", as_="ops", json=wanted)
    assert made.status_code == 201 and made.json()["active"] is False
    assert (
        await world.post("/v1/silences", as_="dev", json={**wanted, "project": "shop"})
    ).status_code == 201
    assert (await world.get("/v1/silences?project=shop", as_="dev")).json()["items"][0]["matchers"] == {
        "fingerprint": None, "name": None, "project": "shop", "severity": None, "entity": "hydra",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"for_s": 600, "reason": "why"}, "/matchers"),
        ({"entity": "x", "for_s": 1, "reason": "why"}, "/for_s"),
        ({"entity": "x", "for_s": 600, "reason": ""}, "/reason"),
        ({"entity": "x", "for_s": 600, "reason": "why", "starts_at": "9999-12-31T23:59:59Z"}, "/starts_at"),
        ({"entity": "x", "for_s": 600, "reason": "why", "untill": 3}, "/untill"),
    ],
)
async def test_a_silence_that_cannot_be_is_explained(
    world: World, body: dict[str, Any], pointer: str
) -> None:
    refused = await world.post("/v1/silences", as_="ops", json=body)
    assert refused.status_code == 422
    assert [each["pointer"] for each in refused.json()["errors"]] == [pointer]


async def test_what_is_over_is_shown_where_it_is_asked_for(world: World) -> None:
    await world.look(NODE)
    world.clock.advance(60)
    await world.look(NODE)
    assert names(await world.get("/v1/alerts")) == ["LatticeNodeUnreachable"]
    assert "LatticeDeployFailed" in names(await world.get("/v1/alerts?resolved=true"))


async def test_a_stream_begins_with_what_there_is_and_tells_each_change_once(world: World) -> None:
    stream = Stream(world, "/v1/alerts?project=shop&follow=true", as_="looker")
    first = json.loads((await stream.next())["data"])
    assert (first["name"], first["change"]) == ("LatticeDeployFailed", "opened")
    await world.post(f"/v1/alerts/{first['id']}/ack", as_="dev", json={})
    await world.look(NODE, DEPLOY)
    second = json.loads((await stream.next())["data"])
    assert (second["id"], second["change"]) == (first["id"], "acknowledged")
    await stream.close()


async def test_after_a_break_the_stream_tells_what_it_missed(world: World) -> None:
    stream = Stream(world, "/v1/alerts?follow=true", as_="ops")
    await stream.take(2)
    world.app.state.gateway.alerts._hand_out(None)
    await asyncio.sleep(0)
    await world.look(NODE, DEPLOY, DEPLOY.model_copy(update={"entity_id": "wl-2", "entity_name": "api"}))
    assert json.loads((await stream.next())["data"])["entity_name"] == "api"
    await stream.close()


async def test_what_people_did_about_alerts_is_in_the_audit_trail(world: World) -> None:
    own = (await ids(world))["shop"]
    await world.post(f"/v1/alerts/{own}/ack", as_="dev", json={"note": "on it"})
    world.clock.advance(1)
    await world.post("/v1/users", json={"username": "new"})
    seen, token = list[str](), ""
    while True:
        page = (await world.get(f"/v1/audit?page_size=1{token}")).json()
        seen += [row["action"] for row in page["items"]]
        if page["next_page_token"] is None:
            break
        token = f"&page_token={page['next_page_token']}"
    assert seen[:1] == ["user.create"] and seen.count("alert.acknowledge") == 1
    shop = (await world.get("/v1/audit?project=shop&action=alert.acknowledge")).json()["items"]
    assert [(row["actor"], row["entity_id"], row["after"]["note"]) for row in shop] == [
        ("user:dev", own, "on it")
    ]
