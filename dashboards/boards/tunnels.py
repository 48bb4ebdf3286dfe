"""Tunnels: how visitors and links reach workloads.  Pure data."""

from __future__ import annotations

from dashboards.board import Board, Row, Threshold, Unit, number, series
from dashboards.promql import increase, largest, or_zero, rate, select, total
from dashboards.recording_rules import WORKLOAD_ANSWERS, WORKLOAD_ERRORS
from dashboards.variables import NODE, OF_NODE, OF_WORKLOAD, PROJECT, WORKLOAD
from lattice.metrics.declared import ingress, node

_NAME = "{{project}}/{{workload}}"

_NOW = Row(
    title="Now",
    panels=(
        number(
            "Routes",
            "Public names that lead somewhere or are waiting.",
            Unit.COUNT,
            largest(select(ingress.ROUTES)),
            width=6,
        ),
        number(
            "Links of nodes",
            "Connections that nodes hold to the ingress.",
            Unit.COUNT,
            total(select(ingress.LINKS)),
            width=6,
            thresholds=(Threshold(at=1, colour="green"),),
        ),
        number(
            "Visitors", "Open connections of visitors.", Unit.COUNT, total(select(ingress.VISITORS)), width=6
        ),
        number(
            "Visitors over TCP",
            "Open connections to TCP ports.",
            Unit.COUNT,
            total(select(ingress.TCP_VISITORS)),
            width=6,
        ),
    ),
)
_VISITORS = Row(
    title="Visitors",
    panels=(
        series(
            "Answers",
            "Answers to visitors, by class of status.",
            Unit.REQUESTS_PER_SECOND,
            {"{{status}}": or_zero(total(rate(ingress.ANSWERS, OF_WORKLOAD), "status"))},
            stacked=True,
        ),
        series(
            "Answers by workload",
            "The ten that are visited most.",
            Unit.REQUESTS_PER_SECOND,
            {_NAME: or_zero(f"topk(10, {WORKLOAD_ANSWERS.record}{{{OF_WORKLOAD}}})")},
        ),
        series(
            "Errors by workload",
            "Which share of answers is a 5xx.",
            Unit.SHARE,
            {_NAME: or_zero(f"{WORKLOAD_ERRORS.record}{{{OF_WORKLOAD}}}")},
        ),
        series(
            "Ended by limits",
            "Connections of visitors that were silent for too long, or there for too long.",
            Unit.COUNT,
            {"{{limit}}": or_zero(total(increase(ingress.OUT_OF_TIME), "limit"))},
        ),
        series(
            "Fenced links",
            "Links ended because a newer session of their node came.",
            Unit.COUNT,
            {"fenced": total(increase(ingress.FENCED))},
        ),
    ),
)
_TUNNELS = Row(
    title="Tunnels",
    panels=(
        series(
            "Ingress",
            "Bytes to and from nodes, as ingresses count them.",
            Unit.BYTES_PER_SECOND,
            {
                "to nodes": total(rate(ingress.TUNNEL_SENT)),
                "from nodes": total(rate(ingress.TUNNEL_RECEIVED)),
            },
        ),
        series(
            "Nodes",
            "Bytes through the tunnels, as nodes count them.",
            Unit.BYTES_PER_SECOND,
            {
                "{{node}}: sent": total(rate(node.TUNNEL_SENT, OF_NODE), "node"),
                "{{node}}: received": total(rate(node.TUNNEL_RECEIVED, OF_NODE), "node"),
            },
        ),
        series(
            "Connections in them",
            "Connections of visitors and links, and the tunnels that carry them.",
            Unit.COUNT,
            {
                "{{node}}": largest(select(node.TUNNEL_STREAMS, OF_NODE), "node"),
                "{{node}}: tunnels": largest(select(node.TUNNEL_LINKS, OF_NODE), "node"),
            },
        ),
    ),
)

BOARD = Board(
    uid="lattice-tunnels",
    title="Tunnels",
    description="How visitors and links reach workloads: public names, ingresses, tunnels.",
    rows=(_NOW, _VISITORS, _TUNNELS),
    variables=(NODE, PROJECT, WORKLOAD),
)
