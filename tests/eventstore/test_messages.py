"""Messages: CloudEvents that come back as they went in, in batches that keep order and bounds."""

import base64
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.cloudevents import LogEvent, batch, decode_batch, event_json
from eventstore.leaf import StoredEvent, leaf_hash
from eventstore.packing import Message, Packer, Packing, Partition, partition_of, topic_of

TENANT = UUID("018f0000-0000-7000-8000-000000000001")
STREAM = UUID("018f0000-0000-7000-8000-000000000002")
NOON = datetime(2026, 7, 1, 12, 0, 0, 123456, tzinfo=UTC)

# What the attributes of a CloudEvent must be called (1.0, section 3).
ATTRIBUTE = r"[a-z0-9]+"


def logged(position: int = 42, **changes: Any) -> LogEvent:
    event = StoredEvent(
        position=position,
        event_id=uuid5(TENANT, str(position)),
        tenant=TENANT,
        tenant_seq=position,
        stream_id=STREAM,
        version=3,
        schema_version=2,
        number=None,
        recorded_at=NOON + timedelta(seconds=position % 3600),
        stream_type="finance.journal_entry",
        type="finance.journal_entry.posted",
        series=None,
        encoding="json",
        data=b'{"memo":"M\xc3\xbcller"}',
        metadata=b'{"actor":"alice"}',
    )._replace(**changes)
    return LogEvent(event, leaf_hash(event))


def as_json(event: LogEvent, previous: int = 7) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(event_json(event, previous))
    return found


def test_an_event_is_a_cloudevent_as_documented() -> None:
    event = logged(number=5, series="general/2026")
    assert as_json(event) == {
        "specversion": "1.0",
        "id": str(event.event.event_id),
        "source": f"/tenants/{TENANT}",
        "type": "com.killer-erp.finance.journal_entry.posted.v2",
        "subject": f"finance.journal_entry/{STREAM}",
        "time": "2026-07-01T12:00:42.123456Z",
        "datacontenttype": "application/json",
        "position": "42",
        "prev": "7",
        "tenant": str(TENANT),
        "tenantseq": "42",
        "streamtype": "finance.journal_entry",
        "streamid": str(STREAM),
        "version": "3",
        "schemaversion": 2,
        "series": "general/2026",
        "number": "5",
        "recordedat": "2026-07-01T12:00:42.123456Z",
        "encoding": "json",
        "leafhash": base64.b64encode(event.leaf_hash).decode(),
        "metadata": '{"actor":"alice"}',
        "data": {"memo": "Müller"},
    }


def test_the_documented_event_is_one_that_can_be_read() -> None:
    """The example of docs/reference/messages.md, with every attribute in its order."""
    page = (Path(__file__).parents[2] / "docs" / "reference" / "messages.md").read_text()
    example = page.partition("```json\n")[2].partition("```")[0]
    (found,) = decode_batch(b"[" + example.encode() + b"]")
    again = event_json(LogEvent(found.event, found.leaf_hash), found.previous)
    assert list(orjson.loads(again).items()) == list(orjson.loads(example).items())


def test_attributes_are_named_and_typed_as_cloudevents_allow() -> None:
    import re

    for name, value in as_json(logged(number=2**40, series="s")).items():
        assert re.fullmatch(ATTRIBUTE, name) or name == "data_base64"
        assert name == "data" or isinstance(value, str | bool) or -(2**31) <= value < 2**31


@pytest.mark.parametrize(
    "data", [b'{ "a" :\t1.0e5,\n"b":"\\u00e9\xc3\xa9","a":0.10}', b"null", b"12345678901234567890123", b'""']
)
def test_json_data_stands_in_it_byte_for_byte(data: bytes) -> None:
    event = logged(data=data)
    assert b'"data":' + data + b"}" in event_json(event, 0)
    assert decode_batch(batch([event_json(event, 0)]))[0].event.data == data


