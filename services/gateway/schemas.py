"""The shapes that only the gateway has: users, tokens, sign-ins, and the bodies of its commands.  Everything else is `lattice.contracts.views`.

Bodies refuse fields that they do not know: a typo must not be a request for something else.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from lattice.contracts.messages import Fact, Severity, SinkKind
from lattice.contracts.nouns import Inventory, Noun, Role
from lattice.contracts.spec import MAX_REPLICAS
from lattice.contracts.views import Listing
from services.gateway.names import PlainName, ProjectOrAll, Username

_LABEL_PATTERN = r"^[A-Za-z0-9_./-]{1,63}$"
MAX_PAGE_SIZE = 500


def _true_or_false(value: object) -> object:
    """The framework would take `1`, `on` and `yes` as well: more spellings than the document says."""
    if value in ("true", "false") or isinstance(value, bool):
        return value
    raise ValueError("give true or false")


NewPassword = Annotated[str, Field(min_length=8, max_length=256)]
Secret = Annotated[str, Field(min_length=1, max_length=256)]
RoleBindings = Annotated[
    dict[ProjectOrAll, Role],
    Field(max_length=100, description="project -> role; the project `*` stands for the whole platform"),
]
Labels = Annotated[
    dict[Annotated[str, StringConstraints(pattern=_LABEL_PATTERN)], Annotated[str, Field(pattern=r"^[A-Za-z0-9_./:-]{0,128}$")]],
    Field(max_length=64),
]  # fmt: skip
SpecPatch = Annotated[dict[str, Any], Field(min_length=1, max_length=64)]
ComposeDocument = Annotated[
    dict[str, Any],
    Field(
        max_length=64,
        description="a compose file as JSON",
        examples=[{"services": {"web": {"image": "nginx:1.27", "ports": ["80"]}}}],
    ),
]
Flag = Annotated[bool, BeforeValidator(_true_or_false)]
PageSize = Annotated[int, Query(ge=1, le=1_000_000, description=f"at most {MAX_PAGE_SIZE} are answered")]
PageToken = Annotated[str | None, Query(max_length=1024, pattern=r"^[A-Za-z0-9_=.:+/-]+$")]


class Body(BaseModel):
    """What a client sends."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Login(Body):
    username: Annotated[str, Field(min_length=1, max_length=63)]
    password: Secret


class Setup(Body):
    """Makes the first admin."""

    secret: Secret = Field(description="the one-time secret that the platform wrote at its first start")
    username: Username
    password: NewPassword


class CreateUser(Body):
    username: Username
    password: NewPassword | None = Field(None, description="without one, only API tokens speak for the user")
    roles: RoleBindings = {}


class UpdateUser(Body):
    """What is given is changed.  A user may change their own password, and gives the present one for that."""

    roles: RoleBindings | None = None
    password: NewPassword | None = None
    current_password: Secret | None = None


class CreateToken(Body):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}$")]
    expires_in_days: Annotated[int, Field(ge=1, le=90, strict=True)] = 30
    role: Role | None = Field(None, description="at most this role")
    project: PlainName | None = Field(None, description="only in this project")


class CreateProjectBody(Body):
    name: PlainName


class CreateJoinTokenBody(Body):
    ttl_s: Annotated[float, Field(gt=0, le=86_400, strict=True)] = 900.0
    pool: PlainName = "default"
    labels: Labels = {}
    auto_approve: Annotated[bool, Field(strict=True)] = False


class RegisterNodeBody(Body):
    """A machine asks for membership; see `RegisterNode`."""

    token: Annotated[str, Field(min_length=1, max_length=4096)]
    name: PlainName
    csr_pem: Annotated[str, Field(min_length=1, max_length=8192)]
    nkey: Annotated[str, Field(min_length=1, max_length=80)]
    sealing_key: Annotated[str, Field(min_length=1, max_length=80)]
    inventory: Inventory = Inventory()


class RenewNodeBody(Body):
    csr_pem: Annotated[str, Field(min_length=1, max_length=8192)]


class ForTheRecord(Body):
    """Why, for the record."""

    reason: Annotated[str, Field(max_length=512)] = ""


class AlertNoteBody(Body):
    """What whoever looks after an alert, or declares it over, has to say about it."""

    note: Annotated[str, Field(max_length=1000)] = ""


