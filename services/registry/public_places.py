"""Where the ingresses are, and what of that is told to nodes and to people.  Settings of the platform; nothing here is stored."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PublicPlaces:
    """`ingresses` (host:port) are for nodes.  `apps_url`, `secure_apps_url` (the same over HTTPS), `tls_url` and `tcp_host` are for visitors, with
    `{host}` for the first label of a public name; `tcp_ports` are those on which the ingresses may listen for what is neither http nor known by
    its name."""

    ingresses: tuple[str, ...] = ()
    apps_domain: str = ""
    apps_url: str = ""
    secure_apps_url: str = ""
    tls_url: str = ""
    tcp_host: str = ""
    tcp_ports: tuple[int, ...] = ()

    def name_of(self, host: str) -> str:
        """The whole public name of which `host` is the first label."""
        return f"{host}.{self.apps_domain}"


NO_PLACES = PublicPlaces()
