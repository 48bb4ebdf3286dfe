"""Every alert of Lattice, declared once: what it is called, how grave it is, when it opens and when it is over.  Pure data.

The alerts service opens them, Prometheus rules and the index of the runbooks are made from them.  Names and severities follow the conventions
of Prometheus: CamelCase with one first word, a summary that is the same sentence for all alerts of a name, so that a group has one headline.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from lattice.contracts.messages import AlertSource, Severity, TroubleKind


class Witness(StrEnum):
    """Whose word an alert rests on; while the witness is silent, none of its alerts opens or ends."""

    REGISTRY = "registry"
    METRICS = "metrics"
    ALERTS = "alerts"  # the alerts service itself
    ALERTMANAGER = "alertmanager"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSpec:
    """One alert.

    It opens once what is wrong has been so for `opens_after_s`, and is over once it has been well again for `resolves_after_s`.
    """

    name: str
    severity: Severity
    source: AlertSource
    summary: str
    meaning: str
    witness: Witness = Witness.REGISTRY
    trouble: TroubleKind | None = None
    opens_after_s: float = 0.0
    resolves_after_s: float = 10.0

    @property
    def runbook(self) -> str:
        """The name of its page below docs/runbooks: `LatticeNodeUnreachable` is `node-unreachable`."""
        words = re.findall(r"[A-Z][a-z]*", self.name.removeprefix("Lattice"))
        return "-".join(words).lower()


def _node(
    name: str,
    severity: Severity,
    trouble: TroubleKind,
    summary: str,
    meaning: str,
    *,
    opens_after_s: float = 0.0,
) -> AlertSpec:
    return AlertSpec(
        name=name,
        severity=severity,
        source=AlertSource.NODE,
        summary=summary,
        meaning=meaning,
        trouble=trouble,
        opens_after_s=opens_after_s,
    )


def _workload(
    name: str,
    severity: Severity,
    trouble: TroubleKind,
    summary: str,
    meaning: str,
    *,
    opens_after_s: float = 0.0,
) -> AlertSpec:
    return AlertSpec(
        name=name,
        severity=severity,
        source=AlertSource.WORKLOAD,
        summary=summary,
        meaning=meaning,
        trouble=trouble,
        opens_after_s=opens_after_s,
    )


NODE_UNREACHABLE = _node(
    "LatticeNodeUnreachable",
    Severity.CRITICAL,
    TroubleKind.NODE_UNREACHABLE,
    "A node cannot be reached.",
    "No heartbeat has come from it for a while. What runs on it goes on; nothing can be changed there, and its public names do not answer.",
)
NODE_PENDING = _node(
    "LatticeNodePendingApproval",
    Severity.INFO,
    TroubleKind.NODE_PENDING,
    "A machine waits for approval.",
    "It has asked for membership with a valid token and has no rights before an admin approves it.",
    opens_after_s=5.0,
)
NODE_ENGINE_AWAY = _node(
    "LatticeNodeEngineAway",
    Severity.CRITICAL,
    TroubleKind.NODE_ENGINE_AWAY,
    "The Docker Engine of a node cannot be used.",
    "The agent is there, the Engine does not answer it: nothing can be started, stopped or looked at on that node.",
)
NODE_DISK_LOW = _node(
    "LatticeNodeDiskLow",
    Severity.WARNING,
    TroubleKind.NODE_DISK_LOW,
    "The disk of a node is nearly full.",
    "It is fuller than the watermark, so the node gets no new work; what runs there may soon be unable to write.",
)
NODE_CERTIFICATE_EXPIRING = _node(
    "LatticeCertificateExpiring",
    Severity.WARNING,
    TroubleKind.NODE_CERTIFICATE_EXPIRING,
    "The certificate of a node expires soon and was not renewed.",
    "Nodes renew their certificates long before; this one did not. After its end it can come back by itself for 30 days.",
)
NODE_CLONED = _node(
    "LatticeNodeCloned",
    Severity.CRITICAL,
    TroubleKind.NODE_CLONED,
    "Two agents say that they are the same node.",
    "Somebody copied an agent's data to another machine, or restored an old copy. The newer one's reports are refused.",
)
NODE_VERSION_SKEW = _node(
    "LatticeNodeVersionSkew",
    Severity.INFO,
    TroubleKind.NODE_VERSION_SKEW,
    "The agent of a node is of another version than the platform.",
    "It works as far as both know the same messages; bring them to the same version.",
    opens_after_s=600.0,
)
MASS_NODE_LOSS = AlertSpec(
    name="LatticeMassNodeLoss",
    severity=Severity.CRITICAL,
    source=AlertSource.PLATFORM,
    trouble=TroubleKind.MASS_NODE_LOSS,
    summary="Many nodes vanished at the same time.",
    meaning="The likelier cause is the platform's own link, so no work is moved until somebody says that the nodes are lost, or time passes.",
)
WORKLOAD_FAILED = _workload(
    "LatticeWorkloadFailed",
    Severity.CRITICAL,
    TroubleKind.WORKLOAD_FAILED,
    "A workload has failed.",
    "None of its instances runs, and at least one has failed for good.",
    opens_after_s=2.0,
)
WORKLOAD_CRASH_LOOPING = _workload(
    "LatticeWorkloadCrashLooping",
    Severity.CRITICAL,
    TroubleKind.WORKLOAD_CRASH_LOOPING,
    "A workload ends again and again.",
    "Its container is started with growing pauses and ends each time soon after; the last exit says with what.",
    opens_after_s=10.0,
)
WORKLOAD_DEGRADED = _workload(
    "LatticeWorkloadDegraded",
    Severity.WARNING,
    TroubleKind.WORKLOAD_DEGRADED,
    "A workload has fewer working instances than wanted.",
    "Some are unhealthy, have failed, or are on a node that cannot be reached.",
    opens_after_s=30.0,
)
WORKLOAD_UNPLACEABLE = _workload(
    "LatticeWorkloadUnplaceable",
    Severity.WARNING,
    TroubleKind.WORKLOAD_UNPLACEABLE,
    "No node can take an instance of a workload.",
    "Every node was ruled out; `lattice show` says which and why. It is placed as soon as one fits.",
    opens_after_s=15.0,
)
DEPLOY_FAILED = _workload(
    "LatticeDeployFailed",
    Severity.WARNING,
    TroubleKind.DEPLOY_FAILED,
    "A deploy failed.",
    "The newest operation of the workload ended without success; its log says at which step.",
)
UPDATE_ROLLED_BACK = _workload(
    "LatticeUpdateRolledBack",
    Severity.WARNING,
    TroubleKind.UPDATE_ROLLED_BACK,
    "An update was rolled back.",
    "The new revision did not become healthy in time, so the one before runs on.",
)
JOB_FAILED = _workload(
    "LatticeJobFailed",
    Severity.WARNING,
    TroubleKind.JOB_FAILED,
    "The last run of a job failed.",
    "It ended with an error and has used up its retries; the next run that succeeds ends the alert.",
)
DEAD_LETTER = AlertSpec(
    name="LatticeDeadLetter",
    severity=Severity.WARNING,
    source=AlertSource.PLATFORM,
    trouble=TroubleKind.DEAD_LETTER,
    summary="A message could not be handled.",
    meaning="A part of the platform gave it up after several tries; it is kept for people. The alert ends a day after the last one.",
)
CONTROL_PLANE_BLIND = AlertSpec(
    name="LatticeControlPlaneBlind",
    severity=Severity.CRITICAL,
    source=AlertSource.PLATFORM,
    witness=Witness.ALERTS,
    summary="The alerts service gets no answer from the registry.",
    meaning="Nothing is known of nodes and workloads meanwhile: their alerts stay as they are.",
    opens_after_s=20.0,
)

ALERTS: tuple[AlertSpec, ...] = tuple(
    each for each in list(globals().values()) if isinstance(each, AlertSpec)
)
OF_TROUBLE: dict[TroubleKind, AlertSpec] = {spec.trouble: spec for spec in ALERTS if spec.trouble is not None}
BY_NAME: dict[str, AlertSpec] = {spec.name: spec for spec in ALERTS}
# The dead man's switch is told again and again and is never over, so it is no alert with a life of its own.
WATCHDOG = "LatticeWatchdog"
