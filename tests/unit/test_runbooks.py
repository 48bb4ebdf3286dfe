"""Every alert has its page, every page its alert, and what the pages tell people to type and to look at is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from cli.main import build_app
from dashboards.boards import BOARDS
from lattice.alerts import BY_NAME, AlertSpec
from tests.fixtures.written_commands import commands, problem
from tests.house_rules import ROOT

DOCS = ROOT / "docs"
FOLDER = DOCS / "runbooks"
ROOT_COMMAND = typer.main.get_command(build_app())
PARTS = ("## How to look", "## What to do", "## How it ends")
# Of Prometheus' own pages.
_ELSEWHERE = {"Status → Targets", "Service Discovery"}
PAGES = [*sorted(FOLDER.glob("*.md")), DOCS / "alerts.md"]
every_runbook = pytest.mark.parametrize("page", sorted(FOLDER.glob("*.md")), ids=lambda page: page.stem)
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def test_each_alert_has_a_page_and_each_page_an_alert() -> None:
    assert {path.stem for path in FOLDER.glob("*.md")} - {"README"} == {
        spec.runbook for spec in BY_NAME.values()
    }


@pytest.mark.parametrize("spec", BY_NAME.values(), ids=BY_NAME)
def test_a_page_says_what_it_is_about_how_to_look_what_to_do_and_how_it_ends(spec: AlertSpec) -> None:
    text = (FOLDER / f"{spec.runbook}.md").read_text()
    assert text.startswith(f"# {spec.name}\n\n**{spec.summary}**\n\n")
    assert [line for line in text.splitlines() if line.startswith("## ")] == list(PARTS)


@every_page
def test_the_commands_that_a_page_names_exist(page: Path) -> None:
    found = list(commands(page.read_text()))
    assert [f"{' '.join(words)}: {why}" for words in found if (why := problem(ROOT_COMMAND, words))] == []


def test_a_command_that_does_not_exist_is_noticed() -> None:
    text = "Type `lattice nodes ls`, or\n```\nlattice logs NAME --sinse 1h  # --nor this\nlattice logs NAME -n 5\n```\n"
    assert [problem(ROOT_COMMAND, words) for words in commands(text)] == [
        "logs has no option --sinse",
        "",
        "there is no command 'nodes' in lattice",
    ]


@every_runbook
def test_the_dashboards_and_panels_that_a_page_names_exist(page: Path) -> None:
    text = re.sub(r"^```.*?^```|`[^`]*`|\*\*[^*]+\*\*", "", page.read_text(), flags=re.S | re.M)
    shown = {title for board in BOARDS for title in (board.title, *(row.title for row in board.rows))}
    shown |= {panel.title for board in BOARDS for panel in board.panels}
    assert set(re.findall(r"(?<!\*)\*([^*\n]+)\*(?!\*)", text)) - shown - _ELSEWHERE - {"Opened by"} == set()


@every_page
def test_the_pages_to_which_a_page_leads_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target
