"""What a request says beside its parameters: its body within the limit, its Idempotency-Key, its If-Match, and a hash of what it asks for.

Text that no database and no JSON can carry (NUL, half a surrogate pair) is refused here, once for all routes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

from starlette.datastructures import Headers, QueryParams

from lattice.contracts.nouns import UNSTORABLE
from lattice.errors import FieldError, Invalid

_KEY = re.compile(r"^[\x21-\x7e]{1,255}$")
_ETAG = re.compile(r'^"([\x21\x23-\x7e]{1,128})"$')


def idempotency_key(headers: Headers) -> str | None:
    """The request's Idempotency-Key; Invalid if it cannot be one."""
    key = headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise _invalid_header("Idempotency-Key", "give 1 to 255 visible ASCII characters")
    return key


def if_match(headers: Headers) -> str | None:
    """The version that the caller saw, None if any will do; Invalid if it is not one entity tag."""
    value = headers.get("if-match")
    if value is None or value.strip() == "*":
        return None
    match = _ETAG.fullmatch(value.strip())
    if match is None:
        raise _invalid_header("If-Match", 'give the one entity tag that the ETag header showed, such as "7"')
    return match[1]


def request_hash(method: str, path: str, query: str, body: bytes) -> str:
    """Equal for requests that ask for the same, however their JSON is written."""
    try:
        canonical = json.dumps(json.loads(body), sort_keys=True, separators=(",", ":")).encode()
    except (ValueError, RecursionError):
        canonical = body
    asked = b"\n".join((method.encode(), path.encode(), query.encode(), canonical))
    return hashlib.sha256(asked).hexdigest()


def check_query(query: QueryParams, known: frozenset[str], lists: frozenset[str] = frozenset()) -> None:
    """Refuse parameters that the route does not know, or that are given twice and are no lists: a typo would silently mean something else."""
    given = [name for name, _ in query.multi_items()]
    errors: list[FieldError] = [
        {"pointer": f"/query/{name}", "detail": _unknown(name, known)} for name in sorted(set(given) - known)
    ]
    errors += [
        {"pointer": f"/query/{name}", "detail": "given twice"}
        for name in sorted({name for name in given if given.count(name) > 1} & known - lists)
    ]
    if errors:
        raise Invalid(
            f"The query is not valid: {errors[0]['pointer']}: {errors[0]['detail']}.", errors=errors
        )


def check_text(query: QueryParams, path_values: Iterable[object], body: bytes) -> None:
    """Refuse text that cannot be stored."""
    given = [*(text for pair in query.multi_items() for text in pair), *map(str, path_values)]
    if any(UNSTORABLE.search(text) for text in given) or _body_has_bad_text(body):
        raise Invalid("The request holds a NUL character or half a surrogate pair, which cannot be stored.")


def _body_has_bad_text(body: bytes) -> bool:
    # Both can reach the parsed body only as escapes, which few bodies have: the others are not parsed twice.
    lowered = body.lower()
    if b"\\u0000" not in lowered and b"\\ud" not in lowered:
        return False
    try:
        return _holds_bad_text(json.loads(body))
    except (ValueError, RecursionError):
        return False  # not JSON: refused later, with the place


def _holds_bad_text(value: Any) -> bool:
    if isinstance(value, str):
        return UNSTORABLE.search(value) is not None
    if isinstance(value, dict):
        return any(_holds_bad_text(key) or _holds_bad_text(item) for key, item in value.items())
    return isinstance(value, list) and any(map(_holds_bad_text, value))


def _unknown(name: str, known: frozenset[str]) -> str:
    if "token" in name.lower() or "key" in name.lower():
        return "credentials are never taken from a URL: send the Authorization header"
    return f"unknown; this route takes {', '.join(sorted(known)) or 'no parameters'}"


def _invalid_header(name: str, rule: str) -> Invalid:
    return Invalid(
        f"The header {name} is not valid: {rule}.", errors=[{"pointer": f"/header/{name}", "detail": rule}]
    )
