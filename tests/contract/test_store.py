"""What every store promises, held against Postgres and against the store in memory alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar, TypeVar, cast

import pytest
from sqlalchemy import Index, LargeBinary, MetaData, String, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import Field, SQLModel

from lattice.errors import Conflict, Invalid, StaleVersion, Temporary
from lattice.postgres import PostgresStore
from lattice.settings import DatabaseSettings
from lattice.storage import Gt, In, Lt, Not, Store, Transaction
from lattice.testing import MemoryDatabase, MemoryStore
from tests.fixtures.postgres import PostgresServer

R = TypeVar("R", bound=SQLModel)
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Row(SQLModel):
    metadata: ClassVar[MetaData] = MetaData(schema="contract")


class ItemRow(Row, table=True):
    """Guarded by its version; its name is unique among those that are not removed."""

    __tablename__ = "item"
    __table_args__ = (
        Index("item_name", "project", "name", unique=True, postgresql_where=text("removed_at is null")),
        UniqueConstraint("serial", name="item_serial"),
    )
    id: str = Field(primary_key=True)
    project: str = "default"
    name: str
    colour: Colour = Field(default=Colour.RED, sa_type=String)
    size: int | None = None
    serial: int | None = None
    data: dict[str, Any] = Field(default_factory=dict, sa_type=JSONB, nullable=False)
    content: bytes | None = Field(default=None, sa_type=LargeBinary)
    removed_at: datetime | None = None
    version: int = 1


class PartRow(Row, table=True):
    """Not guarded; two columns make its key."""

    __tablename__ = "part"
    item_id: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    note: str = ""
    weight: float = 0.0


class EntryRow(Row, table=True):
    """Numbered by the database."""

    __tablename__ = "entry"
    id: int | None = Field(default=None, primary_key=True)
    text: str


@dataclass
class Bed:
    """Two processes' stores on one database, and the means to disturb them."""

    store: PostgresStore | MemoryStore
    other: PostgresStore | MemoryStore
    take_away: Callable[[], Any]
    bring_back: Callable[[], Any]
    cut_off: Callable[[], Any]


@pytest.fixture(scope="module")
def postgres_template(postgres_server: PostgresServer) -> str:
    """The tables of this suite, made once and copied for each test."""
    asyncio.run(make_tables(postgres_server.create("template_store_contract")))
    return "template_store_contract"


@pytest.fixture(params=["memory", "postgres"])
def bed_url(request: pytest.FixtureRequest) -> str | None:
    """The address of a database, or None for the one in memory."""
    return request.getfixturevalue("postgres_url") if request.param == "postgres" else None


@pytest.fixture
async def bed(request: pytest.FixtureRequest, bed_url: str | None) -> AsyncIterator[Bed]:
    if bed_url is None:
        yield memory_bed()
        return
    stores = [PostgresStore(DatabaseSettings(url=bed_url)) for _ in range(2)]
    yield postgres_bed(request.getfixturevalue("postgres_server"), bed_url, stores)
    for store in stores:
        await store.close()


@pytest.fixture
def store(bed: Bed) -> Store:
    return bed.store


def memory_bed() -> Bed:
    database = MemoryDatabase()
    store = MemoryStore(database)

    async def set_away(*, away: bool) -> None:
        database.away = away

    async def cut_off() -> None:
        store.lose_connection()

    return Bed(
        store,
        MemoryStore(database),
        take_away=lambda: set_away(away=True),
        bring_back=lambda: set_away(away=False),
        cut_off=cut_off,
    )


