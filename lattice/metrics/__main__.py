"""`python -m lattice.metrics --write` writes docs/metrics.md; `--check` ends with 1 where it differs from the declarations."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lattice.metrics.table import as_markdown

FILE = Path(__file__).parents[2] / "docs" / "metrics.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file, or check it; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lattice.metrics", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="write the document")
    what.add_argument("--check", action="store_true", help="say whether it differs from the declarations")
    if parser.parse_args(arguments).write:
        FILE.write_text(as_markdown())
        return 0
    same = FILE.exists() and FILE.read_text() == as_markdown()
    sys.stderr.write(
        "" if same else f"{FILE} differs from the declarations: run python -m lattice.metrics --write\n"
    )
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
