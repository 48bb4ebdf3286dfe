"""Where people are told of alerts: chats, mail, webhooks, an Alertmanager, a dead man's switch."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from lattice.contracts.messages.alerts import Severity
from lattice.contracts.messages.requests import Caller, Page
from lattice.contracts.nouns import Noun, Said


class SinkKind(StrEnum):
    """What a sink is told."""

    MESSAGES = "messages"  # each alert that opens or ends, as a text for people
    ALERTMANAGER = "alertmanager"  # all that are not over, again and again
    HEARTBEAT = "heartbeat"  # that alerts are watched, again and again: who hears nothing for a while knows that they are not


class CreateSink(Noun):
    """A new sink.  Its address is a secret, for it often holds a token."""

    caller: Caller
    name: str
    kind: SinkKind
    url: str
    min_severity: Severity = Severity.INFO
    project: str | None = None


class SinkCommand(Noun):
    """Remove a sink, or send it a test."""

    caller: Caller
    ref: str


class SinkView(Noun):
    """A sink without its address."""

    id: str
    name: str
    kind: SinkKind
    target: str
    min_severity: Severity
    project: str | None = None
    created_by: str
    created_at: datetime
    last_sent_at: datetime | None = None
    problem: Said = ""


class SinkTested(Noun):
    """Whether a test arrived, as far as the other side says."""

    delivered: bool
    problem: Said = ""


class ListDeliveries(Page):
    """What was told to whom, newest first; `sink` is an id or a name."""

    sink: str | None = None


class DeliveryState(StrEnum):
    """Waiting for its turn or for another try, sent, or given up."""

    WAITING = "waiting"
    SENT = "sent"
    FAILED = "failed"


class DeliveryView(Noun):
    """One change of an alert on its way to one sink."""

    id: str
    sink: str
    alert_id: str
    alert: str
    change: str
    state: DeliveryState
    attempts: int
    problem: Said = ""
    created_at: datetime
    done_at: datetime | None = None
