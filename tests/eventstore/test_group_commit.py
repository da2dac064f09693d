"""Promise 3: all or nothing per command, many commands per commit."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from domain.shared.errors import Unavailable
from eventstore.committer import GroupCommitter
from eventstore.request import AppendReceipt, AppendRequest, Batch, Check
from tests.eventstore.conftest import MakeTenant
from tests.eventstore.requests import STREAM_TYPE, new_event, new_request, one_event

pytestmark = pytest.mark.integration

APPEND_LOCK = 4712820726


@pytest.fixture
async def committer(app_url: str) -> AsyncIterator[GroupCommitter]:
    """A committer with a connection of its own."""

    async def connect() -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(app_url, autocommit=True)

    opened = GroupCommitter(connect)
    yield opened
    await opened.close()


@contextmanager
def appends_held_up(owner_url: str) -> Iterator[None]:
    """Batches do not get past their start until this ends."""
    with psycopg.connect(owner_url, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [APPEND_LOCK])
        yield


async def append_all(
    committer: GroupCommitter, requests: list[AppendRequest]
) -> list[AppendReceipt | BaseException]:
    """Hand all over at the same time; whoever fails is there with his exception."""
    return await asyncio.gather(*(committer.append(request) for request in requests), return_exceptions=True)


def outcomes(receipts: list[AppendReceipt | BaseException]) -> list[str]:
    return [type(r).__name__ if isinstance(r, BaseException) else r.outcome for r in receipts]


def stored(url: str, request: AppendRequest) -> int:
    """How many of the request's events are in the log."""
    with psycopg.connect(url) as reader:
        row = reader.execute(
            "SELECT count(*) FROM erp.events WHERE event_id = ANY (%s)",
            [[e.event_id for e in request.events]],
        ).fetchone()
    assert row is not None
    return int(row[0])


async def test_concurrent_requests_share_commits(committer: GroupCommitter, tenant: UUID) -> None:
    """What arrives while a batch is at the database goes in one call, up to the limit of a batch."""
    receipts = await append_all(committer, [one_event(tenant) for _ in range(1200)])
    assert set(outcomes(receipts)) == {"appended"}
    assert committer.requests == 1200
    assert committer.batches <= 4
    assert len({receipt.position for receipt in receipts if isinstance(receipt, AppendReceipt)}) == 1200


async def test_events_of_a_request_are_neighbours(
    committer: GroupCommitter, tenant: UUID, reader_url: str
) -> None:
    """The events of one command are not mixed with others', and stand in the order in which they were
    made.
    """
    requests = []
    for _ in range(30):
        first, second = uuid4(), uuid4()
        events = (new_event(first, 1), new_event(second, 1), new_event(first, 2))
        requests.append(new_request(tenant, *events))
    receipts = await append_all(committer, requests)
    with psycopg.connect(reader_url) as reader:
        rows = reader.execute("SELECT event_id, position FROM erp.events WHERE tenant = %s", [tenant])
        positions: dict[UUID, int] = dict(rows.fetchall())
    for request, receipt in zip(requests, receipts, strict=True):
        assert isinstance(receipt, AppendReceipt)
        expected = [receipt.position - 2, receipt.position - 1, receipt.position]
        assert [positions[event.event_id] for event in request.events] == expected


async def test_tenants_share_commits(
    committer: GroupCommitter, make_tenant: MakeTenant, reader_url: str
) -> None:
    """In a batch of several tenants each has its own sequence and its own numbers, without holes."""
    tenants = [make_tenant() for _ in range(3)]
    requests = []
    for n in range(60):
        stream = uuid4()
        events = (new_event(stream, 1, series=f"s{n % 2}"), new_event(stream, 2))
        requests.append(new_request(tenants[n % 3], *events))
    receipts = await append_all(committer, requests)
    assert committer.batches < 5
    with psycopg.connect(reader_url) as reader:
        rows = reader.execute(
            """SELECT tenant, tenant_seq, series, number FROM erp.events
                WHERE tenant = ANY (%s) ORDER BY position""",
            [tenants],
        ).fetchall()
    for tenant in tenants:
        of_tenant = [row for row in rows if row[0] == tenant]
        assert [row[1] for row in of_tenant] == list(range(1, 41))
        for series in ("s0", "s1"):
            assert [row[3] for row in of_tenant if row[2] == series] == list(range(1, 11))
        told = [r for q, r in zip(requests, receipts, strict=True) if q.tenant == tenant]
        assert [r.tenant_seq for r in told if isinstance(r, AppendReceipt)] == list(range(2, 41, 2))


