"""The asynchronous event store: what the command bus and the queries of the API stand on.

It loads aggregates (cache, then snapshot, then log), queues work on hot streams, and appends through the
group committer. See `commands.ports.Store` for what callers may rely on.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Final, NamedTuple, Self, TypeVar
from uuid import UUID

import orjson
import psycopg
from uuid_utils.compat import uuid7

from domain.shared.aggregate import Aggregate, NumberedEvent
from domain.shared.errors import Unavailable
from eventstore.cache import AggregateCache, Cached
from eventstore.cloudevents import LogEvent
from eventstore.codec import ENCODING, FIELDS, Codec, StoredFields, snapshot_type
from eventstore.committer import GroupCommitter
from eventstore.leaf import StoredEvent
from eventstore.pool import CONNECTION, Parameters, Pool
from eventstore.queues import StreamQueues
from eventstore.request import AppendReceipt, AppendRequest, Check, NewEvent

log = logging.getLogger(__name__)

A = TypeVar("A", bound=Aggregate)

_PAGE_EVENTS: Final = 1000
_LOG_FIELDS: Final = ", ".join((*StoredEvent._fields, "leaf_hash"))
# The state comes once, with the first event behind it; without any event the row has nothing else.
_LOAD: Final = f"""
    SELECT s.version, CASE WHEN e.version IS NULL OR e.version = s.version + 1 THEN s.state END,
           {", ".join(f"e.{name}" for name in StoredFields._fields)}
      FROM (SELECT) AS one
      LEFT JOIN LATERAL erp.read_snapshot(%(tenant)s, %(stream)s, %(snapshot)s) AS s ON true
      LEFT JOIN LATERAL erp.read_stream(
               %(tenant)s, %(stream)s, %(type)s, coalesce(s.version, 0), {_PAGE_EVENTS}) AS e ON true"""  # noqa: S608 - names and a number of ours


class KnownAtInFuture(Exception):
    """Nothing can be said yet about what will be known at that instant."""


class RegisterEntry(NamedTuple):
    """A stream and the number it took in a series."""

    number: int
    stream_id: UUID


class StoreOptions(NamedTuple):
    """How the store uses memory, connections and time. Units last in the names."""

    cache_bytes_max: int = 64 * 1024 * 1024
    snapshot_every_events: int = 100
    batch_requests_max: int = 500
    pool_size_max: int = 4
    patience_s: float = 3.0
    call_timeout_s: float = 10.0


class EventStore:
    """The log of all tenants, as the application may use it."""

    def __init__(self, url: str, codec: Codec, options: StoreOptions = StoreOptions()) -> None:  # noqa: B008 - immutable
        self._url = url
        self._codec = codec
        self._options = options
        self._cache = AggregateCache(options.cache_bytes_max)
        self._queues = StreamQueues()
        self._committer = GroupCommitter(
            self._connect,
            batch_requests_max=options.batch_requests_max,
            patience_s=options.patience_s,
            call_timeout_s=options.call_timeout_s,
        )
        self._pool = Pool(
            url,
            size_max=options.pool_size_max,
            patience_s=options.patience_s,
            call_timeout_s=options.call_timeout_s,
        )
        self._snapshots_in_progress: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._pool.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Finish what was taken on, then close the connections."""
        await self._committer.close()
        await asyncio.gather(*self._snapshots_in_progress, return_exceptions=True)
        await self._pool.__aexit__()

    async def ping(self) -> None:
        """Return if the database answers; raise `Unavailable` if not."""
        await self.rows("SELECT 1", [])

    # Loading

    async def load(self, aggregate_class: type[A], stream_id: UUID, tenant: UUID) -> A:
        """The aggregate from the cache or the log, blank when it has no events.

        Shared: it must not be changed.
        """
        cached = self.cached(aggregate_class, stream_id, tenant)
        return await self._from_log(aggregate_class, stream_id, tenant) if cached is None else cached

    def cached(self, aggregate_class: type[A], stream_id: UUID, tenant: UUID) -> A | None:
        """The aggregate if it is in the cache; it may be older than the log's. Shared, as from `load`."""
        found = self._cached(aggregate_class, stream_id, tenant)
        return None if found is None else found.aggregate  # type: ignore[return-value]

    def begin(
        self, aggregate_class: type[Aggregate], tenant: UUID, first: Aggregate.Event, json_bytes: int
    ) -> None:
        """Keep in the cache what an aggregate was after its first event; what is there stays."""
        if self._cached(aggregate_class, first.originator_id, tenant) is None:
            aggregate = aggregate_class.blank(first.originator_id)
            first.mutate(aggregate)
            self._cache.put(tenant, aggregate, json_bytes)

    async def load_current(self, aggregate_class: type[A], stream_id: UUID, tenant: UUID) -> A:
        """The aggregate as the log has it now. Shared: it must not be changed."""
        start = self._cached(aggregate_class, stream_id, tenant)
        if start is None:
            return await self._from_log(aggregate_class, stream_id, tenant)
        page = await self._page(aggregate_class, stream_id, tenant, start.aggregate.version)
        return await self._caught_up(start, page, tenant)

    def _cached(self, aggregate_class: type[A], stream_id: UUID, tenant: UUID) -> Cached | None:
        cached = self._cache.get(tenant, stream_id)
        return cached if cached is not None and isinstance(cached.aggregate, aggregate_class) else None

    async def _from_log(self, aggregate_class: type[A], stream_id: UUID, tenant: UUID) -> A:
        """From the last snapshot, if there is one, and the events behind it: one question as a rule."""
        asked = {
            "tenant": tenant,
            "stream": stream_id,
            "type": aggregate_class.TOPIC,
            "snapshot": snapshot_type(aggregate_class),
        }
        rows = await self.rows(_LOAD, asked)
        version, state, *_ = rows[0]
        start = Cached(aggregate_class.blank(stream_id), 0)
        if version is not None:
            aggregate = self._codec.decode_state(aggregate_class, stream_id, version, state)
            start = Cached(aggregate, len(state))
        page = [StoredFields(*fields) for _, _, *fields in rows if fields[0] is not None]
        return await self._caught_up(start, page, tenant)

    async def _caught_up(self, start: Cached, page: Sequence[StoredFields], tenant: UUID) -> A:
        """`start`, which is left as it is, with the events of this page and of those after it."""
        aggregate: A = start.aggregate.editable_copy()  # type: ignore[assignment]
        json_bytes = start.json_bytes
        replayed_from = aggregate.version
        while True:
            for stored in page:
                self._codec.decode(aggregate.id, stored).mutate(aggregate)
                json_bytes += len(stored.data)
            if len(page) < _PAGE_EVENTS:
                break
            page = await self._page(type(aggregate), aggregate.id, tenant, aggregate.version)
        self._cache.put(tenant, aggregate, json_bytes)
        if aggregate.version - replayed_from >= self._options.snapshot_every_events:
            self._save_snapshot(tenant, aggregate)
        return aggregate

    async def _page(
        self, aggregate_class: type[Aggregate], stream_id: UUID, tenant: UUID, after_version: int
    ) -> list[StoredFields]:
        rows = await self.rows(
            f"SELECT {FIELDS} FROM erp.read_stream(%s, %s, %s, %s, %s)",  # noqa: S608 - names of ours
            [tenant, stream_id, aggregate_class.TOPIC, after_version, _PAGE_EVENTS],
        )
        return [StoredFields(*row) for row in rows]

    async def history(
        self, aggregate_class: type[Aggregate], stream_id: UUID, tenant: UUID, up_to_version: int
    ) -> list[Aggregate.Event]:
        """The stream's events up to this version, in order."""
        found: list[Aggregate.Event] = []
        while len(found) < up_to_version:
            page = await self._page(aggregate_class, stream_id, tenant, len(found))
            found += [self._codec.decode(stream_id, stored) for stored in page]
            if len(page) < _PAGE_EVENTS:
                break
        return found[:up_to_version]

    async def place(self, aggregate: Aggregate, tenant: UUID) -> tuple[int, datetime]:
        """Where the last recorded event of `aggregate` stands in the log, and when it was recorded, UTC."""
        last = aggregate.version - len(aggregate.pending_events)
        ((position, recorded_at),) = await self.rows(
            "SELECT position, recorded_at FROM erp.read_stream(%s, %s, %s, %s, 1)",
            [tenant, aggregate.id, aggregate.TOPIC, last - 1],
        )
        return position, recorded_at

    def queue(self, *stream_ids: UUID) -> AbstractAsyncContextManager[None]:
        """The turn to load, decide and append on these streams in this process."""
        return self._queues.turn(*stream_ids)

    # Appending

    async def append(
        self,
        *,
        tenant: UUID,
        changed: Sequence[Aggregate],
        reads: Sequence[Aggregate],
        idempotency_key: str,
        request_hash: bytes,
        answer: Mapping[str, Any],
        metadata: Mapping[str, Any],
    ) -> AppendReceipt:
        """Store the pending events of `changed`, all or nothing, if nothing read or changed has moved on."""
        events = [
            self._new_event(aggregate, event) for aggregate in changed for event in aggregate.pending_events
        ]
        request = AppendRequest(
            tenant=tenant,
            idempotency_key=idempotency_key,
            request_hash=request_hash,
            answer=answer,
            metadata=orjson.dumps(metadata),
            checks=tuple(_check(aggregate) for aggregate in (*changed, *reads)),
            events=tuple(events),
        )
        receipt = await self._committer.append(request)
        if receipt.outcome == "appended":
            self._remember(tenant, changed, events)
        else:
            for aggregate in (*changed, *reads):
                self._cache.drop(tenant, aggregate.id)
        return receipt

    def _new_event(self, aggregate: Aggregate, event: Any) -> NewEvent:
        encoded = self._codec.encode(event)
        return NewEvent(
            event_id=uuid7(),
            stream_type=aggregate.TOPIC,
            stream_id=aggregate.id,
            version=event.originator_version,
            type=encoded.type,
            schema_version=encoded.schema_version,
            series=encoded.series,
            encoding=ENCODING,
            data=encoded.data,
        )

    def _remember(self, tenant: UUID, changed: Sequence[Aggregate], events: Sequence[NewEvent]) -> None:
        """Keep what was appended, with no further question to the log."""
        for aggregate in changed:
            pending = aggregate.collect_events()
            if any(isinstance(event, NumberedEvent) for event in pending):
                # Its number was given by the database; the next reader fetches it.
                self._cache.drop(tenant, aggregate.id)
                continue
            before = self._cache.get(tenant, aggregate.id)
            every = self._options.snapshot_every_events
            if aggregate.version // every > (aggregate.version - len(pending)) // every:
                self._save_snapshot(tenant, aggregate)
            elif before is not None or aggregate.version == len(pending):
                # One that was squeezed out meanwhile is left out: how large it is, nobody knows any more.
                added_bytes = sum(len(event.data) for event in events if event.stream_id == aggregate.id)
                self._cache.put(tenant, aggregate, (before.json_bytes if before else 0) + added_bytes)

    def _save_snapshot(self, tenant: UUID, aggregate: Aggregate) -> None:
        """Store the state in the background.

        It only ever spares time, so a failure is no more than logged.
        """
        try:
            state = self._codec.encode_state(aggregate)
        except (TypeError, ValueError):
            log.exception("no snapshot of %s: its state has no JSON form", aggregate.id)
            return
        self._cache.put(tenant, aggregate, len(state))
        parameters = [tenant, aggregate.id, aggregate.version, snapshot_type(type(aggregate)), state]

        async def save() -> None:
            try:
                await self.rows("SELECT erp.write_snapshot(%s, %s, %s, %s, %s)", parameters)
            except (Unavailable, psycopg.Error) as error:
                log.warning("no snapshot of %s at version %s: %s", aggregate.id, aggregate.version, error)

        task = asyncio.create_task(save(), name="snapshot")
        self._snapshots_in_progress.add(task)
        task.add_done_callback(self._snapshots_in_progress.discard)

    async def find(self, tenant: UUID, idempotency_key: str, request_hash: bytes) -> AppendReceipt | None:
        """`replayed` or `key_reused` when a command was stored under this key, else None."""
        rows = await self.rows(
            "SELECT request_hash, answer, position, recorded_at FROM erp.read_command(%s, %s)",
            [tenant, idempotency_key],
        )
        for stored_hash, answer, position, recorded_at in rows:
            outcome: Any = "replayed" if stored_hash == request_hash else "key_reused"
            return AppendReceipt(
                outcome, position=position, recorded_at=recorded_at, answer=orjson.loads(answer)
            )
        return None

    # Questions to the log as a whole

    async def find_tenant(self, name: str) -> UUID | None:
        """The tenant's id, None when there is no such tenant."""
        ((tenant,),) = await self.rows("SELECT erp.find_tenant(%s)", [name])
        return tenant  # type: ignore[no-any-return]

    async def register_page(
        self, tenant: UUID, series: str, after_number: int, limit: int
    ) -> list[RegisterEntry]:
        """The streams that took numbers in `series` after `after_number`, in the order of the numbers."""
        rows = await self.rows(
            "SELECT number, stream_id FROM erp.read_register(%s, %s, %s, %s)",
            [tenant, series, after_number, limit],
        )
        return [RegisterEntry(*row) for row in rows]

    async def position_at(self, known_at: datetime) -> int:
        """The last position recorded at or before `known_at`.

        What is recorded later cannot change it. 0: none.

        Raises:
            KnownAtInFuture: that instant has not come.
        """
        ((position,),) = await self.rows("SELECT erp.position_at(%s)", [known_at])
        if position is None:
            raise KnownAtInFuture
        return int(position)

    # The log of one tenant

    @property
    def event_types(self) -> frozenset[str]:
        """The names of all events that there can be."""
        return self._codec.event_types

    async def head(self) -> int:
        """The last position of all; 0 before the first event."""
        ((position,),) = await self.rows("SELECT erp.head()", [])
        return int(position)

    async def tenant_heads(self, tenants: Collection[UUID]) -> dict[UUID, int]:
        """The last `tenant_seq` of each of these tenants; those without an event are left out."""
        rows = await self.rows("SELECT tenant, tenant_seq FROM erp.tenant_heads(%s)", [list(tenants)])
        return dict(rows)

    async def tenant_seq_at(self, tenant: UUID, position: int) -> int:
        """The `tenant_seq` of the tenant's last event at or before `position`; 0 when there is none."""
        ((found,),) = await self.rows("SELECT erp.tenant_seq_at(%s, %s)", [tenant, position])
        return int(found)

    async def tenant_events(
        self, tenant: UUID, after_seq: int, up_to_seq: int, *, types: Sequence[str] | None, bytes_max: int
    ) -> list[LogEvent]:
        """The tenant's events in `(after_seq, up_to_seq]`, of these types, in commit order.

        As many as are begun within `bytes_max` bytes of data and metadata: at least one where there is one.
        """
        rows = await self.rows(
            f"SELECT {_LOG_FIELDS} FROM erp.read_tenant_events(%s, %s, %s, %s, %s)",  # noqa: S608 - names of ours
            [tenant, after_seq, up_to_seq, None if types is None else list(types), bytes_max],
        )
        return [LogEvent(StoredEvent(*row[:-1]), row[-1]) for row in rows]

    async def rows(self, query: str, parameters: Parameters) -> list[Any]:
        """All rows of a short query, or `Unavailable` in time, also when the database says nothing."""
        return await self._pool.rows(query, parameters)

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(self._url, **CONNECTION)


def _check(aggregate: Aggregate) -> Check:
    return Check(aggregate.id, aggregate.TOPIC, aggregate.version - len(aggregate.pending_events))
