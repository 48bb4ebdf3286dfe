"""`python -m dashboards --write` writes all that is made from declarations; `--check` ends with 1 where a file differs from them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dashboards import runbook_index
from dashboards.boards import BOARDS
from dashboards.grafana import as_json
from dashboards.rule_files import rule_files

ROOT = Path(__file__).parents[1]
_RULES = "infra/prometheus/rules"
_BUILT = "dashboards/built"


def files() -> dict[str, str]:
    """Every file that is made here, by its place below the root."""
    rules = {f"{_RULES}/{name}": text for name, text in rule_files().items()}
    built = {f"{_BUILT}/{board.uid}.json": as_json(board) for board in BOARDS}
    return {**rules, **built, "docs/runbooks/README.md": runbook_index.as_markdown()}


def differing(root: Path, wanted: Mapping[str, str]) -> Iterator[str]:
    """What is not as it is wanted, and what nobody wants any more in the folders that belong to us."""
    for place, text in wanted.items():
        path = root / place
        if not path.exists() or path.read_text() != text:
            yield place
    yield from sorted(_left_over(root, wanted))


def _left_over(root: Path, wanted: Mapping[str, str]) -> Iterator[str]:
    for folder in (_RULES, _BUILT):
        for path in (root / folder).glob("*"):
            if (place := path.relative_to(root).as_posix()) not in wanted:
                yield place


def write(root: Path, wanted: Mapping[str, str]) -> None:
    """Make it so."""
    for place in differing(root, wanted):
        path = root / place
        if place in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[place])
        else:
            path.unlink()


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Write the files, or check them; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dashboards", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="write the files")
    what.add_argument("--check", action="store_true", help="say which differ from the declarations")
    if parser.parse_args(arguments).write:
        write(root, files())
        return 0
    wrong = list(differing(root, files()))
    for place in wrong:
        sys.stderr.write(f"{place} differs from the declarations: run python -m dashboards --write\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