def postgres_bed(server: PostgresServer, url: str, stores: list[PostgresStore]) -> Bed:
    name = url.rpartition("/")[2].partition("?")[0]
    end_sessions = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"

    async def as_superuser(*statements: str) -> None:
        for statement in statements:
            await asyncio.to_thread(server.as_superuser, statement)

    return Bed(
        stores[0],
        stores[1],
        take_away=lambda: as_superuser(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false', end_sessions),
        bring_back=lambda: as_superuser(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'),
        cut_off=lambda: as_superuser(end_sessions),
    )


async def make_tables(url: str) -> None:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.execute(text("CREATE SCHEMA contract"))
        await connection.run_sync(Row.metadata.create_all)
    await engine.dispose()


async def keep(store: Store, *rows: SQLModel) -> None:
    async with store.transaction() as tx:
        for row in rows:
            tx.add(row)


async def present(tx: Transaction, table: type[R], key: Any, *, lock: bool = False) -> R:
    """A row that must be there."""
    row = await tx.get(table, key, lock=lock)
    assert row is not None
    return row


async def item(store: Store, key: str = "a") -> ItemRow:
    async with store.transaction() as tx:
        return await present(tx, ItemRow, key)


async def ids(store: Store, **options: Any) -> list[str]:
    async with store.transaction() as tx:
        return [row.id for row in await tx.find(ItemRow, **options)]


async def until_waiting(task: asyncio.Task[Any]) -> None:
    """Give the task time to get stuck; it fails the test if it ended."""
    done, _ = await asyncio.wait([task], timeout=0.3)
    assert not done, "it did not wait"


# ---------------------------------------------------------------- commit and roll-back


async def test_commits_rows_of_several_tables_together(store: Store) -> None:
    await keep(store, ItemRow(id="a", name="one"), PartRow(item_id="a", number=1), EntryRow(text="hello"))
    async with store.transaction() as tx:
        assert (await present(tx, ItemRow, "a")).name == "one"
        assert (await present(tx, PartRow, ("a", 1))).note == ""
        assert [entry.text for entry in await tx.find(EntryRow)] == ["hello"]


async def test_an_error_in_the_block_undoes_everything(store: Store) -> None:
    await keep(store, ItemRow(id="a", name="one"))
    with pytest.raises(LookupError):
        async with store.transaction() as tx:
            tx.update(await present(tx, ItemRow, "a"), name="changed")
            tx.add(ItemRow(id="b", name="two"))
            await tx.flush()
            raise LookupError
    assert await ids(store) == ["a"]
    assert (await item(store)).name == "one"


async def test_every_kind_of_value_comes_back_as_it_went(store: Store) -> None:
    row = ItemRow(
        id="a",
        name='quote " and \\ and ☃',
        colour=Colour.BLUE,
        size=-(2**31),
        data={"list": [1, 2.5, None, True], "deep": {"ä": "\n\t"}},
        content=b"\x00\xff\\x",
        removed_at=NOON + timedelta(microseconds=1),
    )
    expected = row.model_dump()
    await keep(store, row)
    found = await item(store)
    assert found.model_dump() == expected
    assert found.colour is Colour.BLUE
    assert found.removed_at is not None and found.removed_at.utcoffset() == timedelta(0)


async def test_a_row_that_was_read_belongs_to_its_reader(store: Store) -> None:
    await keep(store, ItemRow(id="a", name="one", data={"list": [1]}))
    (await item(store)).data["list"].append(2)
    assert (await item(store)).data == {"list": [1]}


async def test_many_rows_at_once(store: Store) -> None:
    await keep(store, *(ItemRow(id=f"{n:04}", name=f"n{n}", serial=n) for n in range(1000)))
    async with store.transaction() as tx:
        for row in await tx.find(ItemRow, serial=Lt(500)):
            tx.update(row, size=row.serial)
        for row in await tx.find(ItemRow, serial=Gt(898)):
            tx.delete(row)
    async with store.transaction() as tx:
        assert await tx.count(ItemRow) == 899
        assert await tx.count(ItemRow, size=Not(None)) == 500


async def test_a_commit_of_nothing_is_fine(store: Store) -> None:
    async with store.transaction() as tx:
        await tx.flush()
    assert await ids(store) == []


async def test_the_database_numbers_rows_in_the_order_in_which_they_were_added(store: Store) -> None:
    await keep(store, *(EntryRow(text=word) for word in "abc"))
    async with store.transaction() as tx:
        entries = await tx.find(EntryRow)
    assert [entry.text for entry in entries] == ["a", "b", "c"]
    assert [entry.id for entry in entries] == sorted({entry.id or 0 for entry in entries})


# ---------------------------------------------------------------- changes of one row


async def test_several_changes_of_a_row_are_one(store: Store) -> None:
    await keep(store, ItemRow(id="a", name="one"))
    async with store.transaction() as tx:
        row = await present(tx, ItemRow, "a")
        assert tx.update(row, name="two") is row
        tx.update(row, size=3)
        assert (row.name, row.size, row.version) == ("two", 3, 2)
    assert (await item(store)).model_dump(include={"name", "size", "version"}) == {
        "name": "two",
        "size": 3,
        "version": 2,
    }


async def test_two_readings_of_a_row_are_changed_as_one(store: Store) -> None:
    await keep(store, ItemRow(id="a", name="one"))
    async with store.transaction() as tx:
        first, second = await present(tx, ItemRow, "a"), await present(tx, ItemRow, "a")
        tx.update(first, name="two")
        tx.update(second, size=3)
        tx.update(first, colour=Colour.BLUE)
    found = await item(store)
    assert (found.name, found.size, found.colour, found.version) == ("two", 3, Colour.BLUE, 2)


async def test_an_added_row_may_still_change_and_go(store: Store) -> None:
    async with store.transaction() as tx:
        tx.update(tx.add(ItemRow(id="a", name="one")), name="two")
        tx.delete(tx.add(ItemRow(id="b", name="gone")))
    assert await ids(store) == ["a"]
    assert ((await item(store)).name, (await item(store)).version) == ("two", 1)


async def test_a_row_is_replaced_by_another_with_its_key(store: Store) -> None:
    await keep(store, ItemRow(id="a", name="one", size=1))
    async with store.transaction() as tx:
        tx.update(await present(tx, ItemRow, "a"), size=2)
        tx.delete(await present(tx, ItemRow, "a"))
        tx.add(ItemRow(id="a", name="one"))
    assert ((await item(store)).size, (await item(store)).version) == (None, 1)


async def test_a_changed_and_deleted_row_is_deleted(store: Store) -> None:
    await keep(store, ItemRow(id="a", name="one"))
    async with store.transaction() as tx:
        row = await present(tx, ItemRow, "a")
        tx.update(row, size=2)
        tx.delete(row)
    assert await ids(store) == []


async def test_only_the_named_columns_of_an_unguarded_row_are_written(bed: Bed) -> None:
    await keep(bed.store, PartRow(item_id="a", number=1))
    async with bed.store.transaction() as one:
        early = await present(one, PartRow, ("a", 1))
        async with bed.other.transaction() as two:
            two.update(await present(two, PartRow, ("a", 1)), note="theirs")
        one.update(early, weight=2.5)
    async with bed.store.transaction() as tx:
        part = await present(tx, PartRow, ("a", 1))
    assert (part.note, part.weight) == ("theirs", 2.5)


@pytest.mark.parametrize("changes", [{"id": "b"}, {"version": 7}, {"colou": "red"}])
async def test_key_version_and_unknown_columns_are_not_changed(store: Store, changes: dict[str, Any]) -> None:
    await keep(store, ItemRow(id="a", name="one"))
    with pytest.raises(ValueError, match=next(iter(changes))):
        async with store.transaction() as tx:
            tx.update(await present(tx, ItemRow, "a"), **changes)
    assert (await item(store)).version == 1


async def test_a_time_without_a_zone_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match=r"zone|aware|naive"):
        await keep(store, ItemRow(id="a", name="one", removed_at=datetime(2030, 1, 1)))  # noqa: DTZ001
    assert await ids(store) == []


async def test_a_value_that_the_table_refuses_is_invalid(store: Store) -> None:
    with pytest.raises(Invalid):
        await keep(store, PartRow(item_id="a", number=1, note=cast(str, None)))
    async with store.transaction() as tx:
        assert await tx.count(PartRow) == 0


@pytest.mark.parametrize(
    "columns",
    [{"name": "a\x00b"}, {"data": {"a": ["\x00"]}}, {"data": {"\x00": 1}}],
    ids=["text", "in a list", "as a key"],
)
async def test_a_nul_character_is_invalid(store: Store, columns: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        await keep(store, ItemRow(**({"id": "a", "name": "one"} | columns)))
    assert await ids(store) == []


# ---------------------------------------------------------------- version guard


@pytest.mark.parametrize("how", ["update", "delete"])
async def test_a_row_that_moved_refuses_the_whole_commit(bed: Bed, how: str) -> None:
    await keep(bed.store, ItemRow(id="a", name="one"))
    with pytest.raises(StaleVersion) as refused:
        async with bed.store.transaction() as tx:
            row = await present(tx, ItemRow, "a")
            async with bed.other.transaction() as faster:
                faster.update(await present(faster, ItemRow, "a"), name="theirs")
            tx.add(ItemRow(id="b", name="two"))
            tx.update(row, name="ours") if how == "update" else tx.delete(row)
    assert refused.value.data["tables"] == ["contract.item"]
    assert await ids(bed.store) == ["a"]
    assert (await item(bed.store)).name == "theirs"


@pytest.mark.parametrize(
    ("table", "key", "changes"), [(ItemRow, "a", {"size": 1}), (PartRow, ("a", 1), {"note": "x"})]
)
async def test_a_row_that_is_gone_refuses_the_commit(
    bed: Bed, table: type[Row], key: Any, changes: dict[str, Any]
) -> None:
    await keep(bed.store, ItemRow(id="a", name="one"), PartRow(item_id="a", number=1))
    with pytest.raises(StaleVersion):
        async with bed.store.transaction() as tx:
            row = await present(tx, table, key)
            async with bed.other.transaction() as faster:
                faster.delete(await present(faster, table, key))
            tx.update(row, **changes)


async def test_an_unguarded_row_may_be_deleted_twice(bed: Bed) -> None:
    await keep(bed.store, PartRow(item_id="a", number=1))
    async with bed.store.transaction() as tx:
        row = await present(tx, PartRow, ("a", 1))
        async with bed.other.transaction() as faster:
            faster.delete(await present(faster, PartRow, ("a", 1)))
        tx.delete(row)
    async with bed.store.transaction() as tx:
        assert await tx.count(PartRow) == 0


async def test_of_two_at_once_one_wins(bed: Bed) -> None:
    await keep(bed.store, ItemRow(id="a", name="one", size=0))

    async def add_one(store: Store) -> bool:
        try:
            async with store.transaction() as tx:
                row = await present(tx, ItemRow, "a")
                tx.update(row, size=(row.size or 0) + 1)
        except StaleVersion:
            return False
        return True

    won = await asyncio.gather(*(add_one(store) for store in (bed.store, bed.other) * 5))
    assert (await item(bed.store)).size == sum(won) > 0


# ---------------------------------------------------------------- unique rules


async def test_a_taken_name_is_a_conflict_that_names_the_rule(store: Store) -> None:
    await keep(store, ItemRow(id="a", name="one"))
    with pytest.raises(Conflict) as refused:
        await keep(store, ItemRow(id="b", name="one"), PartRow(item_id="b", number=1))
    assert refused.value.data["constraint"] == "item_name"
    assert refused.value.data["table"] == "contract.item"
    assert await ids(store) == ["a"]
    async with store.transaction() as tx:
        assert await tx.count(PartRow) == 0


async def test_a_partial_rule_frees_the_name_of_what_it_does_not_cover(store: Store) -> None:
    await keep(store, ItemRow(id="a", name="one", removed_at=NOON), ItemRow(id="b", name="one"))
    await keep(store, ItemRow(id="c", name="one", project="other"))
    with pytest.raises(Conflict) as refused:
        async with store.transaction() as tx:
            tx.update(await present(tx, ItemRow, "a"), removed_at=None)
    assert refused.value.data["constraint"] == "item_name"


@pytest.mark.parametrize("how", ["delete", "update"])
async def test_what_goes_makes_room_for_what_comes(store: Store, how: str) -> None:
    await keep(store, ItemRow(id="a", name="one", serial=1))
    async with store.transaction() as tx:
        old = await present(tx, ItemRow, "a")
        tx.add(ItemRow(id="b", name="one", serial=1))
        tx.delete(old) if how == "delete" else tx.update(old, removed_at=NOON, serial=None)
    assert await ids(store, serial=1) == ["b"]


async def test_nulls_do_not_collide(store: Store) -> None:
    await keep(store, ItemRow(id="a", name="one"), ItemRow(id="b", name="two"))
    with pytest.raises(Conflict) as refused:
        await keep(store, ItemRow(id="c", name="3", serial=7), ItemRow(id="d", name="4", serial=7))
    assert refused.value.data["constraint"] == "item_serial"


async def test_a_taken_key_is_a_conflict(store: Store) -> None:
    await keep(store, ItemRow(id="a", name="one"))
    for rows in ([ItemRow(id="a", name="two")], [ItemRow(id="b", name="two"), ItemRow(id="b", name="3")]):
        with pytest.raises(Conflict) as refused:
            await keep(store, *rows)
        assert refused.value.data["constraint"] == "item_pkey"
    assert await ids(store) == ["a"]


async def test_of_two_that_add_the_same_name_one_wins(bed: Bed) -> None:
    async def add(store: Store, key: str) -> bool:
        try:
            await keep(store, ItemRow(id=key, name="one"))
        except Conflict:
            return False
        return True

    won = await asyncio.gather(add(bed.store, "a"), add(bed.other, "b"), add(bed.store, "c"))
    assert won.count(True) == 1


async def test_after_an_error_a_transaction_cannot_be_committed(store: Store) -> None:
    await keep(store, ItemRow(id="a", name="one"))
    with pytest.raises(Conflict):
        async with store.transaction() as tx:
            tx.add(ItemRow(id="b", name="two"))
            await tx.flush()
            tx.add(ItemRow(id="c", name="one"))
            with pytest.raises(Conflict):
                await tx.flush()
    assert await ids(store) == ["a"]


# ---------------------------------------------------------------- find, order, count


@pytest.fixture
async def shelf(store: Store) -> Store:
    sizes = {"a": 3, "b": None, "c": 1, "d": 3}
    colours = {"c": Colour.BLUE}
    await keep(
        store,
        *(ItemRow(id=i, name=f"n-{i}", size=s, colour=colours.get(i, Colour.RED)) for i, s in sizes.items()),
    )
    return store


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({}, "abcd"),
        ({"size": 3}, "ad"),
        ({"size": None}, "b"),
        ({"size": Not(None)}, "acd"),
        ({"size": Not(3)}, "bc"),
        ({"size": Gt(1)}, "ad"),
        ({"size": Lt(3)}, "c"),
        ({"size": In((1, 3))}, "acd"),
        ({"size": In(())}, ""),
        ({"size": In((None, 1))}, "c"),
        ({"colour": Colour.BLUE}, "c"),
        ({"colour": In((Colour.RED,)), "size": Gt(2)}, "ad"),
        ({"id": Gt("b"), "colour": Colour.RED}, "d"),
        ({"removed_at": Lt(NOON)}, ""),
    ],
)
async def test_finds_and_counts(shelf: Store, where: dict[str, Any], expected: str) -> None:
    assert await ids(shelf, **where) == list(expected)
    async with shelf.transaction() as tx:
        assert await tx.count(ItemRow, **where) == len(expected)