SilencedForS = Annotated[float, Field(ge=60, le=30 * 86_400, description="for how long, in seconds")]
Why = Annotated[str, Field(min_length=1, max_length=1000, description="why, for those who find it")]


class SilenceAlertBody(Body):
    """Tell nobody of this alert, and of the same one should it come back, for a while."""

    for_s: SilencedForS
    reason: Why


class CreateSilenceBody(Body):
    """Tell nobody of the alerts that match all that is given: from now, or from `starts_at` for a maintenance window."""

    name: Annotated[str | None, Field(pattern=r"^[A-Za-z][A-Za-z0-9]{0,63}$")] = None
    project: PlainName | None = None
    severity: Severity | None = None
    entity: Annotated[
        str | None,
        Field(min_length=1, max_length=128, description="id or name of a node, workload or service"),
    ] = None
    starts_at: AwareDatetime | None = None
    for_s: SilencedForS
    reason: Why


class CreateSinkBody(Body):
    """Where people are to be told of alerts from now on.  The address is a secret and is never shown again."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    kind: SinkKind = SinkKind.MESSAGES
    url: Annotated[
        str,
        Field(
            min_length=1,
            max_length=2048,
            description="messages: an address of Apprise, such as mailto://…, slack://…, ntfy://…, json://…; else a URL",
        ),
    ]
    min_severity: Severity = Severity.INFO
    project: PlainName | None = None


class AlertmanagerAlert(BaseModel):
    """One alert of Alertmanager's webhook; what else it says is left aside."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    status: Literal["firing", "resolved"]
    fingerprint: Annotated[str, Field(min_length=1, max_length=128)]
    labels: Annotated[dict[str, str], Field(max_length=128)] = {}
    annotations: Annotated[dict[str, str], Field(max_length=128)] = {}


class AlertmanagerWebhook(BaseModel):
    """What Alertmanager posts (version 4)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: Literal["4"]
    alerts: Annotated[list[AlertmanagerAlert], Field(max_length=1000)]


class CreateSreCredentialBody(Body):
    """A credential with which a client of the bus hears alerts, of one project or of all."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    project: PlainName | None = None
    may_order: Annotated[bool, Field(description="it may acknowledge, silence and resolve as well")] = False
    expires_in_days: Annotated[int, Field(ge=1, le=366, strict=True)] = 90


class DrainBody(ForTheRecord):
    deadline_s: Annotated[float, Field(ge=1, le=7 * 86_400, description="when it is given up")] = 3600.0


class UpdateNodeBody(Body):
    """What is given is replaced."""

    labels: Labels | None = None
    pool: PlainName | None = None


class ScaleBody(Body):
    replicas: Annotated[int, Field(ge=0, le=MAX_REPLICAS, strict=True)]


class RollbackBody(Body):
    """Without a number: to the newest earlier revision that did not fail."""

    revision: Annotated[int, Field(ge=1, le=2**31 - 1, strict=True)] | None = None


class SecretValue(Body):
    value: Annotated[str, Field(min_length=1, max_length=65_536)]


class UserView(Noun):
    """Somebody who can sign in; never their password."""

    id: str
    username: str
    roles: dict[str, Role]
    managed: bool = Field(description="kept by the platform itself: cannot be changed or removed")
    created_at: datetime
    version: int


class TokenView(Noun):
    """An API token; never its secret."""

    id: str
    name: str
    user: str
    role: Role | None = None
    project: str | None = None
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None = None
    last_used_from: str = ""


class TokenCreated(TokenView):
    """The only time that the token itself is shown."""

    token: str


class SignedIn(Noun):
    """A sign-in: send the token as `Authorization: Bearer`."""

    token: str
    expires_at: datetime
    user: UserView


class Me(Noun):
    """Who is calling, with what is left of their roles after the limits of their token."""

    id: str
    username: str
    roles: dict[str, Role]
    credential: str
    expires_at: datetime


class FactListing(Listing[Fact]):
    """A page of facts in the order of `seq`; go on with `after` = the last `seq`."""

    head: int = Field(description="the newest seq so far")


class Health(Noun):
    status: Literal["ok"] = "ok"
