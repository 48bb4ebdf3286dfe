"""Who may come in by a public name, and how much of them."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated

from pydantic import AfterValidator, Field

from lattice.contracts.nouns import Name
from lattice.contracts.quantities import SizeBytes
from lattice.contracts.spec_model import SpecModel


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError as error:
        raise ValueError(
            f"write an address or a network, such as 192.0.2.7 or 2001:db8::/32: {error}"
        ) from None


class GuardSpec(SpecModel):
    """What stands in front of a public http port.  All that is given must hold; of the two kinds of credentials one is enough."""

    allow: Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], Field(max_length=64)] = Field(
        (), description="networks that visitors come from; empty for all"
    )
    basic_auth: Name | None = Field(None, description="a secret `user:password` that browsers ask people for")
    bearer: Name | None = Field(
        None, description="a secret: the token of programs (`Authorization: Bearer …`)"
    )
    rate: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,6}/(?:second|minute|hour)$(?!\n)")] | None = Field(
        None, description="requests of one address: `100/minute`"
    )
    max_body: SizeBytes | None = Field(None, description="the largest body of a request")

    @property
    def secrets(self) -> tuple[tuple[str, Name], ...]:
        """(field, name) of the secrets that it needs."""
        named = (("basic_auth", self.basic_auth), ("bearer", self.bearer))
        return tuple((field, name) for field, name in named if name is not None)