async def test_conflicting_request_fails_alone(
    committer: GroupCommitter, tenant: UUID, reader_url: str
) -> None:
    """In a batch, a request on an outdated version stores nothing, not even its good part; the others are
    stored.
    """
    taken = uuid4()
    await committer.append(new_request(tenant, new_event(taken, 1)))
    conflicting = new_request(tenant, new_event(uuid4(), 1, series="s"), new_event(taken, 1))
    good = [one_event(tenant, series="s") for _ in range(6)]
    before = committer.batches
    receipts = await append_all(committer, [*good[:3], conflicting, *good[3:]])
    assert outcomes(receipts) == ["appended"] * 3 + ["conflict"] + ["appended"] * 3
    assert committer.batches == before + 1
    assert stored(reader_url, conflicting) == 0
    assert [stored(reader_url, request) for request in good] == [1] * 6


def culprits(tenant: UUID) -> dict[str, AppendRequest]:
    """Requests that get past Python, or that do not even get that far."""
    good = one_event(tenant)
    return {
        "NUL in a text": new_request(tenant, new_event(uuid4(), 1, series="nul \0 here")),
        "empty series": new_request(tenant, new_event(uuid4(), 1, series="")),
        "unknown tenant": one_event(uuid4()),
        "version hole": new_request(tenant, new_event(s := uuid4(), 2), checks=[Check(s, STREAM_TYPE, 0)]),
        "stream unchecked": new_request(tenant, new_event(uuid4(), 1), checks=[]),
        "lone surrogate": one_event(tenant, key="\ud800"),
        "version too large": new_request(tenant, new_event(uuid4(), 2**70)),
        "event id twice": new_request(tenant, *good.events, *good.events),
    }


@pytest.mark.parametrize("which", culprits(uuid4()))
async def test_request_that_the_database_refuses_fails_alone(
    committer: GroupCommitter, tenant: UUID, reader_url: str, which: str
) -> None:
    """An error that is no conflict is found by halving: the culprit fails, everybody else is stored, once."""
    bad = culprits(tenant)[which]
    good = [one_event(tenant, series="s") for _ in range(20)]
    receipts = await append_all(committer, [*good[:13], bad, *good[13:]])
    failed = receipts.pop(13)
    assert isinstance(failed, Exception)
    assert not isinstance(failed, Unavailable)
    assert outcomes(receipts) == ["appended"] * 20
    assert stored(reader_url, bad) == 0
    with psycopg.connect(reader_url) as reader:
        numbers = reader.execute(
            "SELECT number FROM erp.events WHERE tenant = %s AND series = 's' ORDER BY position", [tenant]
        ).fetchall()
    assert [row[0] for row in numbers] == list(range(1, 21))


async def test_all_but_one_of_a_batch_refused(
    committer: GroupCommitter, tenant: UUID, reader_url: str
) -> None:
    """Several culprits are all found."""
    good = one_event(tenant)
    requests = [one_event(tenant, series="\0") for _ in range(9)]
    receipts = await append_all(committer, [*requests[:4], good, *requests[4:]])
    assert outcomes(receipts).count("appended") == 1
    assert stored(reader_url, good) == 1


async def test_batch_of_large_entries_is_bounded_in_bytes(
    committer: GroupCommitter, tenant: UUID, postgres_url: str
) -> None:
    """Large requests share a transaction only as far as it stays quick."""
    megabyte = b'"' + b"x" * 1024 * 1024 + b'"'
    requests = [new_request(tenant, new_event(uuid4(), 1, data=megabyte)) for _ in range(10)]
    with appends_held_up(postgres_url):
        tasks = [asyncio.create_task(committer.append(request)) for request in requests]
        await asyncio.sleep(0.1)
    assert outcomes(await asyncio.gather(*tasks)) == ["appended"] * 10
    assert committer.batches >= 3


async def test_request_without_events_is_refused_clearly(committer: GroupCommitter, tenant: UUID) -> None:
    """A request that stores nothing cannot be told from a conflict, so it is refused, and nobody else."""
    good = asyncio.create_task(committer.append(one_event(tenant)))
    with pytest.raises(ValueError, match="no events"):
        await committer.append(new_request(tenant, reads=[Check(uuid4(), STREAM_TYPE, 0)]))
    assert (await good).outcome == "appended"


