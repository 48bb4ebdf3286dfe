"""From the Authorization header to a principal.

Reading the credential costs three rows, so the finding is kept for a second: a token revoked here is refused at once (`forget`), one
revoked at another replica within that second.  When a token was last used, and from where, is written at most once a minute.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from lattice.clock import Clock
from lattice.contracts.nouns import Role
from lattice.errors import Unauthenticated
from lattice.storage import Store, Transaction
from services.gateway import store as queries
from services.gateway.policy import Roles, limited
from services.gateway.tables import ApiTokenRow, SessionRow, UserRow
from services.gateway.tokens import Token, matches, read_token

KEPT_S = 1.0
_USE_NOTED_EVERY = timedelta(minutes=1)
_MAX_KEPT = 10_000
_NOT_SIGNED_IN = (
    "Send a token: `Authorization: Bearer lat_…`. Sign in at /v1/auth/login, or make an API token."
)
_NO_LONGER = "This token has expired or was revoked. Sign in again, or make a new API token."


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling, and what is left of their roles after the limits of their token."""

    user_id: str
    username: str
    roles: Roles
    credential_id: str
    expires_at: datetime
    limit_role: Role | None = None
    limit_project: str | None = None

    @property
    def actor(self) -> str:
        """How audit rows and facts name them."""
        return f"user:{self.username}"


class Authenticator:
    """Knows who a bearer token speaks for."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._kept: dict[str, tuple[Principal, float]] = {}
        self._forgotten = 0

    async def identify(self, authorization: str | None, *, address: str) -> Principal:
        """The principal of an Authorization header; Unauthenticated if it has none that holds."""
        token = _bearer(authorization)
        kept = self._kept.get(token.sha256)
        if (
            kept is not None
            and kept[1] > self._clock.monotonic_s()
            and kept[0].expires_at > self._clock.now()
        ):
            return kept[0]
        forgotten = self._forgotten
        principal = await self._load(token, address)
        if forgotten == self._forgotten:  # else it may have been revoked while we were reading
            self._keep(token, principal)
        return principal

    def forget(self) -> None:
        """Read everybody's credentials anew: some user, role or token has changed."""
        self._forgotten += 1
        self._kept.clear()

    def _keep(self, token: Token, principal: Principal) -> None:
        if len(self._kept) >= _MAX_KEPT:
            self._kept.clear()
        self._kept[token.sha256] = (principal, self._clock.monotonic_s() + KEPT_S)

    async def _load(self, token: Token, address: str) -> Principal:
        async with self._store.transaction() as tx:
            row = await queries.credential(tx, token.kind, token.row_id)
            if row is None or not matches(token, row.token_sha256) or row.expires_at <= self._clock.now():
                raise Unauthenticated(_NO_LONGER)
            user = await tx.get(UserRow, row.user_id)
            if user is None:
                raise Unauthenticated(_NO_LONGER)
            principal = _principal(row, user, await queries.roles(tx, user.id))
            self._note_use(tx, row, address)
        return principal

    def _note_use(self, tx: Transaction, row: ApiTokenRow | SessionRow, address: str) -> None:
        now = self._clock.now()
        if row.last_used_at is None or now - row.last_used_at >= _USE_NOTED_EVERY:
            tx.update(row, last_used_at=now, last_used_from=address)


def _bearer(authorization: str | None) -> Token:
    scheme, _, text = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not text:
        raise Unauthenticated(_NOT_SIGNED_IN)
    return read_token(text.strip())


def _principal(row: ApiTokenRow | SessionRow, user: UserRow, roles: Roles) -> Principal:
    limit_role = Role(row.role) if isinstance(row, ApiTokenRow) and row.role else None
    limit_project = row.project if isinstance(row, ApiTokenRow) else None
    return Principal(
        user_id=user.id,
        username=user.username,
        roles=limited(roles, role=limit_role, project=limit_project),
        credential_id=row.id,
        expires_at=row.expires_at,
        limit_role=limit_role,
        limit_project=limit_project,
    )
