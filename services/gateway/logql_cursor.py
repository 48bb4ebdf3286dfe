"""Goes through the words of a query from left to right.  Pure."""

from __future__ import annotations

from typing import NoReturn

from services.gateway.logql_words import Kind, Word, refuse, words


class Cursor:
    """A text, and which of its words comes next."""

    def __init__(self, text: str) -> None:
        self._text, self._words, self._next = text, words(text), 0

    def after_signs(self, sign: str) -> Word:
        """The first word from here on that is not this sign."""
        coming = self._words[self._next :]
        return next(word for word in coming if word.kind is not Kind.SIGN or word.text != sign)

    @property
    def word(self) -> Word:
        """The word that comes next."""
        return self._words[self._next]

    def step(self) -> Word:
        """Take it, whatever it is."""
        word = self.word
        self._next = min(self._next + 1, len(self._words) - 1)
        return word

    def is_sign(self, *signs: str) -> bool:
        """Whether it is one of these signs."""
        return self.word.kind is Kind.SIGN and self.word.text in signs

    def compares_next(self) -> bool:
        """Whether a comparison follows it."""
        after = self._words[min(self._next + 1, len(self._words) - 1)]
        return after.kind is Kind.SIGN and after.text in ("=", "==", "=~", ">", ">=", "<", "<=")

    def skip(self, sign: str) -> bool:
        """Take it if it is this sign."""
        found = self.is_sign(sign)
        if found:
            self.step()
        return found

    def skip_name(self, name: str) -> bool:
        """Take it if it is this name."""
        found = self.word.kind is Kind.NAME and self.word.text == name
        if found:
            self.step()
        return found

    def take(self, sign: str) -> None:
        """Take this sign.  Raises Invalid where something else stands."""
        if not self.skip(sign):
            self.refuse(self.word, f"{sign!r} is expected")

    def take_kind(self, kind: Kind) -> Word:
        """Take a word of this sort.  Raises Invalid where something else stands."""
        if self.word.kind is not kind:
            self.refuse(self.word, f"{kind.value} is expected")
        return self.step()

    def refuse(self, word: Word, why: str) -> NoReturn:
        """Say why the query is not understood at this word."""
        found = "the end" if word.kind is Kind.END else repr(word.text[:50])
        refuse(self._text, word.at, f"at {found}: {why}")
