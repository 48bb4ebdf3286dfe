"""Every query of the gateway.  Callers bring the transaction, so that a change and its audit row are one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from lattice.contracts.nouns import Role
from lattice.storage import Gt, In, Lt, Transaction
from services.gateway.policy import EVERY_PROJECT, Roles
from services.gateway.tables import AnswerRow, ApiTokenRow, AuditRow, MarkRow, RoleRow, SessionRow, UserRow
from services.gateway.tokens import TokenKind

Credential = ApiTokenRow | SessionRow


async def user(tx: Transaction, ref: str, *, lock: bool = False) -> UserRow | None:
    """A user by id or name."""
    by_id = await tx.get(UserRow, ref, lock=lock)
    if by_id is not None:
        return by_id
    named = await tx.find(UserRow, username=ref, lock=lock)
    return named[0] if named else None


async def users(tx: Transaction, *, after: str, limit: int) -> list[UserRow]:
    """Users by name, those after `after`."""
    return await tx.find(UserRow, order_by=("username",), limit=limit, username=Gt(after))


async def roles(tx: Transaction, user_id: str) -> Roles:
    """project -> role of one user."""
    rows = await tx.find(RoleRow, user_id=user_id)
    return {row.project: Role(row.role) for row in rows}


async def roles_of(tx: Transaction, user_ids: list[str]) -> dict[str, dict[str, Role]]:
    """user id -> project -> role, for a page of users."""
    rows = await tx.find(RoleRow, user_id=In(tuple(user_ids)))
    found: dict[str, dict[str, Role]] = {user_id: {} for user_id in user_ids}
    for row in rows:
        found[row.user_id][row.project] = Role(row.role)
    return found


async def set_roles(tx: Transaction, user_id: str, wanted: Mapping[str, Role]) -> None:
    """Make these, and only these, the user's roles."""
    present = {row.project: row for row in await tx.find(RoleRow, user_id=user_id, lock=True)}
    for project, row in present.items():
        if project not in wanted:
            tx.delete(row)
        elif row.role != wanted[project]:
            tx.update(row, role=wanted[project].value)
    for project in wanted.keys() - present.keys():
        tx.add(
            RoleRow(id=f"{user_id}/{project}", user_id=user_id, project=project, role=wanted[project].value)
        )


async def admins_besides(tx: Transaction, *user_ids: str) -> int:
    """How many other users are admins of the platform."""
    rows = await tx.find(RoleRow, project=EVERY_PROJECT, role=Role.ADMIN.value)
    return sum(row.user_id not in user_ids for row in rows)


async def credential(tx: Transaction, kind: TokenKind, row_id: str) -> Credential | None:
    """The row that a token names."""
    if kind is TokenKind.API:
        return await tx.get(ApiTokenRow, row_id)
    return await tx.get(SessionRow, row_id)


async def live_credentials(tx: Transaction, ids: set[str], now: datetime) -> set[str]:
    """Which of these tokens and sign-ins still hold."""
    wanted = In(tuple(ids))
    rows: list[Credential] = [*await tx.find(ApiTokenRow, id=wanted), *await tx.find(SessionRow, id=wanted)]
    return {row.id for row in rows if row.expires_at > now}


async def tokens(tx: Transaction, *, user_id: str | None, after: str, limit: int) -> list[ApiTokenRow]:
    """API tokens by id: one user's, or everybody's."""
    if user_id is None:
        return await tx.find(ApiTokenRow, limit=limit, id=Gt(after))
    return await tx.find(ApiTokenRow, limit=limit, id=Gt(after), user_id=user_id)


async def end_sessions(tx: Transaction, user_id: str) -> list[str]:
    """Sign a user out everywhere; the ids of what ended."""
    rows = await tx.find(SessionRow, user_id=user_id)
    for row in rows:
        tx.delete(row)
    return [row.id for row in rows]


async def delete_user(tx: Transaction, row: UserRow) -> None:
    """Remove a user with all that speaks for them, children first."""
    for table in (SessionRow, ApiTokenRow, RoleRow):
        for child in await tx.find(table, user_id=row.id):
            tx.delete(child)
    await tx.flush()
    tx.delete(row)


async def delete_expired(tx: Transaction, now: datetime, *, limit: int = 500) -> int:
    """Forget sign-ins and kept answers whose time is over; how many there were."""
    old = [
        *await tx.find(SessionRow, limit=limit, expires_at=Lt(now)),
        *await tx.find(AnswerRow, limit=limit, expires_at=Lt(now)),
    ]
    for row in old:
        tx.delete(row)
    return len(old)


async def audit(
    tx: Transaction, *, before: str | None, limit: int, filters: Mapping[str, str]
) -> list[AuditRow]:
    """Audit rows, newest first, those before the row `before`."""
    where: dict[str, Any] = dict(filters)
    if before is not None:
        where["id"] = Lt(before)
    return await tx.find(AuditRow, order_by=("-id",), limit=limit, **where)


async def mark(tx: Transaction, name: str) -> MarkRow | None:
    """When something that happens once did happen."""
    return await tx.get(MarkRow, name)
