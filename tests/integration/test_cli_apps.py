"""`app …` and `apply` of a compose file: what the CLI asks, prints and returns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lattice.contracts import views
from tests.fixtures import cli_answers as answers
from tests.fixtures.cli_gateway import StubGateway, problem

if TYPE_CHECKING:
    from tests.fixtures.cli_run import Cli

pytest_plugins = ["tests.fixtures.cli_run"]

SHOP = "/v1/apps/shop"
FILE = "services: {web: {image: 'nginx:${TAG:-1.27}', environment: [TOKEN]}}\n"


def app(**more: Any) -> dict[str, Any]:
    service = {
        "service": "web",
        "workload": "shop-web",
        "state": "running",
        "ready": 1,
        "replicas": 1,
        "nodes": ("attic",),
    }
    known = {
        "id": "ap-1", "name": "shop", "project": "default", "state": "running", "services": (service,),
        "created_at": answers.NOW, "updated_at": answers.NOW, "version": 2,
    }  # fmt: skip
    return answers.plain(views.AppView.model_validate({**known, **more}))


def accepted(kind: str = "deploy", **more: Any) -> dict[str, Any]:
    operation = answers.accepted(kind=kind)["operation"] | {"subject_name": "shop-web"}
    change = {"service": "web", "workload": "shop-web", "change": "remove" if kind == "remove" else "create"}
    known = {"app": "shop", "changes": (change,), "operations": (operation,), "view": app()}
    return answers.plain(views.AppAccepted.model_validate({**known, **more}))


@pytest.fixture
def shop(gateway: StubGateway) -> StubGateway:
    gateway.on("PUT", SHOP, accepted(), status=202)
    gateway.on("GET", SHOP, app())
    gateway.on("DELETE", SHOP, accepted("remove"), status=202)
    gateway.on("GET", "/v1/apps", answers.listing(app()))
    gateway.on("GET", "/v1/operations/op-1", answers.operation())
    return gateway


def test_a_compose_file_is_sent_with_its_variables_filled(
    cli: Cli, shop: StubGateway, tmp_path: Path
) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text(FILE)
    (tmp_path / ".env").write_text("TAG=1.28\nTOKEN=from-file\n")
    ran = cli("apply", "-f", str(file), "--name", "shop", "--if-match", "1", "--adopt", TOKEN="mine")
    assert ran.code == 0, ran.err
    (sent,) = shop.asked("PUT", SHOP)
    assert sent.json == {"services": {"web": {"image": "nginx:1.28", "environment": ["TOKEN=mine"]}}}
    assert sent.query["adopt"] == "true" and sent.headers["if-match"] == '"1"'
    assert "Filled from your environment or .env: TAG, TOKEN." in ran.err and "mine" not in ran.err
    assert "+ web (shop-web)" in ran.err
    assert "shop-web" in ran.out and "running" in ran.out


def test_the_name_comes_from_the_option_the_file_or_the_folder(
    cli: Cli, shop: StubGateway, tmp_path: Path
) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    for text, arguments in (
        (FILE, ()),
        ("name: shop\n" + FILE, ()),
        ("name: other\n" + FILE, ("--name", "shop")),
    ):
        (folder / "compose.yaml").write_text(text)
        assert cli("apply", "-f", str(folder / "compose.yaml"), *arguments).code == 0
    assert len(shop.asked("PUT", SHOP)) == 3
    assert cli("apply", "-f", "-", stdin=FILE).code == 2


def test_what_is_left_out_and_what_to_know_is_said(cli: Cli, shop: StubGateway) -> None:
    ignored = ({"path": "services.web.build", "detail": "not supported: …"},)
    notes = ({"path": "services.web.ports[0]", "detail": "chosen by Lattice"},)
    shop.on("PUT", SHOP, accepted(ignored=ignored, notes=notes), status=202)
    ran = cli(
        "apply", "-f", "-", "--name", "shop", "--ignore-unsupported", "--no-wait", "-o", "json", stdin=FILE
    )
    assert shop.asked("PUT", SHOP)[0].query["ignore_unsupported"] == "true"
    assert "Left out: services.web.build: not supported: …" in ran.err
    assert "Note: services.web.ports[0]: chosen by Lattice" in ran.err
    assert ran.json["ignored"] == list(ignored)


def test_a_refusal_names_each_place(cli: Cli, shop: StubGateway) -> None:
    errors = [{"pointer": "/services/web/build", "detail": "not supported"}]
    shop.on("PUT", SHOP, problem(422, "invalid", "Invalid request", "one place", errors=errors))
    ran = cli("apply", "-f", "-", "--name", "shop", stdin=FILE)
    assert ran.code == 1 and "services.web.build: not supported" in ran.err


@pytest.mark.parametrize(
    ("arguments", "text", "said"),
    [
        (("--set", "a=1"), FILE, "--set changes the spec of a workload"),
        ((), FILE.replace("${TAG:-1.27}", "${TAG:?which}"), "services.web.image: TAG is not set: which"),
        (("--ignore-unsupported",), "name: a1\nimage: nginx\n", "for compose files"),
    ],
)
def test_what_cannot_be_sent_says_why(
    cli: Cli, shop: StubGateway, arguments: tuple[str, ...], text: str, said: str
) -> None:
    name = ("--name", "shop") if "services" in text else ()
    ran = cli("apply", "-f", "-", *name, *arguments, stdin=text)
    assert ran.code in (1, 2) and said in ran.err
    assert shop.asked("PUT", SHOP) == []


def test_plan_says_what_would_be_done(cli: Cli, shop: StubGateway) -> None:
    changes = [
        {"service": "web", "workload": "shop-web", "change": "update", "fields": ("env", "image")},
        {"service": "db", "workload": "shop-db", "change": "keep"},
        {"service": "old", "workload": "shop-old", "change": "remove"},
    ]
    answer = answers.plain(views.AppPlan.model_validate({"app": "shop", "changes": changes}))
    shop.on("POST", f"{SHOP}/plan", answer)
    ran = cli("app", "plan", "-f", "-", "--name", "shop", stdin=FILE)
    assert ran.out.splitlines() == [
        "~ web (shop-web): env, image",
        "= db (shop-db)",
        "- old (shop-old): its volumes stay",
    ]
    assert cli("app", "plan", "-f", "-", stdin="name: a1\nimage: nginx\n").code == 2


def test_apps_are_listed_shown_and_removed(cli: Cli, shop: StubGateway) -> None:
    assert cli("app", "ls", "-o", "name").out == "shop\n"
    shown = cli("app", "show", "shop")
    assert "Project:  default" in shown.out and "web      shop-web  running    1/1  attic" in shown.out
    assert cli("app", "rm", "shop").code == 2
    ran = cli("app", "rm", "shop", "--volumes", "--yes")
    assert ran.out == "shop is removed.\n"
    assert shop.asked("DELETE", SHOP)[-1].query["volumes"] == "true"