@pytest.mark.parametrize(
    ("order_by", "expected"),
    [
        (("id",), "abcd"),
        (("-id",), "dcba"),
        (("size",), "cadb"),
        (("-size",), "badc"),
        (("-size", "-id"), "bdac"),
        (("colour", "-size", "name"), "cbad"),
    ],
)
async def test_orders_rows_a_null_being_greater_than_all(
    shelf: Store, order_by: tuple[str, ...], expected: str
) -> None:
    assert await ids(shelf, order_by=order_by) == list(expected)
    assert await ids(shelf, order_by=order_by, limit=2) == list(expected)[:2]


async def test_rows_without_an_id_are_ordered_by_their_key(store: Store) -> None:
    await keep(store, *(PartRow(item_id=i, number=n) for i, n in (("b", 1), ("a", 2), ("a", 1))))
    async with store.transaction() as tx:
        parts = await tx.find(PartRow)
    assert [(part.item_id, part.number) for part in parts] == [("a", 1), ("a", 2), ("b", 1)]


async def test_text_is_ordered_by_code_point(store: Store) -> None:
    await keep(store, *(ItemRow(id=key, name=key) for key in ("b", "A", "a-1", "a1", "ä", "B")))
    assert await ids(store) == ["A", "B", "a-1", "a1", "b", "ä"]


