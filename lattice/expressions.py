"""Regular expressions that people write: RE2's, whose time grows with the text and never with the expression.  Pure."""

from __future__ import annotations

from typing import Any

import re2

from lattice.errors import Invalid

_MOST_MEMORY_BYTES = 8 * 2**20


def compiled(expression: str) -> Any:
    """Ready to search.  Raises Invalid for an expression that is none."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MOST_MEMORY_BYTES
    try:
        return re2.compile(expression, options=options)
    except re2.error as error:
        said = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise Invalid(f"{expression!r} is no regular expression (RE2): {said}") from error
