"""What is wrong, and what people are told of it.

A trouble is a state that somebody ought to know of, as the registry or the measurements show it now; the alerts service makes alerts of
troubles.  An alert is told with each of its changes: opened, acknowledged, silenced, resolved.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from lattice.contracts.messages.requests import Caller, Page
from lattice.contracts.nouns import Id, Noun, Said

MOST_NOTE_LETTERS = 1000
Note = Annotated[str, Field(max_length=MOST_NOTE_LETTERS)]


class TroubleKind(StrEnum):
    """What is wrong, in the eyes of the registry, or of who gathers what is measured."""

    NODE_PENDING = "node_pending"
    NODE_UNREACHABLE = "node_unreachable"
    NODE_ENGINE_AWAY = "node_engine_away"
    NODE_DISK_LOW = "node_disk_low"
    NODE_CERTIFICATE_EXPIRING = "node_certificate_expiring"
    NODE_CLONED = "node_cloned"
    NODE_VERSION_SKEW = "node_version_skew"
    NODE_CPU_HIGH = "node_cpu_high"
    NODE_MEMORY_LOW = "node_memory_low"
    NODE_DISK_FULL = "node_disk_full"
    NODE_CLOCK_OFF = "node_clock_off"
    TUNNEL_DOWN = "tunnel_down"
    SERVICE_ERRORS = "service_errors"
    MASS_NODE_LOSS = "mass_node_loss"
    WORKLOAD_FAILED = "workload_failed"
    WORKLOAD_CRASH_LOOPING = "workload_crash_looping"
    WORKLOAD_DEGRADED = "workload_degraded"
    WORKLOAD_UNPLACEABLE = "workload_unplaceable"
    DEPLOY_FAILED = "deploy_failed"
    UPDATE_ROLLED_BACK = "update_rolled_back"
    JOB_FAILED = "job_failed"
    DEAD_LETTER = "dead_letter"


class Trouble(Noun):
    """Something that is wrong now.  `since` is when it began to be so; None where nobody noted it."""

    kind: TroubleKind
    project: str
    entity_id: str
    entity_name: str
    since: datetime | None = None
    detail: Said = Field("", description="what is known of the cause, in plain words")
    mark: str = Field(
        "", description="which time it is, of what happens (a deploy, a message): another one is news"
    )


class ListTroubles(Noun):
    """Everything that is wrong now."""


class Troubles(Noun):
    """The answer; it is complete, so what it does not name is not wrong."""

    items: tuple[Trouble, ...] = ()


class Severity(StrEnum):
    """How soon somebody has to look: now, this week, whenever."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class AlertSource(StrEnum):
    """What kind of thing an alert is about."""

    NODE = "node"
    WORKLOAD = "workload"
    SERVICE = "service"
    PLATFORM = "platform"
    ALERTMANAGER = "alertmanager"


class AlertState(StrEnum):
    """Open, or somebody looks after it, or nobody wants to hear of it for now, or over."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    SILENCED = "silenced"
    RESOLVED = "resolved"


class AlertChange(StrEnum):
    """Why an alert is told."""

    OPENED = "opened"
    CHANGED = "changed"  # what is known of the cause
    ACKNOWLEDGED = "acknowledged"
    SILENCED = "silenced"
    UNSILENCED = "unsilenced"
    RESOLVED = "resolved"
    STILL_HERE = "still_here"  # the dead man's switch: who does not hear it for a while should look


class Alert(Noun):
    """An alert as it is now.  `fingerprint` is the same for the same thing gone wrong again; `number` counts the changes of this one."""

    id: Id
    fingerprint: str
    name: str
    severity: Severity
    source: AlertSource
    project: str
    state: AlertState
    change: AlertChange
    number: int
    entity_id: str
    entity_name: str
    summary: str = Field(description="the same sentence for every alert of this name")
    description: Said = Field("", description="what is known of this one")
    labels: dict[str, str] = {}
    runbook_url: str = ""
    dashboard_url: str = ""
    opened_at: datetime
    changed_at: datetime
    resolved_at: datetime | None = None
    resolved_by: str = Field("", description="who said that it is over; empty where it ended by itself")
    acknowledged_by: str = ""
    note: str = Field("", description="what the one who acknowledged it said")
    silenced_until: datetime | None = None
    occurrences: int = Field(1, description="how often it came back before it was quiet for a while")


class ListAlerts(Page):
    """Alerts, newest first: those that are not over, or all of the last 30 days."""

    project: str | None = Field(None, description="None: every project, and the platform's own")
    resolved: bool = Field(False, description="also those that are over")
    severity: Severity | None = None
    name: str | None = None


class GetAlert(Noun):
    """One alert by its id."""

    ref: str


class AlertCommand(Noun):
    """Acknowledge it, or say that it is over.  What is still so opens no new alert before it has once been well again."""

    caller: Caller
    ref: str
    note: Note = ""


class AlertOrder(Noun):
    """The same by a client of the bus itself, whose credential says who it is."""

    alert: str
    note: Note = ""


class SilenceOrder(Noun):
    """Tell nobody of an alert for a while, nor of the same one should it come back meanwhile."""

    alert: str
    for_s: float = Field(ge=60, le=30 * 86_400)
    reason: Note = Field(min_length=1)


class CreateSreCredential(Noun):
    """A credential with which a client of the bus hears alerts: of one project, or all; and may give orders about them, if it is said."""

    caller: Caller
    name: str
    project: str | None = None
    may_order: bool = False
    ttl_s: float


class RevokeSreCredential(Noun):
    """Take it back: by its id or name."""

    caller: Caller
    ref: str


class Matchers(Noun):
    """Which alerts a silence is for: all that is set has to be equal.  At least one is set."""

    fingerprint: str | None = None
    name: str | None = None
    project: str | None = None
    severity: Severity | None = None
    entity: str | None = Field(None, description="the id or the name of a node, workload or service")


class CreateSilence(Noun):
    """Tell nobody of these alerts from `starts_at` (None: now) to `ends_at`: a silence, or a maintenance window that is announced."""

    caller: Caller
    matchers: Matchers
    starts_at: datetime | None = None
    ends_at: datetime
    reason: Note


class EndSilence(Noun):
    """End a silence, or call a window off."""

    caller: Caller
    ref: str


class SilenceView(Noun):
    """A time in which nobody is told of certain alerts."""

    id: str
    matchers: Matchers
    starts_at: datetime
    ends_at: datetime
    reason: str
    created_by: str
    active: bool


class ForeignAlert(Noun):
    """An alert of somebody else's, as Alertmanager tells of it."""

    fingerprint: str = Field(min_length=1, max_length=128)
    firing: bool
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class ReceiveAlerts(Noun):
    """What an Alertmanager says; what it does not name stays as it is."""

    alerts: tuple[ForeignAlert, ...] = ()


class AlertsReceived(Noun):
    """How many of them opened an alert, how many ended one, and how many were our own that came back."""

    opened: int = 0
    resolved: int = 0
    ours: int = 0