@pytest.mark.parametrize(
    "data", [b"", b"{", b"NaN", b'"\xff"', b"{}{}", b'],"x":[', b"[" * 5000, b'{"a":1}\x00', b'"\\ud800"']
)
def test_what_only_claims_to_be_json_spoils_no_batch(data: bytes) -> None:
    value = batch([event_json(logged(1), 0), event_json(logged(2, data=data), 1), event_json(logged(3), 2)])
    assert [found["position"] for found in orjson.loads(value)] == ["1", "2", "3"]
    assert orjson.loads(value)[1]["data_base64"] == base64.b64encode(data).decode()
    assert decode_batch(value)[1].event == logged(2, data=data).event


def test_bytes_of_another_encoding_go_as_base64() -> None:
    event = logged(encoding="bytes", data=b"\x00\xff")
    assert as_json(event)["data_base64"] == "AP8="
    assert as_json(event)["datacontenttype"] == "application/octet-stream"


def test_metadata_that_is_no_text_comes_back_too() -> None:
    event = logged(metadata=b"\xff\x00")
    assert decode_batch(batch([event_json(event, 0)]))[0].event == event.event


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
some_bytes = st.one_of(
    st.binary(max_size=60), st.builds(orjson.dumps, st.dictionaries(texts, texts, max_size=3))
)


def numbered(event: LogEvent) -> LogEvent:
    return logged(**{**event.event._asdict(), "series": "s/1", "number": event.event.version})


