"""What follows when something was learned of a workload: its operations, its goal and its removal are brought on, in a change of their own.

The change that learned it is over by then: it held the node's lock, and the workload's comes before it (`tables.LOCK_ORDER`).  What a crash in
between leaves undone, the sweep does.
"""

from __future__ import annotations

from collections.abc import Iterable

from loguru import logger

from lattice.contracts.nouns import DesiredState
from lattice.errors import LatticeError, StaleVersion, Temporary
from services.registry import converging, links, operations, releasing, routes
from services.registry.change import SYSTEM, Change, Deps
from services.registry.tables import WorkloadRow
from services.registry.workload_rows import lock_instances, nodes_away
from services.registry.workloads import finish_removal


async def follow_up(
    deps: Deps, workload_ids: Iterable[str], *, heard: str = "", unsettle: bool = False
) -> None:
    """Bring on these workloads, and those that wait for them.  `heard` is the node that has just reported; `unsettle` where instances have to
    leave their node."""
    wanted, seen = set(workload_ids), set[str]()
    due = sorted(wanted)
    while due:
        workload_id = due.pop(0)
        seen.add(workload_id)
        try:
            async with deps.change(SYSTEM, action="workload.follow_up") as change:
                leaves = unsettle and workload_id in wanted
                waiting = await _follow_up(change, workload_id, heard=heard, unsettle=leaves)
            due += sorted(waiting - seen - set(due))
        except (Temporary, StaleVersion) as error:
            logger.info("workload {} is looked at again soon: {}", workload_id, error)
        except LatticeError as error:
            # Of this one; nobody else is to wait for it.
            logger.error("workload {} cannot be brought on: {}", workload_id, error)


async def _follow_up(change: Change, workload_id: str, *, heard: str, unsettle: bool) -> set[str]:
    """Returns the ids of workloads that wait for this one."""
    workload = await change.tx.get(WorkloadRow, workload_id, lock=True)
    if workload is None:
        return set()
    away = await nodes_away(change.tx) - {heard}
    if workload.removed_at is not None:
        await operations.advance(change, workload_id, away=away)
        return set()
    if workload.desired == DesiredState.REMOVED:
        # Else a report could end the last one between the two looks at them, and the workload would be gone with its operation open.
        await lock_instances(change, workload_id)
    if unsettle and workload.settled:
        change.tx.update(workload, settled=False)
    await releasing.look(change, workload)
    await converging.bring_on(change, workload)
    await operations.advance(change, workload_id, away=away)
    await finish_removal(change, workload)
    await routes.refresh(change, workload)
    await links.touch(change, workload)
    return await releasing.waiting_on(change.tx, workload)
