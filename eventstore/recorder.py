"""The synchronous shell: this event store as a persistence module of the `eventsourcing` library.

    PERSISTENCE_MODULE=eventstore.recorder EVENTSTORE_URL=postgresql://… EVENTSTORE_TENANT=<uuid>

One recorder works in one tenant. Notification ids are the tenant's own dense sequence (`tenant_seq`), so
that what the library promises of them holds, although other tenants append to the same log. Tracking is not
offered: projections of this system keep their positions elsewhere.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from uuid import UUID, uuid4

import psycopg
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    DataError,
    InfrastructureFactory,
    IntegrityError,
    Notification,
    NotSupportedError,
    OperationalError,
    PersistenceError,
    ProcessRecorder,
    ProgrammingError,
    StoredEvent,
    Subscription,
    TrackingRecorder,
)
from psycopg_pool import ConnectionPool
from uuid_utils.compat import uuid7

from eventstore.request import (
    ABSENT_BEFORE_ZERO,
    APPEND,
    AppendReceipt,
    AppendRequest,
    Check,
    NewEvent,
    pack,
    unpack,
)

STREAM_TYPE: Final = "eventsourcing.aggregate"
"""The stream type under which the library's aggregates are kept; their topics are the event types."""

_ENCODING: Final = "bytes"
_POLL_S: Final = 0.02
_PAGE: Final = 500


def connection_pool(url: str, *, size_max: int = 10) -> "ConnectionPool[psycopg.Connection[Any]]":
    """A pool as the recorders want it: autocommit, UTC."""
    return ConnectionPool(
        url,
        min_size=1,
        max_size=size_max,
        kwargs={
            "autocommit": True,
            "options": r"-c timezone=UTC -c default_transaction_isolation=read\ committed",
        },
        open=True,
    )


@contextmanager
def _errors_of_the_library() -> Iterator[None]:
    """The driver's errors, as those by which users of the library know them."""
    try:
        yield
    except psycopg.IntegrityError as error:
        raise IntegrityError(error) from error
    except psycopg.OperationalError as error:
        raise OperationalError(error) from error
    except psycopg.DataError as error:
        raise DataError(error) from error
    except psycopg.Error as error:
        raise PersistenceError(error) from error


class _Recorder:
    """What both recorders need of the database."""

    def __init__(self, pool: "ConnectionPool[psycopg.Connection[Any]]", tenant: UUID) -> None:
        self._pool = pool
        self._tenant = tenant

    def _rows(self, query: str, parameters: Sequence[Any]) -> list[Any]:
        with _errors_of_the_library(), self._pool.connection() as connection, connection.transaction():
            _name_tenant(connection, self._tenant)
            return connection.cursor(binary=True).execute(query, parameters).fetchall()

    def _append(self, stored_events: Sequence[StoredEvent]) -> AppendReceipt:
        request = _request(self._tenant, stored_events)
        with _errors_of_the_library(), self._pool.connection() as connection:
            row = connection.execute(APPEND, [pack([request]).decode()], prepare=True).fetchone()
        (receipt,) = unpack([request], row[0] if row else "[]")
        if receipt.outcome != "appended":
            detail = "a stream is not at the version that the events follow"
            raise IntegrityError(detail)
        return receipt


class StreamRecorder(_Recorder, AggregateRecorder):
    """Records events in their streams; says nothing of their place in the log."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **_: Any) -> Sequence[int] | None:
        """Append the events, all or none.

        Raises:
            IntegrityError: a version is taken, or does not follow the last one.
        """
        if stored_events:
            self._append(stored_events)
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """The stream's events with versions in (gt, lte], in their order or backwards."""
        rows = self._rows(
            f"""SELECT stream_id, version, type, data FROM erp.events
                 WHERE stream_id = %s AND stream_type = %s AND version > %s AND version <= %s
                 ORDER BY version {"DESC" if desc else "ASC"} LIMIT %s""",  # noqa: S608 - one of two constants
            [originator_id, STREAM_TYPE, -1 if gt is None else gt, 2**62 if lte is None else lte, limit],
        )
        return [StoredEvent(*row) for row in rows]


class SnapshotRecorder(_Recorder, AggregateRecorder):
    """Records the library's snapshots beside the system's own."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **_: Any) -> Sequence[int] | None:
        """Store the snapshots.

        Raises:
            IntegrityError: there is one of that version already.
        """
        rows = [
            (self._tenant, event.originator_id, event.originator_version, event.topic, event.state)
            for event in stored_events
        ]
        with (
            _errors_of_the_library(),
            self._pool.connection() as connection,
            connection.transaction(),
            connection.cursor() as cursor,
        ):
            _name_tenant(connection, self._tenant)
            cursor.executemany(
                """INSERT INTO erp.snapshots (tenant, stream_id, version, type, state)
                   VALUES (%s, %s, %s, %s, %s)""",
                rows,
            )
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """The stream's snapshots with versions in (gt, lte], in their order or backwards."""
        rows = self._rows(
            f"""SELECT stream_id, version, type, state FROM erp.snapshots
                 WHERE stream_id = %s AND version > %s AND version <= %s
                 ORDER BY version {"DESC" if desc else "ASC"} LIMIT %s""",  # noqa: S608 - one of two constants
            [originator_id, -1 if gt is None else gt, 2**62 if lte is None else lte, limit],
        )
        return [StoredEvent(*row) for row in rows]