@pytest.mark.parametrize("where", [{"nothing": 1}, {"data": {}}])
async def test_unknown_and_json_columns_are_refused(store: Store, where: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(where))):
        await ids(store, **where)


async def test_what_is_not_there_is_none(store: Store) -> None:
    async with store.transaction() as tx:
        assert await tx.get(ItemRow, "nobody") is None
        assert await tx.get(PartRow, ("nobody", 1), lock=True) is None


# ---------------------------------------------------------------- own writes


async def test_a_transaction_reads_its_own_writes(store: Store) -> None:
    await keep(store, ItemRow(id="a", name="one"))
    async with store.transaction() as tx:
        tx.update(await present(tx, ItemRow, "a"), size=5)
        tx.add(ItemRow(id="b", name="two", size=5))
        assert [row.id for row in await tx.find(ItemRow, size=5)] == ["a", "b"]
        assert await tx.count(ItemRow, size=5) == 2
        tx.delete(await present(tx, ItemRow, "a"))
        assert await tx.get(ItemRow, "a") is None
    assert await ids(store) == ["b"]


async def test_others_see_nothing_before_the_commit(bed: Bed) -> None:
    await keep(bed.store, ItemRow(id="a", name="one"))
    async with bed.store.transaction() as tx:
        tx.add(ItemRow(id="b", name="two"))
        tx.update(await present(tx, ItemRow, "a"), name="changed")
        await tx.flush()
        assert await ids(bed.other) == ["a"]
        assert (await item(bed.other)).name == "one"
    assert await ids(bed.other) == ["a", "b"]


