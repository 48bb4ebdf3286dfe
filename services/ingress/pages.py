"""What a visitor sees where there is nothing to see: which of us is at fault, and what it waits for.  Pure."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from math import ceil


@dataclass(frozen=True, slots=True)
class Page:
    """An answer of our own."""

    status: int
    title: str
    detail: str
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def body(self) -> bytes:
        """A small page without anything from elsewhere; the status and the words are in it for people who read it with curl."""
        title, detail = escape(self.title), escape(self.detail)
        return (
            "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
            f"<title>{self.status} {title}</title>"
            "<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:15vh auto;padding:0 1rem;color-scheme:light dark}"
            "h1{font-size:1.4rem}small{opacity:.7}</style>"
            f"<h1>{title}</h1><p>{detail}</p><small>{self.status} · Lattice</small></html>\n"
        ).encode()


def bad_request(why: str) -> Page:
    return Page(400, "This request cannot be understood", f"{why}.")


def who_are_you(*, asks_people: bool) -> Page:
    challenge = 'Basic realm="Lattice", charset="UTF-8"' if asks_people else "Bearer"
    return Page(401, "Who are you?", "This address asks for credentials.", (("www-authenticate", challenge),))


def not_from_there(workload: str) -> Page:
    return Page(403, f"{workload} is not open to you", "It lets visitors in from certain networks only.")


def taken_down(why: str) -> Page:
    return Page(403, "This address was closed", f"The operators of this platform closed it: {why}.")


def too_large(most_bytes: int) -> Page:
    return Page(413, "The request is too large", f"Its body may have {most_bytes} bytes.")


def too_often(rate: str) -> Page:
    amount, _, unit = rate.partition("/")
    wait_s = ceil({"second": 1, "minute": 60, "hour": 3600}[unit] / int(amount))
    return Page(
        429,
        "Too many requests",
        f"This address takes {rate.replace('/', ' a ')} from each visitor.",
        (("retry-after", str(wait_s)),),
    )


def no_such_name(host: str) -> Page:
    return Page(404, "There is nothing here", f"No workload has the public name {host or '(none)'}.")


def known_name(name: str) -> Page:
    return Page(200, name, "This name leads to a workload here, so a certificate for it is in order.")


def too_slow_a_request() -> Page:
    return Page(408, "The request took too long", "Its head did not arrive in time.")


def not_reached(workload: str, why: str) -> Page:
    return Page(502, f"{workload} was not reached", f"The connection to it failed: {why}.")


def not_ready(workload: str, why: str, *, passing: bool) -> Page:
    hope = " Try again in a moment." if passing else ""
    return Page(503, f"{workload} is not ready", f"{why[:1].upper()}{why[1:]}.{hope}")


def too_many() -> Page:
    return Page(503, "Too many visitors", "All connections of this ingress are taken. Try again in a moment.")


def took_too_long(workload: str, total_s: float) -> Page:
    return Page(504, f"{workload} took too long", f"A request and its answer may take {total_s:g} s in all.")


def no_answer(workload: str, waited_s: float) -> Page:
    return Page(
        504, f"{workload} does not answer", f"It took the request and said nothing for {waited_s:g} s."
    )
