"""Where the instances of a workload may run, and where they would rather: the part of a spec that the scheduler reads."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from lattice.contracts.nouns import Name
from lattice.contracts.spec_model import SpecModel


class PlacementStrategy(StrEnum):
    SPREAD = "spread"  # the node that is least full
    BINPACK = "binpack"  # the node that is fullest, so that others stay empty


_LABEL = r"label\.[A-Za-z0-9_./-]{1,63}"
Weight = Annotated[int, Field(ge=1, le=100, strict=True)]
Topology = Annotated[str, Field(pattern=rf"^(?:node|{_LABEL})$(?!\n)")]


def _constraint(text: str) -> str:
    parse_constraint(text)
    return text


Constraint = Annotated[str, Field(max_length=256), AfterValidator(_constraint)]


class PreferredConstraint(SpecModel):
    """A constraint that is wished for: among nodes that spread the workload equally well, the greatest sum of weights wins."""

    constraint: Constraint
    weight: Weight = 50


class AffinityRule(SpecModel):
    """Where the instances of another workload of the project are, or of this one: required, or with a weight wished for."""

    workload: Name
    topology: Topology = Field("node", description="what counts as together: `node`, or `label.KEY`")
    weight: Weight | None = Field(None, description="makes it a wish; without it, it is required")


class PlacementSpec(SpecModel):
    """Where instances may run: a pool of the list, every constraint true, every required rule kept; and which of those nodes is best."""

    pools: Annotated[tuple[Name, ...], Field(min_length=1, max_length=16)] = ("default",)
    constraints: Annotated[tuple[Constraint, ...], Field(max_length=32)] = ()
    spread: Annotated[str, Field(pattern=rf"^(?:none|node|{_LABEL})$(?!\n)")] = Field(
        "node", description="`node`, `label.KEY` or `none`: over what instances are spread before all else"
    )
    strategy: PlacementStrategy = PlacementStrategy.SPREAD
    preferred: Annotated[tuple[PreferredConstraint, ...], Field(max_length=32)] = ()
    affinity: Annotated[tuple[AffinityRule, ...], Field(max_length=16)] = ()
    anti_affinity: Annotated[tuple[AffinityRule, ...], Field(max_length=16)] = ()

    @property
    def keeps_apart(self) -> bool:
        """Whether there is a workload that must not be with this one."""
        return any(rule.weight is None for rule in self.anti_affinity)


_CONSTRAINT = re.compile(
    r"^\s*(arch|os|node|pool|label\.[A-Za-z0-9_./-]{1,63})\s*(==|!=)\s*([A-Za-z0-9_./:-]{1,128})\s*$"
)


def parse_constraint(text: str) -> tuple[str, str, str]:
    """(`label.zone`, `==`, `home`) from `label.zone == home`; ValueError says what is accepted."""
    match = _CONSTRAINT.match(text)
    if match is None:
        raise ValueError(
            f"cannot read {text!r}: write arch|os|node|pool|label.KEY, then == or !=, then a value"
        )
    return match[1], match[2], match[3]
