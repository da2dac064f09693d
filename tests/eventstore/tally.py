"""The smallest aggregate that shows everything the store does: it counts, and can take numbers."""

from decimal import Decimal
from uuid import UUID, uuid4

from domain.shared.aggregate import Aggregate, NumberedEvent, event
from eventstore.request import AppendReceipt
from eventstore.store import EventStore


class Tally(Aggregate):
    """Adds up amounts."""

    TOPIC = "test.tally"

    total: Decimal = Decimal(0)
    notes: tuple[str, ...] = ()
    number: int | None = None

    class Added(Aggregate.Event):
        """An amount was added."""

        TOPIC = "test.tally.added"
        amount: Decimal
        note: str

    class Numbered(NumberedEvent):
        """A number was taken."""

        TOPIC = "test.tally.numbered"

    def add(self, amount: Decimal = Decimal(1), note: str = "") -> "Tally":
        """Add, and return the aggregate for more."""
        self._added(amount=amount, note=note)
        return self

    @event(Added)
    def _added(self, amount: Decimal, note: str) -> None:
        self.total += amount
        self.notes = (*self.notes[-2:], note)

    def take_number(self, series: str) -> "Tally":
        """Take the next number of the series, and return the aggregate for more."""
        self._numbered(series=series, number=None)
        return self

    @event(Numbered)
    def _numbered(self, *, series: str, number: int | None) -> None:
        self.number = number


async def append(
    store: EventStore,
    tenant: UUID,
    *changed: Tally,
    reads: tuple[Tally, ...] = (),
    key: str | None = None,
    request_hash: bytes = b"request",
) -> AppendReceipt:
    """Append what is pending, under a fresh key unless one is given."""
    return await store.append(
        tenant=tenant,
        changed=changed,
        reads=reads,
        idempotency_key=key or str(uuid4()),
        request_hash=request_hash,
        answer={"id": str(changed[0].id), "version": changed[0].version},
        metadata={"actor": "tester"},
    )


def blank() -> Tally:
    """A tally that nobody has heard of."""
    return Tally.blank(uuid4())
