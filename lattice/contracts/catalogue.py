"""Every channel of Lattice, declared once: address, payload, stream, who publishes, who listens, what it means.

Subjects, streams, NATS permissions, `docs/asyncapi.yaml` and the table in the docs are derived from here.  A `Channel` carries messages one
way; an `Rpc` is a request with a reply.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from lattice.contracts import messages as m
from lattice.contracts import streams, views
from lattice.contracts.nouns import Noun
from lattice.contracts.subjects import Address

P = TypeVar("P", bound=Noun)
Q = TypeVar("Q", bound=Noun)
R = TypeVar("R", bound=Noun)

SRE = "sre"  # stands for people's own clients of the bus: each may use only the subjects that carry its own credential_id
EVERY_SCOPE = "_all"  # in place of a project in their orders
SERVICES: tuple[str, ...] = (
    "registry",
    "scheduler",
    "logs",
    "metrics",
    "gateway",
    "ingress",
    "alerts",
)
NODE = "node"  # stands for the agents: each may use only the subjects that carry its own node_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel(Generic[P]):
    """Messages one way.  With `binary`, the payload is bytes and the model travels in the header `Lattice-Meta`."""

    name: str
    address: Address
    payload: type[P]
    meaning: str
    publishers: tuple[str, ...]
    subscribers: tuple[str, ...]
    stream: streams.Stream | None = None
    binary: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rpc(Generic[Q, R]):
    """A request with a reply.  An error comes back as `errors.WireError` in the header `Lattice-Error`.

    `bulk` names a field of the reply, of bytes, that is the payload itself; the rest then travels in the header `Lattice-Meta`.
    """

    name: str
    address: Address
    request: type[Q]
    reply: type[R]
    meaning: str
    callers: tuple[str, ...]
    server: str
    timeout_s: float = 5.0
    # The handler gets the places of the subject as keyword arguments: they say who asks.
    addressed: bool = False
    bulk: str = ""


# ------------------------------------------------------------------------------------------------ channels

DESIRED_DOCUMENT: Channel[m.DesiredDocument] = Channel(
    name="desired_document",
    address=Address("lattice.desired.node.{node_id}"),
    payload=m.DesiredDocument,
    stream=streams.DESIRED,
    publishers=("registry",),
    subscribers=(NODE,),  # by Direct Get of its own only
    meaning="Everything that one node must run; the stream keeps the newest and republishes it to `deploy`.",
)
DEPLOY: Channel[m.DesiredDocument] = Channel(
    name="deploy",
    address=Address("lattice.node.{node_id}.deploy"),
    payload=m.DesiredDocument,
    publishers=(),  # the server itself, from DESIRED
    subscribers=(NODE,),
    meaning="The same document, pushed to its node.",
)
HEARTBEAT: Channel[m.Heartbeat] = Channel(
    name="heartbeat",
    address=Address("lattice.node.{node_id}.heartbeat"),
    payload=m.Heartbeat,
    publishers=(NODE,),
    subscribers=("registry",),
    meaning="Every 5 s: the node is alive, and how busy it is.",
)
STATUS: Channel[m.ObservedDocument] = Channel(
    name="status",
    address=Address("lattice.node.{node_id}.status"),
    payload=m.ObservedDocument,
    stream=streams.OBSERVED,
    publishers=(NODE,),
    subscribers=("registry",),
    meaning="Everything that the agent sees; after every change and every 30 s.",
)
NODE_EVENT: Channel[m.NodeEvent] = Channel(
    name="node_event",
    address=Address("lattice.node.{node_id}.event.{type}"),
    payload=m.NodeEvent,
    stream=streams.NODE_EVENTS,
    publishers=(NODE,),
    subscribers=("registry",),
    meaning="Something that happened on a node.",
)
LOG_BLOCK: Channel[m.LogBlock] = Channel(
    name="log_block",
    address=Address("lattice.logs.{node_id}.{workload_id}"),
    payload=m.LogBlock,
    stream=streams.LOGS,
    publishers=(NODE,),
    subscribers=("logs", "gateway"),
    binary=True,
    meaning='What one container wrote: zstd over the Engine\'s own records, `{"log", "stream", "time"}` per line.',
)
SERVICE_LOG: Channel[m.LogBlock] = Channel(
    name="service_log",
    address=Address("lattice.own-logs.{service}"),
    payload=m.LogBlock,
    stream=streams.LOGS,
    publishers=SERVICES,
    subscribers=("logs", "gateway"),
    binary=True,
    meaning="What a service of the platform logs itself; an agent's own log is a `log_block` of its node in place of the workload `agent`.",
)
LOGS_HELD: Channel[m.LogsHeld] = Channel(
    name="logs_held",
    address=Address("lattice.node.{node_id}.logs-held"),
    payload=m.LogsHeld,
    publishers=(NODE,),
    subscribers=("logs",),
    meaning="What a node's spool holds of logs; the log store answers with what of it is stored.",
)
LOGS_STORED: Channel[m.LogsStored] = Channel(
    name="logs_stored",
    address=Address("lattice.node.{node_id}.logs-stored"),
    payload=m.LogsStored,
    publishers=("logs",),
    subscribers=(NODE,),
    meaning="Records that are on the log store's disk, so that the node's spool may let them go.",
)
NODE_METRICS: Channel[m.NodeMetrics] = Channel(
    name="node_metrics",
    address=Address("lattice.metrics.{node_id}"),
    payload=m.NodeMetrics,
    publishers=(NODE,),
    subscribers=("metrics",),
    meaning="Every 15 s: what an agent measures of its machine, its instances and itself. Lost without harm: the next one says more.",
)
SERVICE_METRICS: Channel[m.ServiceMetrics] = Channel(
    name="service_metrics",
    address=Address("lattice.own-metrics.{service}"),
    payload=m.ServiceMetrics,
    publishers=SERVICES,
    subscribers=("metrics",),
    meaning="Every 15 s: what a service of the platform counts.",
)
SESSION_OUT: Channel[m.SessionFrame] = Channel(
    name="session_out",
    address=Address("lattice.node.{node_id}.session.{session_id}.out"),
    payload=m.SessionFrame,
    publishers=(NODE,),
    subscribers=("gateway",),
    binary=True,
    meaning="What a command run inside a container prints, and its exit code.",
)
SESSION_IN: Channel[m.SessionFrame] = Channel(
    name="session_in",
    address=Address("lattice.node.{node_id}.session.{session_id}.in"),
    payload=m.SessionFrame,
    publishers=("gateway",),
    subscribers=(NODE,),
    binary=True,
    meaning="What a person types into it.",
)
FACT: Channel[m.Fact] = Channel(
    name="fact",
    address=Address("lattice.evt.{project}.{entity}.{verb}"),
    payload=m.Fact,
    stream=streams.EVENTS,
    publishers=("registry",),
    subscribers=("gateway", "scheduler", "logs", "alerts"),
    meaning="Something that happened, in the order of `seq`.",
)
PLACEMENT_WANTED: Channel[m.PlacementWanted] = Channel(
    name="placement_wanted",
    address=Address("lattice.sched.{workload_id}"),
    payload=m.PlacementWanted,
    stream=streams.SCHED,
    publishers=("registry",),
    subscribers=("scheduler",),
    meaning="A workload has instances without a place.",
)
DEAD_LETTER: Channel[m.DeadLetter] = Channel(
    name="dead_letter",
    address=Address("lattice.dlq.{stream}.{consumer}"),
    payload=m.DeadLetter,
    stream=streams.DLQ,
    publishers=("registry",),
    subscribers=(),
    binary=True,
    meaning="A message that no consumer could handle, kept for people.",
)
GIVEN_UP: Channel[m.GivenUp] = Channel(
    name="given_up",
    address=Address("$JS.EVENT.ADVISORY.CONSUMER.{kind}.{stream}.{consumer}"),
    payload=m.GivenUp,
    stream=streams.DLQ,
    publishers=(),  # the server itself
    subscribers=("registry",),
    meaning="A consumer gave a message up: it used up its deliveries, or nobody could read it.",
)
ROUTE: Channel[m.RouteDocument] = Channel(
    name="route",
    address=Address("lattice.route.{route_id}"),
    payload=m.RouteDocument,
    stream=streams.ROUTES,
    publishers=("registry",),
    subscribers=("ingress",),
    meaning="A public name and the instances behind it; the stream keeps the newest of each.",
)
LINK: Channel[m.LinkDocument] = Channel(
    name="link",
    address=Address("lattice.link.{link_id}"),
    payload=m.LinkDocument,
    stream=streams.ROUTES,
    publishers=("registry",),
    subscribers=("ingress",),
    meaning="A workload that others have links to, and who may use them; the stream keeps the newest of each.",
)
ALERT: Channel[m.Alert] = Channel(
    name="alert",
    address=Address("lattice.alert.{project}.{severity}.{source}.{name}"),
    payload=m.Alert,
    stream=streams.ALERTS,
    publishers=("alerts",),
    subscribers=("gateway", SRE),
    meaning="An alert that opened, was acknowledged or silenced, or is over; `_platform` stands for the project of nodes and services.",
)
REGISTRY_WAKE: Channel[m.Done] = Channel(
    name="registry_wake",
    address=Address("lattice.wake.registry"),
    payload=m.Done,
    publishers=("registry",),
    subscribers=("registry",),
    meaning="Something was committed: whichever replica relays should look now. Lost without harm.",
)

CHANNELS: tuple[Channel[Noun], ...] = (  # type: ignore[assignment]  # payload types differ
    DESIRED_DOCUMENT,
    DEPLOY,
    HEARTBEAT,
    STATUS,
    NODE_EVENT,
    LOG_BLOCK,
    SERVICE_LOG,
    LOGS_HELD,
    LOGS_STORED,
    NODE_METRICS,
    SERVICE_METRICS,
    SESSION_OUT,
    SESSION_IN,
    FACT,
    PLACEMENT_WANTED,
    DEAD_LETTER,
    GIVEN_UP,
    ROUTE,
    LINK,
    ALERT,
    REGISTRY_WAKE,
)

# ------------------------------------------------------------------------------------------------ requests to nodes

EXEC: Rpc[m.ExecRequest, m.ExecStarted] = Rpc(
    name="exec",
    address=Address("lattice.node.{node_id}.cmd.exec"),
    request=m.ExecRequest,
    reply=m.ExecStarted,
    callers=("gateway",),
    server=NODE,
    timeout_s=10,
    meaning="Run argv inside an instance.",
)
RESYNC: Rpc[m.Resync, m.Done] = Rpc(
    name="resync",
    address=Address("lattice.node.{node_id}.cmd.resync"),
    request=m.Resync,
    reply=m.Done,
    callers=("registry",),
    server=NODE,
    meaning="Report the observed document now.",
)


# ------------------------------------------------------------------------------------------------ requests to services


def _service(
    server: str,
    name: str,
    request: type[Q],
    reply: type[R],
    meaning: str,
    *,
    callers: tuple[str, ...],
    timeout_s: float = 5.0,
    bulk: str = "",
) -> Rpc[Q, R]:
    address = Address(f"lattice.svc.{server}.{name}")
    return Rpc(
        name=name, address=address, request=request, reply=reply, meaning=meaning, callers=callers, server=server, timeout_s=timeout_s,
        bulk=bulk,
    )  # fmt: skip


def _registry(
    name: str, request: type[Q], reply: type[R], meaning: str, *, timeout_s: float = 5.0
) -> Rpc[Q, R]:
    return _service("registry", name, request, reply, meaning, callers=("gateway",), timeout_s=timeout_s)


CREATE_JOIN_TOKEN = _registry(
    "create_join_token", m.CreateJoinToken, m.JoinTokenCreated, "A single-use right to ask for membership."
)
REGISTER_NODE = _registry("register_node", m.RegisterNode, m.NodeRegistered, "A machine asks for membership.")
GET_ENROLMENT = _registry(
    "get_enrolment", m.GetEnrolment, m.Enrolment, "Where an enrolment stands, asked by the machine itself."
)
RENEW_NODE = _registry(
    "renew_node", m.RenewNode, m.Enrolment, "A new certificate and JWT for a node that proves its key."
)
APPROVE_NODE = _registry("approve_node", m.NodeCommand, views.NodeView, "Make a pending machine a node.")
REJECT_NODE = _registry("reject_node", m.NodeCommand, views.NodeView, "Refuse a pending machine.")
REVOKE_NODE = _registry(
    "revoke_node", m.NodeCommand, views.NodeView, "Take a node's membership away; its link is cut."
)
TAKE_ROUTE_DOWN = _registry(
    "take_route_down", m.RouteCommand, views.RouteView, "Let nobody in by a public name."
)
RESTORE_ROUTE = _registry("restore_route", m.RouteCommand, views.RouteView, "Let visitors in again.")
CORDON_NODE = _registry("cordon_node", m.NodeCommand, views.NodeView, "Accept no new work on a node.")
UNCORDON_NODE = _registry("uncordon_node", m.NodeCommand, views.NodeView, "Accept new work again.")
DRAIN_NODE = _registry("drain_node", m.DrainNode, views.Accepted, "Move a node's work to others.")
CONFIRM_LOST = _registry(
    "confirm_lost", m.NodeCommand, views.NodeView, "A node will not come back soon: move its work now."
)
UPDATE_NODE = _registry("update_node", m.UpdateNode, views.NodeView, "Change labels or pool.")
REMOVE_NODE = _registry(
    "remove_node",
    m.NodeCommand,
    m.Done,
    "Forget a node that is rejected or revoked, or that has no instances.",
)
CREATE_SRE_CREDENTIAL = _registry(
    "create_sre_credential",
    m.CreateSreCredential,
    views.SreCredentialCreated,
    "A way to hear alerts at the bus itself.",
)
LIST_SRE_CREDENTIALS = _registry(
    "list_sre_credentials", m.Page, views.Listing[views.SreCredentialView], "Who may hear alerts at the bus."
)
REVOKE_SRE_CREDENTIAL = _registry(
    "revoke_sre_credential", m.RevokeSreCredential, views.SreCredentialView, "It is cut and let in no more."
)
LIST_NODES = _registry(
    "list_nodes", m.ListNodes, views.Listing[views.NodeView], "Nodes, pending ones included."
)
GET_NODE = _registry("get_node", m.GetByName, views.NodeView, "One node.")

LIST_TEMPLATES = _registry(
    "list_templates", m.Empty, views.Listing[views.TemplateView], "The service catalogue."
)
# Accept may ask the image's registry for a digest (at most 5 s) before it commits.
CREATE_WORKLOAD = _registry("create_workload", m.CreateWorkload, views.Accepted, "Deploy.", timeout_s=15)
LIST_WORKLOADS = _registry(
    "list_workloads", m.ListInProject, views.Listing[views.WorkloadView], "Workloads of a project, or of all."
)
GET_WORKLOAD = _registry("get_workload", m.GetByName, views.WorkloadView, "One workload with its instances.")
STOP_WORKLOAD = _registry(
    "stop_workload", m.WorkloadCommand, views.Accepted, "Stop all instances; they keep their place."
)
START_WORKLOAD = _registry("start_workload", m.WorkloadCommand, views.Accepted, "Start a stopped workload.")
RESTART_WORKLOAD = _registry(
    "restart_workload", m.WorkloadCommand, views.Accepted, "Replace every instance by a new one."
)
DELETE_WORKLOAD = _registry(
    "delete_workload", m.DeleteWorkload, views.Accepted, "Remove a workload; volumes only when said."
)
UPDATE_WORKLOAD = _registry(
    "update_workload", m.UpdateWorkload, views.Accepted, "Roll out a new spec.", timeout_s=15
)
PLAN_WORKLOAD = _registry(
    "plan_workload",
    m.PlanWorkload,
    m.WorkloadPlan,
    "What a spec would change; changes nothing.",
    timeout_s=15,
)
SCALE_WORKLOAD = _registry(
    "scale_workload", m.ScaleWorkload, views.Accepted, "Change the number of instances."
)
ROLLBACK_WORKLOAD = _registry(
    "rollback_workload", m.RollbackWorkload, views.Accepted, "Run an earlier revision again."
)
RUN_JOB = _registry("run_job", m.WorkloadCommand, views.JobRunView, "Run a job now.")
LIST_RUNS = _registry(
    "list_runs", m.ListRuns, views.Listing[views.JobRunView], "The runs of a job, newest first."
)
LIST_REVISIONS = _registry(
    "list_revisions", m.GetByName, views.Listing[views.RevisionView], "The specs of a workload over time."
)
# As CREATE_WORKLOAD, for each service of the file at the same time.
APPLY_APP = _registry(
    "apply_app", m.ApplyApp, views.AppAccepted, "Make an app as a compose file describes it.", timeout_s=20
)
PLAN_APP = _registry(
    "plan_app", m.ApplyApp, views.AppPlan, "What applying a compose file would do.", timeout_s=20
)
LIST_APPS = _registry(
    "list_apps", m.ListInProject, views.Listing[views.AppView], "Apps of a project, or of all."
)
GET_APP = _registry("get_app", m.GetByName, views.AppView, "One app with its services.")
DELETE_APP = _registry(
    "delete_app", m.DeleteApp, views.AppAccepted, "Remove all workloads of an app; volumes only when said."
)
GET_CREDENTIALS = _registry(
    "get_credentials", m.GetCredentials, views.CredentialsView, "How to reach a workload. Audited."
)
LIST_OPERATIONS = _registry(
    "list_operations", m.ListInProject, views.Listing[views.OperationView], "Operations, newest first."
)
GET_OPERATION = _registry("get_operation", m.GetByName, views.OperationView, "One operation.")
CANCEL_OPERATION = _registry(
    "cancel_operation", m.OperationCommand, views.OperationView, "Stop an operation and undo what it began."
)
LIST_VOLUMES = _registry("list_volumes", m.ListInProject, views.Listing[views.VolumeView], "Volumes.")
GET_VOLUME = _registry("get_volume", m.GetByName, views.VolumeView, "One volume, by id or name.")
DELETE_VOLUME = _registry("delete_volume", m.DeleteVolume, m.Done, "Remove a released volume with its data.")
SET_SECRET = _registry("set_secret", m.SetSecret, views.SecretView, "A new version of a secret.")
LIST_SECRETS = _registry(
    "list_secrets", m.ListInProject, views.Listing[views.SecretView], "Names of secrets, never values."
)
DELETE_SECRET = _registry("delete_secret", m.DeleteSecret, m.Done, "Remove a secret that nothing uses.")
CREATE_PROJECT = _registry("create_project", m.CreateProject, views.ProjectView, "A new project.")
LIST_PROJECTS = _registry("list_projects", m.Page, views.Listing[views.ProjectView], "Projects.")
LIST_FACTS = _registry("list_facts", m.ListFacts, m.FactsPage, "Facts by seq.")
LIST_AUDIT = _registry(
    "list_audit", m.ListAudit, views.Listing[views.AuditView], "The registry's audit rows, newest first."
)
RECORD_AUDIT = _registry(
    "record_audit", m.RecordAudit, m.Done, "Leave a trace of an act that changes nothing."
)

TAKE_TERM = _service(
    "registry", "take_term", m.TakeTerm, m.Term, "A new leader fences the old one.", callers=("scheduler",)
)
SCHEDULING_SNAPSHOT = _service(
    "registry",
    "scheduling_snapshot",
    m.SchedulingQuery,
    m.SchedulingSnapshot,
    "All nodes, and the instances without a place that are asked about.",
    callers=("scheduler",),
)
COMMIT_PLACEMENTS = _service(
    "registry",
    "commit_placements",
    m.CommitPlacements,
    m.PlacementsCommitted,
    "Placements, if nothing moved.",
    callers=("scheduler",),
)
KNOWN_INSTANCES = _service(
    "registry",
    "known_instances",
    m.KnownInstances,
    m.InstanceOwners,
    "Which instances a node has or had.",
    callers=("logs", "metrics"),
)
LIST_TROUBLES = _service(
    "registry",
    "list_troubles",
    m.ListTroubles,
    m.Troubles,
    "Everything that is wrong now with nodes and workloads.",
    callers=("alerts",),
    timeout_s=10,
)
LIST_STRAINS = _service(
    "metrics",
    "list_strains",
    m.ListTroubles,
    m.Troubles,
    "Everything that is too much now, as far as it is measured.",
    callers=("alerts",),
)
TRY_PLACEMENTS = _service(
    "scheduler",
    "try_placements",
    m.TryPlacements,
    m.TriedPlacements,
    "Where instances would go now; places nothing.",
    callers=("gateway",),
    timeout_s=10,
)
QUERY_LOGS = _service(
    "logs",
    "query",
    m.QueryLogs,
    m.LogLines,
    "Stored log lines.",
    callers=("gateway",),
    timeout_s=15,
    bulk="packed",
)
COUNT_LOGS = _service(
    "logs",
    "count",
    m.CountLogs,
    m.LogCounts,
    "How many stored lines, by time and label.",
    callers=("gateway",),
    timeout_s=30,
)
LIST_LOGS = _service(
    "logs", "list", m.QueryLogs, m.ListedLogs, "Whose lines are stored; none is read.", callers=("gateway",)
)


def _alerts(name: str, request: type[Q], reply: type[R], meaning: str) -> Rpc[Q, R]:
    return _service("alerts", name, request, reply, meaning, callers=("gateway",))


LIST_ALERTS = _alerts("list_alerts", m.ListAlerts, views.Listing[m.Alert], "Alerts, newest first.")
GET_ALERT = _alerts("get_alert", m.GetAlert, m.Alert, "One alert.")
ACKNOWLEDGE_ALERT = _alerts("acknowledge_alert", m.AlertCommand, m.Alert, "Somebody looks after it.")
RESOLVE_ALERT = _alerts("resolve_alert", m.AlertCommand, m.Alert, "Somebody says that it is over.")


def _ordered(verb: str, request: type[Q], reply: type[R], meaning: str) -> Rpc[Q, R]:
    """By a client of the bus itself; its credential lets it publish on its own subjects only, so the subject says who it is."""
    return Rpc(
        name=f"order_{verb}",
        address=Address(f"lattice.alert-order.{{scope}}.{{credential_id}}.{verb}"),
        request=request,
        reply=reply,
        meaning=meaning,
        callers=(SRE,),
        server="alerts",
        addressed=True,
    )


ORDER_ACKNOWLEDGE = _ordered(
    "acknowledge", m.AlertOrder, m.Alert, "Somebody at the bus looks after an alert."
)
ORDER_RESOLVE = _ordered("resolve", m.AlertOrder, m.Alert, "Somebody at the bus says that an alert is over.")
ORDER_SILENCE = _ordered(
    "silence",
    m.SilenceOrder,
    m.SilenceView,
    "Somebody at the bus wants to hear nothing of an alert for a while.",
)
LIST_ALERT_AUDIT = _alerts(
    "list_alert_audit",
    m.ListAudit,
    views.Listing[views.AuditView],
    "What people did about alerts, newest first.",
)
RECEIVE_ALERTS = _alerts(
    "receive_alerts",
    m.ReceiveAlerts,
    m.AlertsReceived,
    "What an Alertmanager says of somebody else's alerts.",
)
CREATE_SINK = _alerts("create_sink", m.CreateSink, m.SinkView, "Tell people of alerts there from now on.")
LIST_SINKS = _alerts("list_sinks", m.Page, views.Listing[m.SinkView], "Where people are told of alerts.")
REMOVE_SINK = _alerts("remove_sink", m.SinkCommand, m.Done, "Tell nobody there any more.")
# The other side may take its time; what a message service needs is Apprise's to know.
TEST_SINK = _service(
    "alerts",
    "test_sink",
    m.SinkCommand,
    m.SinkTested,
    "Send a test there now.",
    callers=("gateway",),
    timeout_s=45,
)
LIST_DELIVERIES = _alerts(
    "list_deliveries", m.ListDeliveries, views.Listing[m.DeliveryView], "What was told to whom, newest first."
)
LIST_SILENCES = _alerts(
    "list_silences", m.Page, views.Listing[m.SilenceView], "Silences and windows that are not over."
)
CREATE_SILENCE = _alerts(
    "create_silence", m.CreateSilence, m.SilenceView, "Tell nobody of certain alerts for a while."
)
END_SILENCE = _alerts("end_silence", m.EndSilence, m.SilenceView, "End a silence now.")
LIST_METRIC_SOURCES = _service(
    "metrics",
    "list_metric_sources",
    m.Empty,
    m.MetricSources,
    "Whose metrics there are.",
    callers=("gateway",),
)
READ_METRICS = _service(
    "metrics",
    "read_metrics",
    m.ReadMetrics,
    m.SourceMetrics,
    "What a node or a service said last.",
    callers=("gateway",),
)
QUERY_METRICS = _service(
    "metrics",
    "query_metrics",
    m.QueryMetrics,
    m.MetricHistory,
    "Series of the last day.",
    callers=("gateway",),
    timeout_s=10,
)
READ_STATS = _service(
    "metrics",
    "read_stats",
    m.ReadStats,
    m.Stats,
    "What instances or nodes take right now.",
    callers=("gateway",),
)

RPCS: tuple[Rpc[Noun, Noun], ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Rpc)
)


def service_rpcs(server: str) -> Iterator[Rpc[Noun, Noun]]:
    """The requests that one service answers."""
    return (rpc for rpc in RPCS if rpc.server == server)
