"""The codec: what is in the log can be read for ever, and what goes in comes out.

`history.json` holds the bytes of every event type in every schema version that was ever stored, and of every
state in its present version. Its events are only ever added to.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.shared.aggregate import event_data
from erp.contexts import aggregates
from eventstore.codec import Codec, StoredFields, snapshot_type
from tests.eventstore.tally import Tally

HISTORY = json.loads((Path(__file__).parent / "history.json").read_text("utf-8"))
AGGREGATES = aggregates()
EVENTS = {event.TOPIC: event for aggregate in AGGREGATES for event in aggregate.event_types()}
STATES = {snapshot_type(aggregate): aggregate for aggregate in AGGREGATES}
CODEC = Codec(AGGREGATES)

BY_TYPE: Mapping[Any, st.SearchStrategy[Any]] = {
    str: st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    Decimal: st.decimals(-(10**15), 10**15, allow_nan=False, places=4),
    int: st.integers(-(2**63), 2**63 - 1),
    bool: st.booleans(),
    date: st.dates(),
    datetime: st.datetimes(timezones=st.just(UTC)),
    UUID: st.uuids(),
    type(None): st.none(),
    # What is JSON already: the fields of another event, say.
    Any: st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text("abc", max_size=8),
}


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Whatever a field of this type may hold."""
    if hint in BY_TYPE:
        return BY_TYPE[hint]
    if get_origin(hint) in (Union, UnionType):
        return st.one_of([values(argument) for argument in get_args(hint)])
    if get_origin(hint) is tuple:
        return st.lists(values(get_args(hint)[0]), max_size=3).map(tuple)
    if get_origin(hint) is Mapping:
        return st.dictionaries(*map(values, get_args(hint)), max_size=2)
    hint = get_origin(hint) or hint
    if issubclass(hint, Enum):
        return st.sampled_from(hint)
    return st.builds(hint, **{name: values(inner) for name, inner in get_type_hints(hint).items()})


def samples() -> list[Any]:
    return [pytest.param(s, id=f"{s['type']} v{s['schema_version']}") for s in HISTORY["events"]]


@pytest.mark.parametrize("sample", samples())
def test_history_can_be_read(sample: Mapping[str, Any]) -> None:
    """Every event that was ever stored decodes; one in today's schema version would be stored as the same
    bytes.
    """
    stream, data = uuid4(), sample["data"].encode()
    decoded = CODEC.decode(stream, StoredFields(**{**sample, "version": 7, "data": data}))
    assert (decoded.TOPIC, decoded.originator_id, decoded.originator_version) == (sample["type"], stream, 7)
    encoded = CODEC.encode(decoded)
    if sample["schema_version"] == encoded.schema_version:
        assert encoded == (sample["type"], sample["schema_version"], sample["series"], data)


def test_history_is_complete() -> None:
    """Each event type is in the history, in every schema version up to today's, and none has gone."""
    written = {(sample["type"], sample["schema_version"]) for sample in HISTORY["events"]}
    declared = {(name, v) for name, known in EVENTS.items() for v in range(1, known.SCHEMA_VERSION + 1)}
    assert written == declared
    assert CODEC.event_types == set(EVENTS)


def test_names_in_the_log_belong_to_one_context() -> None:
    """An event is named after its aggregate, and an aggregate after its context."""
    for aggregate in AGGREGATES:
        assert aggregate.TOPIC.count(".") == 1
        assert all(known.TOPIC.rpartition(".")[0] == aggregate.TOPIC for known in aggregate.event_types())
    assert len({aggregate.TOPIC for aggregate in AGGREGATES}) == len(AGGREGATES)


@pytest.mark.parametrize("name", STATES)
def test_state_has_the_shape_of_its_version(name: str) -> None:
    """A state whose shape changes gets a new STATE_VERSION, or an old snapshot would be read as what it
    is not.
    """
    (sample,) = [sample for sample in HISTORY["states"] if sample["type"] == name]
    state = sample["state"].encode()
    decoded = CODEC.decode_state(STATES[name], uuid4(), 3, state)
    assert decoded.version == 3
    assert CODEC.encode_state(decoded) == state


@pytest.mark.parametrize("name", EVENTS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_events_survive(name: str, data: st.DataObject) -> None:
    """Every event, whatever its fields hold, is decoded to what was encoded: values and types."""
    known = EVENTS[name]
    hints = get_type_hints(known)
    header: dict[str, Any] = {
        "originator_id": uuid4(),
        "originator_version": data.draw(st.integers(1, 2**62)),
        "timestamp": known.create_timestamp(),
    }
    own = {f.name: data.draw(values(hints[f.name])) for f in fields(known) if f.name not in header}
    happened = known(**header, **own)
    encoded = CODEC.encode(happened)
    stored = StoredFields(
        happened.originator_version,
        encoded.type,
        encoded.schema_version,
        encoded.series,
        own.get("number"),
        encoded.data,
    )
    decoded = CODEC.decode(happened.originator_id, stored)
    assert type(decoded) is known
    assert decoded == happened
    assert types_of(event_data(decoded)) == types_of(event_data(happened))


@pytest.mark.parametrize("name", STATES)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_states_survive(name: str, data: st.DataObject) -> None:
    """Every state, whatever its attributes hold, is decoded to what was encoded: values and types."""
    aggregate_class = STATES[name]
    hints = get_type_hints(aggregate_class)
    aggregate = aggregate_class.blank(uuid4())
    aggregate.version = 12
    for attribute in aggregate_class.state_names():
        setattr(aggregate, attribute, data.draw(values(hints[attribute])))
    decoded = CODEC.decode_state(aggregate_class, aggregate.id, 12, CODEC.encode_state(aggregate))
    assert decoded.state() == aggregate.state()
    assert types_of(decoded.state()) == types_of(aggregate.state())
    assert (decoded.id, decoded.version, decoded.pending_events) == (aggregate.id, 12, [])


def types_of(value: Any) -> Any:
    """The types of a value and of all that is in it: a list is not a tuple, a text is not an
    enumeration's member.
    """
    if isinstance(value, Mapping):
        return {key: types_of(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return type(value), [types_of(inner) for inner in value]
    if hasattr(value, "__dataclass_fields__"):
        return type(value), [types_of(getattr(value, f.name)) for f in fields(value)]
    return type(value)


def added(amount: Any) -> Tally.Added:
    """An event with this in place of an amount."""
    own: dict[str, Any] = {"originator_id": uuid4(), "originator_version": 1, "amount": amount, "note": ""}
    return Tally.Added(timestamp=Tally.Added.create_timestamp(), **own)


@pytest.mark.parametrize("value", [{1, 2}, object(), 2**64, b"bytes", "\ud800"])
def test_what_has_no_exact_form_is_refused(value: object) -> None:
    """What JSON has no form for is refused instead of stored as something else."""
    with pytest.raises(TypeError):
        Codec([Tally]).encode(added(value))


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (Decimal("1.10"), '"1.10"'),
        (Decimal("1E+3"), '"1000"'),
        (Decimal("0.0000001"), '"0.0000001"'),
        (date(2026, 2, 28), '"2026-02-28"'),
        (datetime(2026, 2, 28, 1, 2, 3, tzinfo=UTC), '"2026-02-28T01:02:03+00:00"'),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (frozenset("ba"), '["a","b"]'),
    ],
)
def test_forms_in_the_log(value: object, stored: str) -> None:
    """Decimals are plain strings that keep their digits, dates ISO 8601, sets sorted."""
    assert Codec([Tally]).encode(added(value)).data.decode() == f'{{"amount":{stored},"note":""}}'
