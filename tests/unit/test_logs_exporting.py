"""What is sent on: the shapes of the sinks, batches that lose nothing at their edges, and settings that keep secrets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lattice import log_records
from lattice.contracts.messages import GapCause, LogGap
from lattice.log_labels import Place
from lattice.log_records import Line
from lattice.number_ranges import Ranges, added, missing
from lattice.settings import BusSettings
from services.logs.exporting import json_lines, loki, otlp, s3, syslog
from services.logs.exporting.batches import Batch, Exported, Limits, batches
from services.logs.exporting.cursor import Cursor
from services.logs.exporting.sinks import Sink
from services.logs.index import FrameHeader, Segment, StoredBlock
from services.logs.settings import LogsSettings
from tests.fixtures.log_blocks import START_NS, a_block

PLACE = Place("default", "shop", "attic", "in-1")
NOWHERE = BusSettings(
    urls=["tls://nowhere:1"], ca_file=Path(), cert_file=Path(), key_file=Path(), creds_file=Path()
)
NS = START_NS + 123_456_789
LINES = [
    Exported(PLACE, "c0ffee", Line(7, NS, "stderr", 'ERROR: disk "full"')),
    Exported(PLACE, "c0ffee", Line(8, NS + 1, "stdout", "plain é\nsecond")),
    Exported(PLACE._replace(workload="other one"), "bad", Line(1, NS + 2, "stdout", "level=debug")),
]


def test_loki() -> None:
    same = {
        "project": "default",
        "workload": "shop",
        "service_name": "shop",
        "node": "attic",
        "instance": "in-1",
    }
    other = {**same, "workload": "other one", "service_name": "other one"}
    assert json.loads(loki.payload(LINES)) == {
        "streams": [
            {
                "stream": {**same, "stream": "stderr", "level": "error"},
                "values": [[str(NS), 'ERROR: disk "full"']],
            },
            {"stream": {**same, "stream": "stdout"}, "values": [[str(NS + 1), "plain é\nsecond"]]},
            {
                "stream": {**other, "stream": "stdout", "level": "debug"},
                "values": [[str(NS + 2), "level=debug"]],
            },
        ]
    }


def test_otlp() -> None:
    found = json.loads(otlp.payload(LINES[:2]))
    (resource,) = found["resourceLogs"]
    named = {each["key"]: each["value"]["stringValue"] for each in resource["resource"]["attributes"]}
    assert named == {
        "service.name": "shop",
        "service.namespace": "default",
        "service.instance.id": "in-1",
        "host.name": "attic",
    }
    first, second = resource["scopeLogs"][0]["logRecords"]
    assert first == {
        "timeUnixNano": str(NS), "observedTimeUnixNano": str(NS), "body": {"stringValue": 'ERROR: disk "full"'}, "severityNumber": 17,
        "severityText": "error", "attributes": [
            {"key": "log.iostream", "value": {"stringValue": "stderr"}},
            {"key": "container.id", "value": {"stringValue": "c0ffee"}},
            {"key": "log.record.number", "value": {"intValue": "7"}},
        ],
    }  # fmt: skip
    assert "severityNumber" not in second


def test_syslog_counts_bytes_and_escapes_names() -> None:
    body = syslog.payload(LINES)
    first, rest = body.split(b" ", 1)
    message = rest[: int(first)].decode()
    assert message == (
        '<131>1 2030-03-17T17:46:40.123456Z attic shop in-1 stderr [lattice@32473 project="default" source="c0ffee" number="7"] ERROR: disk "full"'
    )
    size, rest = rest[int(first) :].split(b" ", 1)
    assert rest[: int(size)].decode().endswith("] plain é\nsecond")
    assert b" other_one in-1 stdout [" in rest and b"<135>1 " in rest


def test_json_lines_and_objects() -> None:
    assert json.loads(json_lines.payload(LINES[:1])) == {
        "time": "2030-03-17T17:46:40.123456789Z", "project": "default", "workload": "shop", "node": "attic", "instance": "in-1",
        "source": "c0ffee", "number": 7, "stream": "stderr", "level": "error", "message": 'ERROR: disk "full"',
    }  # fmt: skip
    found = s3.objects(LINES)
    assert [item.key.rsplit("-", 1)[0] for item in found] == [
        "default/shop/2030/03/17/174640",
        "default/other one/2030/03/17/174640",
    ]
    assert zstandard.ZstdDecompressor().decompress(found[0].content) == json_lines.payload(LINES[:2])
    assert s3.objects(LINES) == found


def made(first: int, texts: list[tuple[str, str]], **changes: Any) -> tuple[StoredBlock, bytes]:
    records = b"".join(
        log_records.record(START_NS + n, stream, text) for n, (stream, text) in enumerate(texts, first)
    )
    about = a_block(first, first + len(texts) - 1, **changes)
    header = FrameHeader(block=about, workload_name="shop", node_name="attic", stored_at_ns=START_NS)
    return StoredBlock(Segment(Path("x"), "default", "wl-1", 0, 0), 0, 0, 0, header), records


def reading(blocks: list[tuple[StoredBlock, bytes]]) -> Callable[[StoredBlock], bytes | None]:
    kept = {id(block): records for block, records in blocks}
    return lambda block: kept.get(id(block))


_RECORDS = st.lists(
    st.tuples(st.sampled_from(["stdout", "stderr"]), st.sampled_from(["a\n", "b", "c\n"])),
    min_size=1,
    max_size=6,
)


@given(st.lists(_RECORDS, min_size=1, max_size=4), st.integers(1, 5), st.data())
def test_whatever_is_interrupted_every_line_is_sent(
    contents: list[Any], most: int, data: st.DataObject
) -> None:
    """A sender is stopped after any batch and begins again with what is left: no line is missing, none comes twice."""
    blocks, first = [], 1
    for content in contents:
        blocks.append(made(first, content))
        first += len(content)
    covered: Ranges = ()
    sent: list[Line] = []

    def one() -> Batch | None:
        pending = [(block, left) for block, _ in blocks if (left := missing(covered, block.lines))]
        return next(batches(pending, reading(blocks), Limits(most, 10**6)), None)

    while (batch := one()) is not None:
        sent += [exported.line for exported in batch.lines]
        for _, lines in batch.done:
            covered = added(covered, lines)
    wanted = [line for block, records in blocks for line in log_records.lines(records, block.lines[0])]
    assert sorted(sent) == sorted(wanted)
    assert covered == ((1, first - 1),)


def test_a_block_that_is_not_there_is_not_dealt_with_and_a_gap_is_told() -> None:
    here, gone = made(1, [("stdout", "a\n")]), made(2, [("stdout", "b\n")])
    gap, _ = made(3, [("", "")], gap=LogGap(cause=GapCause.ROTATED))
    pending = [(here[0], [(1, 1)]), (gone[0], [(2, 2)]), (gap, [(3, 3)])]
    (batch,) = batches(pending, reading([here]), Limits(10, 100))
    assert [exported.line.stream for exported in batch.lines] == ["stdout", "gap"]
    assert [lines for _, lines in batch.done] == [(1, 1), (3, 3)]


def test_what_a_sink_has_survives(tmp_path: Path) -> None:
    cursor = Cursor(tmp_path / "x" / "c.json")
    cursor.advance([(("nd", "a"), (5, 9)), (("nd", "b"), (1, 2)), (("nd", "a"), (1, 3))])
    cursor.keep_only({("nd", "a")})
    cursor.save(cursor.content())
    again = Cursor(tmp_path / "x" / "c.json")
    assert (again.missing(("nd", "a"), (1, 10)), again.missing(("nd", "b"), (1, 2))) == (
        [(4, 4), (10, 10)],
        [(1, 2)],
    )
    (tmp_path / "x" / "c.json").write_text("{")
    assert Cursor(tmp_path / "x" / "c.json").missing(("nd", "a"), (1, 3)) == [(1, 3)]


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"kind": "loki", "url": "http://x/", "secret": "hidden-1"}, "Extra inputs are not permitted"),
        ({"kind": "fax", "url": "http://x/"}, "'loki', 'otlp', 'syslog', 's3' or 'webhook'"),
        ({"kind": "loki", "url": "ftp://x/"}, "http://… or https://…"),
        ({"kind": "webhook", "url": "https://me:hidden-1@x/"}, "no credentials in the url"),
        ({"kind": "syslog", "url": "tcp://x"}, "has a port"),
        ({"kind": "syslog", "url": "tls://x:1", "headers": {"a": "hidden-1"}}, "takes no headers"),
        ({"kind": "loki", "url": "http://x/", "s3_region": "hidden-1"}, "for s3 sinks only"),
    ],
)
def test_sinks_that_make_no_sense_are_refused_without_telling_secrets(
    given_: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=said) as refused:
        LogsSettings(bus=NOWHERE, data_dir=Path("x"), exports=[given_])
    assert "hidden-1" not in str(refused.value)


def test_the_same_sink_twice_is_refused() -> None:
    sink = {"kind": "loki", "url": "http://x/"}
    with pytest.raises(ValidationError, match="twice"):
        LogsSettings(bus=NOWHERE, data_dir=Path("x"), exports=[sink, sink])


def test_sinks_come_from_the_environment_and_hide_what_is_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [
        {
            "kind": "loki",
            "url": "http://x/",
            "headers": {"Authorization": "Bearer hidden-1"},
            "projects": ["shop"],
        }
    ]
    monkeypatch.setenv("LATTICE_LOGS_EXPORTS", json.dumps(told))
    (sink,) = LogsSettings(bus=NOWHERE, data_dir=Path("x")).exports
    assert sink.plain_headers() == {"Authorization": "Bearer hidden-1"}
    assert "hidden-1" not in repr(sink) and sink.name.startswith("loki-")
    assert sink.wants("shop") and not sink.wants("default")
    everything = Sink.model_validate({"kind": "loki", "url": "http://x/"})
    assert everything.wants("default") and not everything.wants("_platform")


def test_a_variable_that_nobody_set_means_no_object_store() -> None:
    assert LogsSettings(bus=NOWHERE, data_dir=Path("x"), tier_url="").tier_url is None
