"""The way of each order from its request to its confirmation, as the log and Kafka have recorded it.

Nobody watches while it happens: the store says when each event was recorded, exactly and in order, and Kafka
when each message was made. All clocks are this machine's.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from statistics import mean
from typing import Final

import orjson
import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition

from bench.children import ChildFailed
from bench.visible import quantiles
from erp.embedded.kafka import EmbeddedKafka
from erp.settings import Settings

PLACED: Final = "sales.order.placed"
CONFIRMED: Final = "sales.order.confirmed"
RESERVED: Final = "inventory.stock.reserved"
REQUESTED: Final = "payments.payment.authorisation_requested"
AUTHORISED: Final = "payments.payment.authorised"

HOPS: Final = ("placed", "published", "noticed", "reserved", "requested", "authorised", "confirmed")
"""What an order comes to, one after the other, from the instant on at which its request was due."""

_EVENTS: Final = """
    SELECT position, type, recorded_at, stream_id, data, metadata FROM erp.events
     WHERE position > %s AND stream_type IN
           ('sales.order', 'inventory.stock', 'payments.payment', 'sagas.order_to_cash')
     ORDER BY position"""
_OF_EVENTS: Final = {
    PLACED: "placed",
    "sagas.order_to_cash.noticed": "noticed",
    RESERVED: "reserved",
    REQUESTED: "requested",
    AUTHORISED: "authorised",
    CONFIRMED: "confirmed",
}
# A step that waits is slow and nothing else; everything that is not here is a surprise.
_BESIDES: Final = {"sagas.order_to_cash.step_done", "sagas.order_to_cash.step_waits"}
_TOPIC: Final = "sales.order"
_LAST_S: Final = 20.0


@dataclass
class Journey:
    """One order: when it came where (s since 1970), and what went with it."""

    at: dict[str, float] = field(default_factory=dict)
    position: int = 0
    wanted: dict[str, Decimal] = field(default_factory=dict)
    reserved: dict[str, Decimal] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)
    others: list[str] = field(default_factory=list)
    waits: int = 0

    def take(self, event_type: str, at: datetime, data: bytes) -> None:
        """An event of this order."""
        hop = _OF_EVENTS.get(event_type)
        if hop is None:
            self.waits += event_type.endswith("step_waits")
            self.others += [] if event_type in _BESIDES else [event_type]
            return
        self.seen[event_type] += 1
        # Of several lines that are reserved the last counts.
        self.at[hop] = at.timestamp()
        if event_type == PLACED:
            self.wanted = {line["sku"]: Decimal(line["quantity"]) for line in orjson.loads(data)["lines"]}
        elif event_type == RESERVED:
            told = orjson.loads(data)
            self.reserved[told["sku"]] = Decimal(told["quantity"])

    def require_as_expected(self, order: str) -> None:
        """Return if it was confirmed with everything reserved and held, once.

        Raises:
            ChildFailed: not so.
        """
        wanted = {**dict.fromkeys(_OF_EVENTS, 1), RESERVED: len(self.wanted)}
        if self.others or self.seen != wanted or self.reserved != self.wanted:
            raise ChildFailed(
                f"order {order} did not go as it should: {dict(self.seen)}, {self.others}, "
                f"wanted {self.wanted}, reserved {self.reserved}"
            )


def journeys(owner_url: str, after: int, orders: Iterable[str]) -> dict[str, Journey]:
    """The journeys of these orders, placed after that position.

    Raises:
        ChildFailed: one did not end as it should.
    """
    of_request: defaultdict[str, Journey] = defaultdict(Journey)
    placed: dict[str, Journey] = {}
    with psycopg.connect(owner_url) as connection, connection.cursor(name="events") as cursor:
        for position, event_type, at, stream_id, data, metadata in cursor.execute(_EVENTS, [after]):
            journey = of_request[orjson.loads(metadata)["correlation_id"]]
            journey.take(event_type, at, data)
            if event_type == PLACED:
                journey.position, placed[str(stream_id)] = position, journey
    missing = set(orders) - set(placed)
    if missing or len(placed) != len(of_request):
        raise ChildFailed(f"{len(missing)} orders are not in the log, or something else is")
    for order, journey in placed.items():
        journey.require_as_expected(order)
    return placed


def are_confirmed(owner_url: str, after: int, orders: int) -> bool:
    """Whether every one of so many orders that were placed after that position was confirmed."""
    with psycopg.connect(owner_url) as connection:
        found = connection.execute(
            "SELECT count(*) FROM erp.events WHERE position > %s AND type = %s", [after, CONFIRMED]
        ).fetchone()
    return found is not None and found[0] >= orders


def note_published(settings: Settings, found: Mapping[str, Journey]) -> None:
    """Note when each order was published: the time of the first message that has it.

    Raises:
        ChildFailed: Kafka does not have them all any more.
    """
    at = asyncio.run(_published(settings, max(each.position for each in found.values())))
    for order, journey in found.items():
        if journey.position not in at:
            raise ChildFailed(f"order {order} is not in Kafka")
        journey.at["published"] = at[journey.position]


async def _published(settings: Settings, last: int) -> dict[int, float]:
    """When what is in the orders' topic was published, by position."""
    topic = f"{settings.kafka.topic_prefix}.{_TOPIC}"
    parts = [TopicPartition(topic, each) for each in range(settings.kafka.partitions)]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=EmbeddedKafka(settings.home).bootstrap, enable_auto_commit=False
    )
    await consumer.start()
    found: dict[int, float] = {}
    try:
        consumer.assign(parts)
        await consumer.seek_to_beginning(*parts)
        ends = await consumer.end_offsets(parts)
        async with asyncio.timeout(_LAST_S):
            while any([await consumer.position(part) < ends[part] for part in parts]):
                for messages in (await consumer.getmany(timeout_ms=200)).values():
                    for message in messages:
                        for event in orjson.loads(message.value):
                            found.setdefault(int(event["position"]), message.timestamp / 1000)
    finally:
        await consumer.stop()
    return {position: at for position, at in found.items() if position <= last}


def hops(found: Sequence[Journey]) -> dict[str, dict[str, float]]:
    """How long each hop took, in ms; the means add up to that of the whole."""
    took: dict[str, dict[str, float]] = {}
    for before, hop in zip(("due", *HOPS), HOPS, strict=False):
        seconds = [each.at[hop] - each.at[before] for each in found]
        took[hop] = {"mean_ms": 1000 * mean(seconds), **quantiles(seconds)}
    return took


def until_confirmed(found: Sequence[Journey]) -> dict[str, float]:
    """From the instant at which each was due, in ms."""
    return quantiles([each.at["confirmed"] - each.at["due"] for each in found])
