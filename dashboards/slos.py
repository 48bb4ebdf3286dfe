"""What Lattice promises of itself, as shares of what it is asked for.  Pure data.

How fast a budget is used up is said as a multiple of the pace at which it lasts for 30 days: 1 just lasts, at 14.4 it is gone in two.
"""

from __future__ import annotations

from dataclasses import dataclass

from dashboards.promql import keeping, rate
from lattice.metrics.declared import gateway, registry
from lattice.metrics.spec import MetricSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """An objective: of what is counted by `spec` at most `1 - objective` may go wrong.

    Wrong is what has the labels `wrong_where`, or took longer than `within_s`, which is a limit of one of the buckets.
    """

    name: str
    service: str
    objective: float
    promise: str
    spec: MetricSpec
    where: str = ""
    wrong_where: str = ""
    within_s: float = 0.0

    @property
    def budget(self) -> float:
        """The share that may go wrong."""
        return round(1 - self.objective, 6)

    def asked(self, over: str) -> str:
        """How much is asked for, per second."""
        return keeping(self.spec, rate(self.spec, self.where, part="count", over=over))

    def wrong(self, over: str) -> str:
        """How much of it goes wrong; zero where nothing ever did."""
        if self.wrong_where:
            wrong = keeping(
                self.spec, rate(self.spec, _both(self.where, self.wrong_where), part="count", over=over)
            )
            return f"({wrong} or 0 * {self.asked(over)})"
        in_time = _both(self.where, f'le="{float(self.within_s)}"')
        return (
            f"({self.asked(over)} - {keeping(self.spec, rate(self.spec, in_time, part='bucket', over=over))})"
        )


def _both(*matchers: str) -> str:
    return ", ".join(each for each in matchers if each)


SLOS: tuple[Slo, ...] = (
    Slo(
        name="api-availability",
        service="gateway",
        objective=0.999,
        promise="99.9 % of requests to the gateway are answered, not failed by us (5xx).",
        spec=gateway.REQUEST_SECONDS,
        wrong_where='status=~"5.."',
    ),
    Slo(
        name="api-speed",
        service="gateway",
        objective=0.99,
        promise="99 % of changes by the gateway are answered within half a second.",
        spec=gateway.REQUEST_SECONDS,
        where='method=~"POST|PUT|PATCH|DELETE"',
        within_s=0.5,
    ),
    Slo(
        name="placement-speed",
        service="scheduler",
        objective=0.95,
        promise="95 % of instances have a place within a second from when they may run.",
        spec=registry.DEPLOY_SECONDS,
        where='step="placed"',
        within_s=1.0,
    ),
    Slo(
        name="facts-speed",
        service="registry",
        objective=0.999,
        promise="99.9 % of facts are on the bus within a quarter of a second after they were committed.",
        spec=registry.RELAY_SECONDS,
        within_s=0.25,
    ),
)
