"""The alerts that the platform opens by itself, out of what the registry says.  Pure data."""

from __future__ import annotations

from dataclasses import replace

from lattice.alerts.spec import AlertSpec, Witness
from lattice.contracts.messages import AlertSource, Severity, TroubleKind


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


def _strain(
    name: str, severity: Severity, trouble: TroubleKind, summary: str, meaning: str, *, opens_after_s: float
) -> AlertSpec:
    """Of what is measured on a node: a value that dips for a moment does not end it."""
    spec = _node(name, severity, trouble, summary, meaning, opens_after_s=opens_after_s)
    return replace(spec, witness=Witness.METRICS, resolves_after_s=60.0)


def _workload(
    name: str,
    severity: Severity,
    trouble: TroubleKind,
    summary: str,
    meaning: str,
    *,
    opens_after_s: float = 0.0,
) -> AlertSpec:
    spec = _node(name, severity, trouble, summary, meaning, opens_after_s=opens_after_s)
    return replace(spec, source=AlertSource.WORKLOAD)


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
NODE_CPU_HIGH = _strain(
    "LatticeNodeCpuHigh",
    Severity.WARNING,
    TroubleKind.NODE_CPU_HIGH,
    "The processors of a node are busy without a break.",
    "Whatever runs there waits for the others; what has a limit of its own waits for itself alone.",
    opens_after_s=600.0,
)
NODE_MEMORY_LOW = _strain(
    "LatticeNodeMemoryLow",
    Severity.WARNING,
    TroubleKind.NODE_MEMORY_LOW,
    "A node has hardly any memory left.",
    "The kernel ends processes when it finds none; limits of workloads decide whose.",
    opens_after_s=600.0,
)
NODE_DISK_FULL = _strain(
    "LatticeNodeDiskFull",
    Severity.CRITICAL,
    TroubleKind.NODE_DISK_FULL,
    "The disk of a node is full.",
    "More than 95 % is in use: databases stop, and logs are no longer written.",
    opens_after_s=30.0,
)
NODE_CLOCK_OFF = _strain(
    "LatticeNodeClockOff",
    Severity.WARNING,
    TroubleKind.NODE_CLOCK_OFF,
    "The clock of a node is wrong.",
    "Times of its logs and facts are off, and certificates may count as expired or not yet valid.",
    opens_after_s=300.0,
)
TUNNEL_DOWN = _strain(
    "LatticeTunnelDown",
    Severity.CRITICAL,
    TroubleKind.TUNNEL_DOWN,
    "A node has no tunnel to an ingress.",
    "It is heard, but nobody from outside gets through to what runs there, and its workloads reach nothing through links.",
    opens_after_s=60.0,
)
SERVICE_ERRORS = AlertSpec(
    name="LatticeServiceErrors",
    severity=Severity.WARNING,
    source=AlertSource.SERVICE,
    witness=Witness.METRICS,
    trouble=TroubleKind.SERVICE_ERRORS,
    summary="A part of the platform logs many errors.",
    meaning="More than ten in the last five minutes; `lattice logs --platform` shows them with what they were about.",
    resolves_after_s=60.0,
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