async def test_a_row_may_change_again_after_a_flush(store: Store) -> None:
    await keep(store, ItemRow(id="a", name="one"))
    async with store.transaction() as tx:
        row = tx.update(await present(tx, ItemRow, "a"), size=1)
        await tx.flush()
        tx.update(row, size=2)
        added = tx.add(ItemRow(id="b", name="two"))
        await tx.flush()
        tx.update(added, size=3)
    assert ((await item(store)).size, (await item(store)).version) == (2, 3)
    assert (await item(store, "b")).size == 3


# ---------------------------------------------------------------- locks


async def read_locked(store: Store, got: list[Any], key: str = "a") -> None:
    async with store.transaction() as tx:
        row = await present(tx, ItemRow, key, lock=True)
        got.append(row.size)
        tx.update(row, size=(row.size or 0) + 1)


async def test_a_locked_row_makes_others_wait_and_read_the_newer(bed: Bed) -> None:
    await keep(bed.store, ItemRow(id="a", name="one", size=0))
    got: list[Any] = []
    async with bed.store.transaction() as tx:
        row = await present(tx, ItemRow, "a", lock=True)
        waiting = asyncio.create_task(read_locked(bed.other, got))
        await until_waiting(waiting)
        assert (await item(bed.other)).size == 0  # a plain read does not wait
        tx.update(row, size=10)
    await waiting
    assert got == [10]
    assert (await item(bed.store)).size == 11