class TenantRecorder(StreamRecorder, ApplicationRecorder):
    """Records events in their streams and in the tenant's dense sequence."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **_: Any) -> Sequence[int] | None:
        """Append the events, all or none, and return their notification ids.

        Raises:
            IntegrityError: a version is taken, or does not follow the last one.
        """
        if not stored_events:
            return []
        last = self._append(stored_events).tenant_seq
        return list(range(last - len(stored_events) + 1, last + 1))

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """The tenant's events from `start` to `stop`, of the given topics if any are given."""
        after = 0 if start is None else start - 1 if inclusive_of_start else start
        rows = self._rows(
            """SELECT stream_id, version, type, data, tenant_seq FROM erp.events
                WHERE tenant = %s AND tenant_seq > %s AND tenant_seq <= %s AND (%s OR type = ANY (%s))
                ORDER BY tenant_seq LIMIT %s""",
            [self._tenant, after, 2**62 if stop is None else stop, not topics, list(topics), limit],
        )
        return [Notification(*row) for row in rows]

    def max_notification_id(self) -> int | None:
        """The tenant's last notification id, None before the first event."""
        rows = self._rows(
            "SELECT tenant_seq FROM erp.events WHERE tenant = %s ORDER BY tenant_seq DESC LIMIT 1",
            [self._tenant],
        )
        return rows[0][0] if rows else None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> "PollingSubscription":
        """The tenant's events after `gt`, then those that are yet to come."""
        return PollingSubscription(self, gt, topics)


class PollingSubscription(Subscription[ApplicationRecorder]):
    """Asks for new events again and again: NOTIFY would take a global lock at each commit."""

    def __init__(
        self, recorder: ApplicationRecorder, gt: int | None = None, topics: Sequence[str] = ()
    ) -> None:
        super().__init__(recorder, gt, topics)
        self._page: Iterator[Notification] = iter(())

    def __next__(self) -> Notification:
        while not self._has_been_stopped:
            notification = next(self._page, None)
            if notification is not None:
                self._last_notification_id = notification.id
                return notification
            found = self._recorder.select_notifications(
                self._last_notification_id or 0, _PAGE, topics=self._topics, inclusive_of_start=False
            )
            self._page = iter(found)
            if not found:
                time.sleep(_POLL_S)
        raise StopIteration


class Factory(InfrastructureFactory[TrackingRecorder]):
    """What the library constructs for PERSISTENCE_MODULE=eventstore.recorder."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        url, tenant = self.env.get("EVENTSTORE_URL"), self.env.get("EVENTSTORE_TENANT")
        if not url or not tenant:
            detail = "EVENTSTORE_URL and EVENTSTORE_TENANT say where and for whom to record"
            raise ProgrammingError(detail)
        self._tenant = UUID(tenant)
        self._pool = connection_pool(url)

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        """A recorder of events, or of snapshots."""
        return (SnapshotRecorder if purpose == "snapshots" else StreamRecorder)(self._pool, self._tenant)

    def application_recorder(self) -> ApplicationRecorder:
        """A recorder of events and their notifications."""
        return TenantRecorder(self._pool, self._tenant)

    def tracking_recorder(
        self, tracking_recorder_class: type[TrackingRecorder] | None = None
    ) -> TrackingRecorder:
        """Not offered."""
        del tracking_recorder_class
        detail = "this event store records no tracking"
        raise NotSupportedError(detail)

    def process_recorder(self) -> ProcessRecorder:
        """Not offered."""
        detail = "this event store records no tracking"
        raise NotSupportedError(detail)

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()


def _name_tenant(connection: "psycopg.Connection[Any]", tenant: UUID) -> None:
    """For the rest of the transaction, row-level security lets this tenant through."""
    connection.execute("SELECT set_config('erp.tenant', %s, true)", [str(tenant)])


def _request(tenant: UUID, stored_events: Sequence[StoredEvent]) -> AppendRequest:
    ends: dict[UUID, int] = {}
    checks = []
    for event in stored_events:
        stream, version = _uuid(event.originator_id), event.originator_version
        if stream not in ends:
            checks.append(Check(stream, STREAM_TYPE, ABSENT_BEFORE_ZERO if version == 0 else version - 1))
        elif version != ends[stream] + 1:
            detail = f"version {version} does not follow {ends[stream]}"
            raise IntegrityError(detail)
        ends[stream] = version
    return AppendRequest(
        tenant=tenant,
        idempotency_key=str(uuid4()),
        request_hash=b"",
        answer={},
        metadata=b"{}",
        checks=tuple(checks),
        events=tuple(_new_event(event) for event in stored_events),
    )


def _new_event(event: StoredEvent) -> NewEvent:
    return NewEvent(
        event_id=uuid7(),
        stream_type=STREAM_TYPE,
        stream_id=_uuid(event.originator_id),
        version=event.originator_version,
        type=event.topic,
        schema_version=1,
        series=None,
        encoding=_ENCODING,
        data=event.state,
    )


def _uuid(originator_id: UUID | str) -> UUID:
    return originator_id if isinstance(originator_id, UUID) else UUID(originator_id)
