"""What the registry can be told from outside; `LATTICE_REGISTRY_…`."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from lattice.port_numbers import read_port_numbers
from lattice.settings import BusSettings, DatabaseSettings, ProcessSettings
from services.registry.disk_watermark import DEFAULT_WATERMARK, Watermark
from services.registry.public_places import PublicPlaces


class RegistrySettings(ProcessSettings):
    """Where its keys are, and how long what it issues lasts."""

    model_config = SettingsConfigDict(env_prefix="LATTICE_REGISTRY_", extra="ignore", frozen=True)

    bus: BusSettings = Field(default_factory=BusSettings)
    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    system_creds_file: Path = Field(
        description="creds of the bus's system account: revokes tickets and cuts links"
    )
    pki_dir: Path = Field(description="the platform's certificate authority")
    authority_dir: Path = Field(description="the keys that sign bus tickets")
    master_key_dir: Path = Field(description="the master key of secrets, outside Postgres")
    cluster_id: str = Field(pattern=r"^[a-z0-9]{8}$", description="set once, at the platform's first start")
    node_nats_urls: list[str] = Field(min_length=1, description="how nodes reach the bus: tls://host:port")
    apps_domain: str = "apps.localhost"
    apps_url: str = Field(
        "", description="how visitors reach a public name: http://{host}.apps.localhost:8080"
    )
    secure_apps_url: str = Field(
        "", description="the same over HTTPS, where `apps_url` is HTTP: https://{host}.apps.localhost:8446"
    )
    tls_url: str = Field(
        "",
        description="how they reach one whose workload has its own certificate: tls://{host}.apps.localhost:8445",
    )
    tcp_host: str = Field(
        "", description="the host of public tcp ports: 127.0.0.1, or {host}.apps.example.com"
    )
    tcp_ports: str = Field("", description="ports of the ingresses for public tcp ports: 20000-20015")
    dns_servers: list[str] = Field(
        default_factory=list,
        description="whom to ask about domains of people's own, address or address:port; default: as this machine does",
    )
    ingress_addresses: list[str] = Field(default_factory=list, description="host:port that nodes dial")
    suspect_after_s: float = Field(7.0, gt=0, description="silence after which a node is suspect")
    unreachable_after_s: float = Field(13.0, gt=0, description="silence after which a node is unreachable")
    mishaps_remembered_s: float = Field(
        86_400.0,
        ge=0,
        description="how long a failed deploy or a dead letter is told of, unless something newer went well",
    )
    mass_loss_hold_s: float = Field(
        900.0, ge=0, description="how long no work moves after many nodes vanished together"
    )
    disk_refuse_above_percent: int = Field(
        DEFAULT_WATERMARK.refuse_above_percent,
        ge=1,
        le=100,
        description="a node whose disk is fuller takes no new work; 100 for no such limit",
    )
    disk_accept_below_percent: int = Field(
        DEFAULT_WATERMARK.accept_below_percent,
        ge=1,
        le=100,
        description="such a node takes work again when its disk is emptier",
    )
    credential_ttl_s: float = Field(86_400, gt=0, description="life of a node's certificate and ticket")

    @model_validator(mode="after")
    def _marks_in_order(self) -> Self:
        if self.disk_accept_below_percent > self.disk_refuse_above_percent:
            raise ValueError("disk_accept_below_percent must not be above disk_refuse_above_percent")
        return self

    @property
    def places(self) -> PublicPlaces:
        """Where the ingresses are."""
        return PublicPlaces(
            ingresses=tuple(self.ingress_addresses),
            apps_domain=self.apps_domain,
            apps_url=self.apps_url,
            secure_apps_url=self.secure_apps_url,
            tls_url=self.tls_url,
            tcp_host=self.tcp_host,
            tcp_ports=read_port_numbers(self.tcp_ports),
        )

    @property
    def disk_watermark(self) -> Watermark:
        """How full a node's disk may be."""
        return Watermark(
            refuse_above_percent=self.disk_refuse_above_percent,
            accept_below_percent=self.disk_accept_below_percent,
        )