async def test_waiter_who_hangs_up(committer: GroupCommitter, tenant: UUID, postgres_url: str) -> None:
    """Who stops waiting does not take his events along: what was handed over is stored, for him and the
    others.
    """
    requests = [one_event(tenant) for _ in range(4)]
    with appends_held_up(postgres_url):
        tasks = [asyncio.create_task(committer.append(request)) for request in requests]
        await asyncio.sleep(0.05)
        tasks[0].cancel()
        tasks[2].cancel()
        await asyncio.sleep(0.05)
    assert [receipt.outcome for receipt in await asyncio.gather(tasks[1], tasks[3])] == ["appended"] * 2
    await committer.close()
    assert [stored(postgres_url, request) for request in requests] == [1] * 4


async def test_close_finishes_what_was_taken_on(
    committer: GroupCommitter, tenant: UUID, postgres_url: str
) -> None:
    """Closing stores everything that was handed over before, also what waits behind a batch; then it
    takes no more.
    """
    stream = uuid4()
    # Of these no two fit into one batch.
    dependent = [new_request(tenant, new_event(stream, version)) for version in (1, 2, 3)]
    with appends_held_up(postgres_url):
        tasks = [asyncio.create_task(committer.append(request)) for request in dependent]
        await asyncio.sleep(0.05)
        closing = asyncio.create_task(committer.close())
        await asyncio.sleep(0.05)
        with pytest.raises(Unavailable):
            await committer.append(one_event(tenant))
        assert not closing.done()
    await closing
    assert [task.result().outcome for task in tasks] == ["appended"] * 3
    with pytest.raises(Unavailable):
        await committer.append(one_event(tenant))
    with psycopg.connect(postgres_url) as owner:
        left = owner.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone()
    assert left == (0,)


async def test_close_before_anything_was_appended(committer: GroupCommitter) -> None:
    """Closing a committer that never worked returns, also twice."""
    await committer.close()
    await committer.close()


class TestBatch:
    """Which requests may be judged against the same state."""

    tenant, stream = uuid4(), uuid4()

    def taken(self, *requests: AppendRequest) -> list[bool]:
        """Which of the requests one batch takes."""
        batch = Batch()
        return [batch.add(request) for request in requests]

    def writer(self, key: str | None = None) -> AppendRequest:
        """A request that writes the stream."""
        return new_request(self.tenant, new_event(self.stream, 1), key=key)

    def reader(self) -> AppendRequest:
        """A request that writes another stream and reads this one."""
        return new_request(self.tenant, new_event(uuid4(), 1), reads=[Check(self.stream, STREAM_TYPE, 0)])

    def test_two_writers_of_a_stream(self) -> None:
        """The second must see what the first did."""
        assert self.taken(self.writer(), self.writer()) == [True, False]

    def test_reader_after_writer(self) -> None:
        """Who read a stream must not be judged by its state before the writer."""
        assert self.taken(self.writer(), self.reader()) == [True, False]

    def test_writer_after_reader(self) -> None:
        """Nor the other way round, since the batch has no order."""
        assert self.taken(self.reader(), self.writer()) == [True, False]

    def test_readers_of_a_stream(self) -> None:
        """Any number of requests may read the same stream."""
        assert self.taken(self.reader(), self.reader(), self.reader()) == [True, True, True]

    def test_same_key(self) -> None:
        """The second of a key must find the first; the same key of another tenant is another key."""
        elsewhere = new_request(uuid4(), new_event(uuid4(), 1), key="k")
        assert self.taken(one_event(self.tenant, key="k"), one_event(self.tenant, key="k"), elsewhere) == [
            True,
            False,
            True,
        ]

    def test_refused_request_leaves_no_trace(self) -> None:
        """What was not taken does not keep others out."""
        other = uuid4()
        refused = new_request(self.tenant, new_event(self.stream, 1), new_event(other, 1), key="k")
        assert self.taken(self.writer(), refused, new_request(self.tenant, new_event(other, 1), key="k")) == [
            True,
            False,
            True,
        ]


async def test_dependent_requests_settle_in_turn(committer: GroupCommitter, tenant: UUID) -> None:
    """Of many who write one stream at the same version, handed over together, exactly one wins."""
    stream = uuid4()
    receipts = await append_all(committer, [new_request(tenant, new_event(stream, 1)) for _ in range(10)])
    assert sorted(outcomes(receipts)) == ["appended"] + ["conflict"] * 9
