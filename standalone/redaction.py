"""Takes secrets out of text that is to leave this machine.  Two nets: the values that this platform is known to keep, wherever they stand,
and the forms that secrets have, whosever they are.

Pure.  What is taken out leaves a mark, so a reader sees that something stood there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MARK = "[redacted]"
# Anything shorter would stand in ordinary text by chance.
SHORTEST = 8

_FORMS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
        ),
        MARK,
    ),
    (re.compile(r"\bla[ts]_[a-z0-9]{26}_[A-Za-z0-9]+"), MARK),
    (re.compile(r"\blattice-join\.[A-Za-z0-9_=-]+"), MARK),
    (re.compile(r"\bS[OANUX][A-Z2-7]{40,}"), MARK),  # the seed of a bus key
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+"), MARK),  # a ticket (JWT)
    (re.compile(r"(?i)\b(bearer|basic)\s+[^\s\"',]+"), rf"\1 {MARK}"),
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s@]+@"), rf"\1{MARK}@"),
    (
        re.compile(
            r"(?i)((?:password|passwd|passphrase|secret|token|api[_-]?key|credentials?)[\"']?\s*[:=]\s*[\"']?)"
            r"(?!\[redacted\])[^\s\"',;&}]{4,}"
        ),
        rf"\1{MARK}",
    ),
)


class Redactor:
    """Knows the secrets of one platform."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {secret.strip() for secret in secrets}
        long_enough = sorted((each for each in known if len(each) >= SHORTEST), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, long_enough))) if long_enough else None

    def clean(self, text: str) -> str:
        """The text without secrets; cleaning it again changes nothing."""
        if self._known is not None:
            text = self._known.sub(MARK, text)
        for form, instead in _FORMS:
            text = form.sub(instead, text)
        return text