async def test_a_find_that_locks_looks_again_after_it_waited(bed: Bed) -> None:
    await keep(bed.store, ItemRow(id="a", name="one", size=0), ItemRow(id="b", name="two", size=0))

    async def lock_all() -> list[str]:
        async with bed.other.transaction() as tx:
            return [row.id for row in await tx.find(ItemRow, size=0, lock=True)]

    async with bed.store.transaction() as tx:
        tx.update(await present(tx, ItemRow, "a", lock=True), size=1)
        waiting = asyncio.create_task(lock_all())
        await until_waiting(waiting)
    assert await waiting == ["b"]


async def test_a_lock_is_free_after_a_roll_back(bed: Bed) -> None:
    await keep(bed.store, ItemRow(id="a", name="one", size=0))
    with pytest.raises(LookupError):
        async with bed.store.transaction() as tx:
            await present(tx, ItemRow, "a", lock=True)
            raise LookupError
    got: list[Any] = []
    await asyncio.wait_for(read_locked(bed.other, got), 5)
    assert got == [0]


async def test_locked_rows_are_skipped_where_that_is_wanted(bed: Bed) -> None:
    await keep(bed.store, *(ItemRow(id=i, name=i) for i in "abcd"))

    async def two_free(tx: Transaction) -> list[str]:
        return [row.id for row in await tx.find(ItemRow, limit=2, lock=True, skip_locked=True)]

    async with (
        bed.store.transaction() as one,
        bed.other.transaction() as two,
        bed.store.transaction() as three,
    ):
        assert await two_free(one) == ["a", "b"]
        assert await two_free(two) == ["c", "d"]
        assert await two_free(three) == []
        assert await two_free(one) == ["a", "b"]


async def test_a_deadlock_is_broken_by_refusing_one(bed: Bed) -> None:
    await keep(bed.store, ItemRow(id="a", name="one", size=0), ItemRow(id="b", name="two", size=0))

    async def lock_both(store: Store, first: str, second: str, meet: asyncio.Barrier) -> bool:
        try:
            async with store.transaction() as tx:
                await present(tx, ItemRow, first, lock=True)
                await meet.wait()
                await present(tx, ItemRow, second, lock=True)
        except Temporary:
            return False
        return True

    meet = asyncio.Barrier(2)
    got = await asyncio.gather(lock_both(bed.store, "a", "b", meet), lock_both(bed.other, "b", "a", meet))
    assert sorted(got) == [False, True]


