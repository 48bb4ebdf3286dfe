"""Makes text from outside harmless for a terminal.

A container can write anything into its log, and a name or an error may quote it: an escape sequence could retitle the window, move the
cursor over lines already printed or, in some terminals, type commands.  Whole sequences are dropped, then every other control
character, including the C1 block (one-character escapes) and the marks that reverse the reading direction.  An unfinished sequence
loses its escape character only, so that nobody can hide the rest of a line behind one.
"""

from __future__ import annotations

import codecs
import re

_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor movements
    r"|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # OSC: titles, clipboard
    r"|(?:\x1b[PX^_]|[\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x1b\\|\x9c)"  # DCS, SOS, PM, APC
    r"|\x1b[ -/]+[0-~]"  # character sets
)
_DIRECTION_MARKS = "\u200e\u200f\u202a-\u202e\u2066-\u2069"
_UNSAFE = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029{_DIRECTION_MARKS}\ud800-\udfff]")
_BREAKS = re.compile(r"[\r\n\t]+")


def clean_text(text: str) -> str:
    """`text` without anything that steers a terminal; newlines and tabs stay."""
    return _UNSAFE.sub("", _SEQUENCE.sub("", text))


def clean_line(text: str) -> str:
    """As `clean_text`, on one line: for names, reasons, table cells."""
    return clean_text(_BREAKS.sub(" ", text)).strip()


def escape_for_json(document: str) -> str:
    r"""Writes what JSON leaves readable but a terminal would obey as `\uXXXX`: the same document, harmless to look at."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", document)


def is_safe(text: str) -> bool:
    """Whether `text` can be printed as it is."""
    return _UNSAFE.search(text) is None


class ByteCleaner:
    """Cleans a stream of bytes that arrives in pieces, where a character may be cut in two."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def clean(self, piece: bytes) -> bytes:
        return clean_text(self._decoder.decode(piece)).encode()
