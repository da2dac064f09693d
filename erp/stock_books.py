"""Whether the inventory accounts say what the stock is worth, from the log alone.

Each tenant's movements of stock and journal entries are added up. A movement whose voucher is still on its
way, or waits for its period, explains a difference, as long as something is there to post it: that is not so
once its saga was aborted, or the movement was set aside as a dead letter.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson
import psycopg

from domain.finance.account_mapping import AccountMapping
from domain.finance.journal_entry import JournalEntry
from domain.inventory.stock import Stock
from domain.inventory.stock_events import Movement
from eventstore.codec import Codec
from eventstore.leaf import StoredEvent
from sagas.inventory_voucher import InventoryVoucher

_MOVEMENTS: Final = frozenset(each.TOPIC for each in Stock.event_types() if issubclass(each, Movement))
_ABORTED: Final = InventoryVoucher.Aborted.TOPIC
TYPES: Final = sorted({*_MOVEMENTS, _ABORTED, JournalEntry.Posted.TOPIC, AccountMapping.Set.TOPIC})
"""The events that it takes."""

_COLUMNS: Final = ", ".join(StoredEvent._fields)
_PAGE_ROWS: Final = 5000
_PAGE: Final = f"""
    SELECT {_COLUMNS} FROM erp.events WHERE position > %s AND position <= %s AND type = ANY (%s)
     ORDER BY position LIMIT {_PAGE_ROWS}"""  # noqa: S608 - names and a number of ours
_LETTERS: Final = """
    SELECT tenant, stream_id, version, letter, settled IS NULL FROM erp.dead_letters
     WHERE saga_type = %s AND (settled IS NULL OR settled = 'discarded') ORDER BY letter"""
_ZERO: Final = Decimal(0)

Advance = Callable[[int], None]


class Held(NamedTuple):
    """An inventory account in a currency."""

    account: str
    currency: str


class SetAside(NamedTuple):
    """The dead letter that a movement became: parked, or else discarded."""

    letter: int
    is_parked: bool


@dataclass(frozen=True, slots=True)
class Unbooked:
    """A movement that is worth something and has no voucher."""

    stream_id: UUID
    version: int
    currency: str
    values: tuple[tuple[str, Decimal], ...]
    """By warehouse, how much more it is worth."""

    def saga(self, tenant: UUID) -> UUID:
        """The process that posts its voucher."""
        return InventoryVoucher.id_of(tenant, f"{self.stream_id}/{self.version}")


@dataclass(frozen=True, slots=True)
class Difference:
    """An account that does not say what its stock is worth.

    Attributes:
        waiting: how much of that is on its way.
        set_aside: the dead letters of what is not.
    """

    tenant: UUID
    account: str
    currency: str
    stock: Decimal
    books: Decimal
    waiting: Decimal
    set_aside: tuple[SetAside, ...]

    @property
    def is_explained(self) -> bool:
        """Whether vouchers that are on their way make up for it."""
        return self.stock - self.waiting == self.books


@dataclass(slots=True)
class _Company:
    values: dict[tuple[str, str], Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    """Of the stock, by warehouse and currency."""
    balances: dict[Held, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    """Of all accounts."""
    unbooked: dict[str, Unbooked] = field(default_factory=dict)
    """By the id of the movement's event."""
    aborted: set[UUID] = field(default_factory=set)
    set_aside: dict[tuple[UUID, int], SetAside] = field(default_factory=dict)
    """By the movement's stream and version."""
    inventory: str | None = None
    warehouses: Mapping[str, str] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    """Every account that ever was one of inventory."""

    def account(self, warehouse: str) -> str | None:
        """Where the stock of a warehouse stands, if anybody has said so."""
        return self.warehouses.get(warehouse, self.inventory)


