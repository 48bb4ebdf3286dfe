"""Asks DNS what a domain is an alias of, and which texts stand beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.name
import dns.resolver

from lattice.errors import Invalid
from services.registry.domain_rules import DnsAnswer, text_name

AskDns = Callable[[str], Awaitable[DnsAnswer]]

_LIFETIME_S = 4.0
# One domain whose servers are slow does not hold up all others.
_ALL_WITHIN_S = 8.0
_LONGEST_CHAIN = 8


def resolver(servers: Sequence[str]) -> AskDns:
    """Asks these servers (`address` or `address:port`), or those of this machine where none is named."""
    made = dns.asyncresolver.Resolver(configure=not servers)
    if servers:
        made.nameservers = [_server(each) for each in servers]
    made.lifetime = _LIFETIME_S

    async def ask(domain: str) -> DnsAnswer:
        aliases: tuple[str, ...] = ()
        try:
            async with asyncio.timeout(_ALL_WITHIN_S):
                aliases = await _aliases(made, domain)
                return DnsAnswer(aliases=aliases, texts=await _texts(made, domain))
        except (dns.exception.DNSException, TimeoutError) as error:
            # Some servers fail for names below an alias: what is known already may be proof enough.
            return DnsAnswer(aliases=aliases, problem=f"DNS gave no answer: {error or 'it took too long'}")

    return ask


def _server(text: str) -> dns.nameserver.Nameserver:
    address, colon, port = text.rpartition(":")
    if not colon:
        return dns.nameserver.Do53Nameserver(text, 53)
    if not port.isdigit():
        raise Invalid(f"{text!r} is no address of a DNS server: write 192.0.2.53 or 192.0.2.53:5353")
    return dns.nameserver.Do53Nameserver(address.strip("[]"), int(port))


async def _aliases(asked: dns.asyncresolver.Resolver, domain: str) -> tuple[str, ...]:
    """One by one: where an alias leads need not exist for anybody but us (`*.localhost`, an inner zone)."""
    found = [_plain(each.target) for each in await _records(asked, domain, "CNAME")]
    while 0 < len(found) < _LONGEST_CHAIN:
        try:
            records = await _records(asked, found[-1], "CNAME")
        except dns.exception.DNSException:
            break
        if not records:
            break
        found.append(_plain(records[0].target))
    return tuple(found)


async def _texts(asked: dns.asyncresolver.Resolver, domain: str) -> tuple[str, ...]:
    records = await _records(asked, text_name(domain), "TXT")
    return tuple(
        b"".join(each.strings).decode("ascii", "replace").strip().rstrip(".").lower() for each in records
    )


async def _records(asked: dns.asyncresolver.Resolver, name: str, kind: str) -> list[Any]:
    try:
        return [*await asked.resolve(name, kind, search=False, raise_on_no_answer=True)]
    except (dns.resolver.NoAnswer, dns.resolver.NXDOMAIN):
        return []


def _plain(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()
