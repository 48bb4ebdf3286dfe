"""Links as people are shown them: where they lead, and what the ingresses were told of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lattice.contracts.messages import LinkDocument, RunLink, RunSpec
from lattice.contracts.views import LinkView
from lattice.storage import In, Transaction
from services.registry.tables import LinkTargetRow, RevisionRow, WorkloadRow


async def links_of(
    tx: Transaction, rows: Sequence[WorkloadRow], revisions: Mapping[str, RevisionRow]
) -> dict[str, tuple[LinkView, ...]]:
    """workload id -> its links, by the revision that it runs."""
    links = {
        row.id: RunSpec.model_validate(revisions[row.id].run).links
        for row in rows
        if revisions[row.id].run.get("links")
    }
    if not links:
        return {}
    names = tuple(sorted({link.workload for each in links.values() for link in each}))
    projects = tuple(sorted({row.project for row in rows if row.id in links}))
    told = {
        (row.project, row.name): LinkDocument.model_validate(row.document)
        for row in await tx.find(LinkTargetRow, project=In(projects), name=In(names))
    }
    return {
        row.id: tuple(_view(link, told.get((row.project, link.workload))) for link in links[row.id])
        for row in rows
        if row.id in links
    }


def _view(link: RunLink, told: LinkDocument | None) -> LinkView:
    return LinkView(
        host=link.hosts[0],
        workload=link.workload,
        ports=tuple(port.at for port in link.ports),
        reason="it has just been made" if told is None else told.waiting_for,
    )
