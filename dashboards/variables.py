"""The choices at the heads of dashboards, and what queries say to heed them.  Pure."""

from __future__ import annotations

from dashboards.board import Variable
from dashboards.promql import select
from lattice.metrics.declared import node, process, workload

NODE = Variable(name="node", label="Node", query=f"label_values({select(node.INFO)}, node)")
PROJECT = Variable(name="project", label="Project", query=f"label_values({select(workload.UP)}, project)")
OF_PROJECT = 'project=~"$project"'
WORKLOAD = Variable(
    name="workload", label="Workload", query=f"label_values({select(workload.UP, OF_PROJECT)}, workload)"
)
SERVICE = Variable(name="service", label="Service", query=f"label_values({select(process.READY)}, service)")

OF_NODE = 'node=~"$node"'
OF_WORKLOAD = f'{OF_PROJECT}, workload=~"$workload"'
OF_SERVICE = 'service=~"$service"'