class StockBooks:
    """Adds up events in the order of the log."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._companies: dict[UUID, _Company] = defaultdict(_Company)

    def take(self, event: StoredEvent) -> None:
        """One more event, of one of `TYPES`."""
        company = self._companies[event.tenant]
        _, data = self._codec.in_todays_shape(event.type, event.schema_version, event.data)
        said: dict[str, Any] = orjson.loads(data)
        if event.type in _MOVEMENTS:
            _move(company, event, said)
        elif event.type == JournalEntry.Posted.TOPIC:
            for line in said["lines"]:
                amount = Decimal(line["debit"] or 0) - Decimal(line["credit"] or 0)
                company.balances[Held(line["account"], said["currency"])] += amount
            company.unbooked.pop(str(orjson.loads(event.metadata).get("causation_id")), None)
        elif event.type == AccountMapping.Set.TOPIC:
            company.inventory, company.warehouses = said["accounts"]["inventory"], said["warehouses"]
            company.named |= {company.inventory, *company.warehouses.values()}
        else:
            company.aborted.add(event.stream_id)

    def take_letter(self, tenant: UUID, stream_id: UUID, version: int, letter: SetAside) -> None:
        """That movement is not heard of by the process that would post its voucher."""
        self._companies[tenant].set_aside[stream_id, version] = letter

    @property
    def companies(self) -> int:
        """How many have stock that is worth something, or had."""
        return sum(bool(each.values) for each in self._companies.values())

    def differences(self) -> Iterator[Difference]:
        """The accounts that do not say what their stock is worth."""
        for tenant, company in self._companies.items():
            yield from _differences(tenant, company)


def _move(company: _Company, event: StoredEvent, said: Mapping[str, Any]) -> None:
    value = Decimal(said["value_change"])
    if value == 0:
        return
    warehouse, currency = said["warehouse"], said["currency"]
    company.values[warehouse, currency] += value
    values: tuple[tuple[str, Decimal], ...] = ((warehouse, value),)
    if event.type == Stock.TransferredOut.TOPIC:
        values = (*values, (said["counterpart"], -value))
    elif event.type == Stock.TransferredIn.TOPIC:
        return  # its voucher is that of the other side
    company.unbooked[str(event.event_id)] = Unbooked(event.stream_id, event.version, currency, values)


def _differences(tenant: UUID, company: _Company) -> Iterator[Difference]:
    stock: dict[Held, Decimal] = defaultdict(Decimal)
    waiting: dict[Held, Decimal] = defaultdict(Decimal)
    for (warehouse, currency), value in company.values.items():
        stock[Held(company.account(warehouse) or "", currency)] += value
    set_aside: dict[Held, set[SetAside]] = defaultdict(set)
    for each in company.unbooked.values():
        letter = company.set_aside.get((each.stream_id, each.version))
        for warehouse, value in each.values:
            held = Held(company.account(warehouse) or "", each.currency)
            if letter is not None:
                set_aside[held].add(letter)
            elif each.saga(tenant) not in company.aborted:
                waiting[held] += value
    booked = {held for held in company.balances if held.account in company.named}
    for held in sorted({*stock, *booked}):
        found = Difference(
            tenant,
            held.account,
            held.currency,
            stock[held],
            company.balances[held],
            waiting[held],
            tuple(sorted(set_aside[held])),
        )
        if found.stock != found.books:
            yield found


def add_up(reader_url: str, codec: Codec, end: int, advance: Advance = lambda _: None) -> StockBooks:
    """The stock and the books as of a position; `advance` is told how many more positions were passed."""
    books = StockBooks(codec)
    with psycopg.connect(reader_url, autocommit=True, options="-c timezone=UTC") as connection:
        for event in _events(connection, end, advance):
            books.take(event)
        # After the events: what was retried meanwhile is on its way again.
        for tenant, stream_id, version, *letter in connection.execute(_LETTERS, [InventoryVoucher.TOPIC]):
            books.take_letter(tenant, stream_id, version, SetAside(*letter))
    return books


def _events(connection: "psycopg.Connection[Any]", end: int, advance: Advance) -> Iterable[StoredEvent]:
    cursor = connection.cursor(binary=True)
    position = 0
    while rows := cursor.execute(_PAGE, [position, end, TYPES]).fetchall():
        yield from (StoredEvent(*row) for row in rows)
        advance(rows[-1][0] - position)
        position = rows[-1][0]
    advance(end - position)
