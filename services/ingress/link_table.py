"""Which workloads others have links to, and who may use them.  Pure: the documents come in, a choice with its reason goes out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lattice.contracts.messages import LinkCall, LinkDocument
from services.ingress.routing import Nowhere


@dataclass(frozen=True, slots=True)
class LinkTable:
    """The newest document of each workload's name."""

    by_name: Mapping[tuple[str, str], LinkDocument] = field(default_factory=dict)

    def with_documents(self, documents: Iterable[LinkDocument]) -> LinkTable:
        """The table after these came; those that are not newer change nothing."""
        by_name = dict(self.by_name)
        for document in documents:
            name = (document.project, document.workload_name)
            known = by_name.get(name)
            if known is None or known.order < document.order:
                by_name[name] = document
        return LinkTable(by_name)

    def find(self, call: LinkCall, node_id: str) -> LinkDocument | Nowhere:
        """Where a node's call leads, with the endpoints of its port alone.  A node may ask for what its instances have links to."""
        document = self.by_name.get((call.project, call.workload_name))
        if document is None or call.container_port not in document.clients.get(node_id, ()):
            # The node may have started its instance before this was heard here.
            return Nowhere(f"nothing on this node has a link to {call.workload_name}", passing=True)
        there = tuple(each for each in document.endpoints if each.container_port == call.container_port)
        return document.model_copy(update={"endpoints": there})
