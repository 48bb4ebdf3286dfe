"""What is over and old is dropped; what could still be asked for is kept."""

from __future__ import annotations

from datetime import timedelta

from lattice.contracts.messages import DeleteVolume, DeleteWorkload, GetCredentials, WorkloadCommand
from lattice.storage import Not
from services.registry import belongings, credentials, workloads
from services.registry.retention import KEPT
from services.registry.sweep import Sweep
from services.registry.tables import (
    AuditRow,
    InstanceRow,
    OperationRow,
    RevisionRow,
    SealedCopyRow,
    SecretRow,
    SecretVersionRow,
    VolumeRow,
    WorkloadRow,
)
from tests.fixtures.registry_world import CALLER, World, deployed, running

OF_A_WORKLOAD = (
    WorkloadRow,
    RevisionRow,
    InstanceRow,
    OperationRow,
    VolumeRow,
    SecretRow,
    SecretVersionRow,
    SealedCopyRow,
)


async def counts(world: World) -> dict[str, int]:
    async with world.deps.store.transaction() as tx:
        return {table.__name__: await tx.count(table) for table in OF_A_WORKLOAD}


async def month_later(world: World) -> None:
    world.clock.advance((KEPT + timedelta(days=1)).total_seconds())
    await Sweep(world.deps).forget()


async def test_a_removed_workload_goes_with_all_that_was_its_own(world: World) -> None:
    await deployed(world, name="db", template="postgres")
    await workloads.delete_workload(world.deps, DeleteWorkload(caller=CALLER, workload="db", volumes=True))
    for _ in range(2):
        document = await world.document()
        await world.report(generation=document.generation)
    await Sweep(world.deps).round(everything=True)
    await Sweep(world.deps).forget()
    assert (await counts(world))["WorkloadRow"] == 1, "what has just been removed is still to be asked for"
    await month_later(world)
    assert set((await counts(world)).values()) == {0}
    async with world.deps.store.transaction() as tx:
        assert await tx.find(AuditRow, action="workload.delete") != []


async def test_a_released_volume_keeps_its_credentials(world: World) -> None:
    await deployed(world, name="db", template="postgres")
    request = GetCredentials(caller=CALLER, workload="db")
    first = await credentials.get_credentials(world.deps, request)
    await workloads.delete_workload(world.deps, DeleteWorkload(caller=CALLER, workload="db"))
    await world.report(generation=(await world.document()).generation)
    await month_later(world)
    assert (await counts(world))["VolumeRow"] == 1
    await world.create(name="db", template="postgres", adopt=True)
    await world.place_all()
    await world.report(running(await world.document()), generation=(await world.document()).generation)
    assert (await credentials.get_credentials(world.deps, request)).password == first.password


async def test_a_removed_volume_goes_with_its_credentials(world: World) -> None:
    await deployed(world, name="db", template="postgres")
    await workloads.delete_workload(world.deps, DeleteWorkload(caller=CALLER, workload="db"))
    await world.report(generation=(await world.document()).generation)
    await belongings.delete_volume(world.deps, DeleteVolume(caller=CALLER, volume="db-data"))
    await world.report(generation=(await world.document()).generation)
    await month_later(world)
    assert (await counts(world))["VolumeRow"] == 0
    assert (await counts(world))["SecretVersionRow"] == 0


async def test_epochs_go_on_rising_when_old_instances_are_dropped(world: World) -> None:
    await deployed(world, name="web", image="a:1")
    seen = []
    for _ in range(3):
        await workloads.restart_workload(world.deps, WorkloadCommand(caller=CALLER, workload="web"))
        await world.place_all()
        document = await world.document()
        await world.report(running(document), generation=document.generation)
        seen.append(document.instances[0].key.epoch)
        await month_later(world)
    assert seen == sorted(set(seen))
    async with world.deps.store.transaction() as tx:
        gone = await tx.find(InstanceRow, gone_at=Not(None))
    assert len(gone) <= 1, "only what the newest has just replaced"