events = st.builds(
    logged,
    position=st.integers(1, 2**63 - 1),
    version=st.integers(0, 2**63 - 1),
    schema_version=st.integers(1, 2**31 - 1),
    tenant_seq=st.integers(1, 2**63 - 1),
    recorded_at=st.datetimes(datetime(2000, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    stream_type=texts,
    type=texts,
    encoding=st.sampled_from(["json", "bytes", "sealed"]),
    data=some_bytes,
    metadata=some_bytes,
).flatmap(lambda event: st.sampled_from([event, numbered(event)]))


@given(st.lists(st.tuples(events, st.integers(0, 2**63 - 1)), min_size=1, max_size=4))
def test_whatever_the_log_holds_comes_back_as_it_was(sent: list[tuple[LogEvent, int]]) -> None:
    value = batch([event_json(event, previous) for event, previous in sent])
    orjson.loads(value)
    found = decode_batch(value)
    assert [(each.event, each.leaf_hash, each.previous, each.is_whole) for each in found] == [
        (event.event, event.leaf_hash, previous, True) for event, previous in sent
    ]
    assert all(leaf_hash(each.event) == each.leaf_hash for each in found)


def test_an_event_without_its_data_says_where_that_is() -> None:
    value = batch([event_json(logged(), 7, whole=False)])
    assert orjson.loads(value)[0]["dataref"] == "/v1/audit/events?after=41&limit=1"
    (found,) = decode_batch(value)
    assert not found.is_whole
    assert found.event == logged(data=b"", metadata=b"").event
    assert found.leaf_hash == logged().leaf_hash


@pytest.mark.parametrize("value", [b"", b"{}", b"[{}]", b'[{"specversion":"1.0"}]', b"\xff"])
def test_what_is_no_message_of_ours_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON|Object|Expected|UTF|truncated|utf"):
        decode_batch(value)


@pytest.mark.parametrize("position", [0, -1, 2**63])
def test_a_position_that_no_log_has_is_refused(position: int) -> None:
    beyond = logged()._replace(event=logged().event._replace(position=position))
    with pytest.raises(ValueError, match="there is no position"):
        decode_batch(batch([event_json(beyond, 0)]))


# Packing

STREAMS = [uuid5(TENANT, str(n)) for n in range(12)]


def pages(draw: st.DrawFn) -> list[list[LogEvent]]:
    cuts = draw(st.lists(st.integers(0, 60), max_size=4))
    position = 0
    made = []
    for length in cuts:
        page = []
        for _ in range(length):
            position += 1
            page.append(
                logged(
                    position,
                    stream_id=draw(st.sampled_from(STREAMS)),
                    stream_type=draw(st.sampled_from(["a.b", "c.d"])),
                    data=b'"' + b"x" * draw(st.sampled_from([0, 10, 900, 5000])) + b'"',
                )
            )
        made.append(page)
    return made


BOUNDS = Packing(partitions=3, batch_events_max=7, batch_bytes_max=4000, event_bytes_max=20_000)


def unpacked(messages: list[Message]) -> dict[Partition, list[tuple[int, int]]]:
    """Position and previous of each event, by partition, in the order of the messages."""
    found: dict[Partition, list[tuple[int, int]]] = defaultdict(list)
    for message in messages:
        inside = decode_batch(message.value)
        assert message.events == len(inside)
        assert message.last_position == inside[-1].event.position
        found[message.to] += [(each.event.position, each.previous) for each in inside]
    return found


@given(st.composite(pages)())
def test_every_event_goes_once_to_the_partition_of_its_stream_in_order(log: list[list[LogEvent]]) -> None:
    packer = Packer(BOUNDS, {})
    found = unpacked([message for page in log for message in packer.pack(page)])
    expected: dict[Partition, list[tuple[int, int]]] = defaultdict(list)
    for event in (event.event for page in log for event in page):
        to = Partition(topic_of("erp", event.stream_type), partition_of(event.stream_id, 3))
        previous = expected[to][-1][0] if expected[to] else 0
        expected[to].append((event.position, previous))
    assert found == expected


@given(st.composite(pages)())
def test_messages_keep_their_bounds(log: list[list[LogEvent]]) -> None:
    packer = Packer(BOUNDS, {})
    for message in (message for page in log for message in packer.pack(page)):
        assert message.events <= BOUNDS.batch_events_max
        assert len(message.value) <= BOUNDS.batch_bytes_max or message.events == 1


@given(st.composite(pages)(), st.integers(0, 4))
def test_a_packer_that_starts_from_kept_tails_says_what_one_that_went_on_would(
    log: list[list[LogEvent]], crash: int
) -> None:
    """A restart cuts pages and batches elsewhere; what came before an event does not depend on it."""
    ongoing = Packer(BOUNDS, {})
    before = [message for page in log[:crash] for message in ongoing.pack(page)]
    tails = {message.to: message.last_position for message in before}
    rest = [event for page in log[crash:] for event in page]
    assert unpacked(Packer(BOUNDS, tails).pack(rest)) == unpacked(ongoing.pack(rest))


def test_messages_are_filled_up_to_the_bound() -> None:
    one = len(event_json(logged(1), 0)) + 20
    packed = Packer(Packing(batch_bytes_max=one * 10), {}).pack([logged(n) for n in range(1, 51)])
    assert len(packed) <= 6
    assert all(big.last_position < after.last_position for big, after in pairwise(packed))


def test_an_event_larger_than_a_batch_goes_alone_and_a_huge_one_without_its_data() -> None:
    large = logged(2, data=b'"' + b"x" * 5000 + b'"')
    huge = logged(3, data=b'"' + b"x" * 30_000 + b'"')
    packed = Packer(BOUNDS, {}).pack([logged(1), large, huge, logged(4)])
    inside = [decode_batch(message.value) for message in packed]
    assert [[each.event.position for each in each_message] for each_message in inside] == [[1], [2], [3, 4]]
    assert [each.is_whole for each_message in inside for each in each_message] == [True, True, False, True]


@pytest.mark.parametrize(
    ("stream_type", "topic"),
    [
        ("finance.journal_entry", "erp.finance.journal_entry"),
        ("a/b c:ü", "erp.a-b-c--"),
        ("x" * 300, "erp." + "x" * 245),
    ],
)
def test_topics_have_names_that_kafka_takes(stream_type: str, topic: str) -> None:
    assert topic_of("erp", stream_type) == topic


def test_partitions_are_frozen() -> None:
    """Consumers rely on them: another hash would break the order within every stream."""
    assert [partition_of(stream, 4) for stream in STREAMS] == [2, 2, 3, 1, 3, 2, 2, 1, 2, 1, 0, 3]
