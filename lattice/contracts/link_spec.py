"""A name for another workload of the project, inside the containers of the one that has the link, wherever either of them runs."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from lattice.contracts.nouns import Name
from lattice.contracts.spec_model import SpecModel

PortNumber = Annotated[int, Field(ge=1, le=65535, strict=True)]


class LinkSpec(SpecModel):
    """`{workload: orders-db, as: db}`: inside, `db` answers on the ports of orders-db."""

    workload: Name = Field(description="the workload that it leads to")
    as_: Name | None = Field(None, alias="as", description="the host name inside; else the workload's own")
    port: PortNumber | Name | None = Field(
        None, description="only this port of it, by number or name; else all that it has"
    )
    at: PortNumber | None = Field(
        None, description="the number under which that port answers inside; else its own"
    )

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    @model_validator(mode="after")
    def _at_is_of_one_port(self) -> Self:
        if self.at is not None and self.port is None:
            raise ValueError(f"at: {self.at} is a number for one port: say which with `port`")
        return self

    @property
    def host(self) -> str:
        """The host name inside."""
        return self.as_ or self.workload
