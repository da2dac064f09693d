"""Between aggregates and bytes: events and snapshots as JSON, under the frozen names in `TOPIC`.

JSON as in the log: decimals are strings, dates ISO 8601, ids canonical UUID strings. The columns `series`
and `number` are part of a numbered event but not of its data, for the number is only known when the event
is committed.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeVar, get_type_hints
from uuid import UUID

import orjson
from pydantic import TypeAdapter

from domain.shared.aggregate import Aggregate, NumberedEvent, event_data
from eventstore.upcasts import UPCASTS, Upcasts

ENCODING: Final = "json"

A = TypeVar("A", bound=Aggregate)


class UnknownEvent(Exception):
    """The log holds an event type that the code does not know."""


class Encoded(NamedTuple):
    """An event as the log takes it; `series` is None when it needs no number."""

    type: str
    schema_version: int
    series: str | None
    data: bytes


class StoredFields(NamedTuple):
    """What the log keeps of an event that its aggregate cares for."""

    version: int
    type: str
    schema_version: int
    series: str | None
    number: int | None
    data: bytes


FIELDS: Final = ", ".join(StoredFields._fields)
"""The same, as a list of columns."""


class Codec:
    """Encodes and decodes the events and states of the aggregates it is given."""

    def __init__(self, aggregates: Iterable[type[Aggregate]], upcasts: Upcasts = UPCASTS) -> None:
        self._upcasts = upcasts
        self._events: dict[str, type[Aggregate.Event]] = {}
        self._event_adapters: dict[str, TypeAdapter[Any]] = {}
        self._state_adapters: dict[type[Aggregate], dict[str, TypeAdapter[Any]]] = {}
        for aggregate in aggregates:
            hints = get_type_hints(aggregate)
            self._state_adapters[aggregate] = {
                name: TypeAdapter(hints[name]) for name in aggregate.state_names()
            }
            for event in aggregate.event_types():
                if event.TOPIC in self._events:
                    detail = f"two event classes claim the name {event.TOPIC}"
                    raise ValueError(detail)
                self._events[event.TOPIC] = event
                self._event_adapters[event.TOPIC] = TypeAdapter(event)

    @property
    def event_types(self) -> frozenset[str]:
        """The names of all events that can be decoded."""
        return frozenset(self._events)

    @property
    def schema_versions(self) -> dict[str, int]:
        """Today's schema version of each of them."""
        return {name: event.SCHEMA_VERSION for name, event in self._events.items()}

    def encode(self, event: Aggregate.Event) -> Encoded:
        """The event's name, schema version, series and data."""
        data = event_data(event)
        series = None
        if isinstance(event, NumberedEvent):
            series = data.pop("series")
            del data["number"]
        return Encoded(event.TOPIC, event.SCHEMA_VERSION, series, orjson.dumps(data, default=_plain))

    def decode(self, stream_id: UUID, stored: StoredFields) -> Aggregate.Event:
        """The event that was stored, in today's shape.

        Raises:
            UnknownEvent: no aggregate declares this type.
            NoUpcast: its schema version cannot be read.
        """
        known = self._events.get(stored.type)
        if known is None:
            detail = f"no aggregate declares the event {stored.type}"
            raise UnknownEvent(detail)
        fields = orjson.loads(stored.data)
        if stored.schema_version != known.SCHEMA_VERSION:
            fields = self._upcasts.to_version(
                stored.type, fields, stored.schema_version, known.SCHEMA_VERSION
            )
        fields["originator_id"] = stream_id
        fields["originator_version"] = stored.version
        fields["timestamp"] = known.create_timestamp()
        if stored.series is not None:
            fields["series"] = stored.series
            fields["number"] = stored.number
        event: Aggregate.Event = self._event_adapters[stored.type].validate_python(fields)
        return event

    def in_todays_shape(self, event_type: str, schema_version: int, data: bytes) -> tuple[int, bytes]:
        """Schema version and data as the code has them today; of an event that it does not know, as they are.

        Raises:
            NoUpcast: its schema version cannot be read.
        """
        known = self._events.get(event_type)
        if known is None or schema_version == known.SCHEMA_VERSION:
            return schema_version, data
        fields = self._upcasts.to_version(
            event_type, orjson.loads(data), schema_version, known.SCHEMA_VERSION
        )
        return known.SCHEMA_VERSION, orjson.dumps(fields)

    def encode_state(self, aggregate: Aggregate) -> bytes:
        """The aggregate's state, without its id and version."""
        return orjson.dumps(aggregate.state(), default=_plain)

    def decode_state(self, aggregate_class: type[A], stream_id: UUID, version: int, state: bytes) -> A:
        """The aggregate as it was when its state was encoded."""
        aggregate = aggregate_class.blank(stream_id)
        aggregate.version = version
        adapters = self._state_adapters[aggregate_class]
        for name, value in orjson.loads(state).items():
            setattr(aggregate, name, adapters[name].validate_python(value))
        return aggregate


def snapshot_type(aggregate_class: type[Aggregate]) -> str:
    """The name under which this class's snapshots are kept; it changes when the state's shape does."""
    return f"{aggregate_class.TOPIC}@{aggregate_class.STATE_VERSION}"


def _plain(value: object) -> object:
    """What orjson does not know by itself, as JSON has it."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, frozenset):
        return sorted(value)
    detail = f"{type(value).__name__} has no JSON form"
    raise TypeError(detail)
