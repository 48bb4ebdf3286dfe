"""What makes an approved machine a node: a client certificate and a ticket for the bus, both for a short time.

Both are signed here and can be signed again at any time from what the node sent at enrolment; no private key of a node is ever here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from lattice import identity, pki
from lattice.contracts.messages import NodeCredentials


@dataclass(frozen=True, slots=True)
class Issuer:
    """Signs for nodes, and knows where they find the bus."""

    certificates: pki.Authority
    tickets: identity.NatsAuthority
    cluster_id: str
    nats_urls: tuple[str, ...]
    nats_server_name: str

    @property
    def ca_fingerprint(self) -> str:
        """What a join token carries, so that a machine trusts the right cluster from the first byte."""
        return pki.ca_fingerprint(self.certificates.root)

    def node_credentials(
        self, node_id: str, *, csr_pem: str, nkey: str, now: datetime, lifetime: timedelta
    ) -> NodeCredentials:
        """Credentials from `now` for `lifetime`.  Raises Invalid for a request or key that cannot be used."""
        leaf = pki.issue_node(self.certificates, csr_pem.encode(), node_id, now=now, lifetime=lifetime)
        expires_at = now + lifetime
        return NodeCredentials(
            certificate_pem=self.certificates.chain_pem(leaf).decode(),
            ca_pem=self.certificates.trust_pem.decode(),
            jwt=identity.node_user_jwt(self.tickets, node_id, nkey, issued_at=now, expires_at=expires_at),
            expires_at=expires_at,
            cluster_id=self.cluster_id,
            nats_urls=self.nats_urls,
            nats_server_name=self.nats_server_name,
        )