async def test_a_named_lock_is_held_to_the_end_of_the_transaction(bed: Bed) -> None:
    async def take() -> None:
        async with bed.other.transaction() as tx:
            await tx.lock("names")

    async with bed.store.transaction() as tx:
        await tx.lock("names")
        await tx.lock("names")
        waiting = asyncio.create_task(take())
        await until_waiting(waiting)
    await asyncio.wait_for(waiting, 5)


# ---------------------------------------------------------------- exclusive


async def test_one_of_two_holds_a_name(bed: Bed) -> None:
    async with bed.store.exclusive("relay") as first:
        async with bed.other.exclusive("relay") as second, bed.store.exclusive("relay") as again:
            assert (first, second, again) == (True, False, False)
        async with bed.other.exclusive("judge") as different:
            assert different is True
    async with bed.other.exclusive("relay") as now:
        assert now is True


async def test_a_name_is_free_again_after_an_error(bed: Bed) -> None:
    with pytest.raises(LookupError):
        async with bed.store.exclusive("relay"):
            raise LookupError
    async with bed.other.exclusive("relay") as got:
        assert got is True


async def test_a_name_is_lost_with_the_connection(bed: Bed) -> None:
    async with bed.store.exclusive("relay") as first:
        assert first is True
        await bed.cut_off()
        async with asyncio.timeout(10):
            while not await try_once(bed.other, "relay"):
                await asyncio.sleep(0.02)
    async with bed.store.exclusive("relay") as again:
        assert again is True


async def try_once(store: Store, name: str) -> bool:
    try:
        async with store.exclusive(name) as got:
            return got
    except Temporary:
        return False  # its own connection was cut as well


# ---------------------------------------------------------------- the database away


async def test_an_absent_database_is_temporary_and_comes_back(bed: Bed) -> None:
    await keep(bed.store, ItemRow(id="a", name="one"))
    assert await bed.store.ready() == ""
    await bed.take_away()
    assert "away" in await bed.store.ready()
    for _ in range(3):
        with pytest.raises(Temporary):
            await ids(bed.store)
    with pytest.raises(Temporary):
        await keep(bed.store, ItemRow(id="b", name="two"))
    with pytest.raises(Temporary):
        async with bed.other.exclusive("relay"):
            pass
    await bed.bring_back()
    async with asyncio.timeout(10):
        while await reads(bed.store) != ["a"]:
            await asyncio.sleep(0.02)


async def reads(store: Store) -> list[str] | None:
    try:
        return await ids(store)
    except Temporary:
        return None


async def test_a_transaction_cut_off_in_the_middle_writes_nothing(bed: Bed) -> None:
    await keep(bed.store, ItemRow(id="a", name="one"))
    with pytest.raises(Temporary):
        async with bed.store.transaction() as tx:
            tx.update(await present(tx, ItemRow, "a", lock=True), name="changed")
            await tx.flush()
            await bed.take_away()
            tx.add(ItemRow(id="b", name="two"))
    await bed.bring_back()
    assert await ids(bed.other) == ["a"]
    assert (await item(bed.other)).name == "one"


async def test_an_interrupted_wait_leaves_nothing_behind(bed: Bed) -> None:
    await keep(bed.store, ItemRow(id="a", name="one", size=0))
    async with bed.store.transaction() as tx:
        row = await present(tx, ItemRow, "a", lock=True)
        waiting = asyncio.create_task(read_locked(bed.other, []))
        await until_waiting(waiting)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        tx.update(row, size=5)
    got: list[Any] = []
    await asyncio.wait_for(read_locked(bed.other, got), 5)
    assert got == [5]


async def test_tasks_of_one_transaction_take_turns(store: Store) -> None:
    await keep(store, *(ItemRow(id=i, name=i) for i in "abcd"))
    async with store.transaction() as tx:
        rows = await asyncio.gather(*(tx.get(ItemRow, i, lock=True) for i in "abcd"))
        for row in filter(None, rows):
            tx.update(row, size=1)
    assert await ids(store, size=1) == list("abcd")
