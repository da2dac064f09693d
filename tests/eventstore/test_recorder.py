"""The library's own published test cases, run against our recorders."""

from collections.abc import Iterator
from typing import Any, ClassVar
from uuid import UUID, uuid4

import psycopg
import pytest
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import DataError, IntegrityError, StoredEvent
from eventsourcing.tests.persistence import AggregateRecorderTestCase, ApplicationRecorderTestCase
from psycopg_pool import ConnectionPool

from eventstore.recorder import SnapshotRecorder, StreamRecorder, TenantRecorder, connection_pool
from tests.eventstore.conftest import MakeTenant

pytestmark = pytest.mark.integration


@pytest.fixture(scope="class")
def recorder_pool(request: pytest.FixtureRequest, app_url: str, make_tenant: MakeTenant) -> Iterator[None]:
    """Gives the test case a pool, and the means to make tenants."""
    pool = connection_pool(app_url, size_max=12)
    request.cls.pool = pool
    request.cls.make_tenant = staticmethod(make_tenant)
    yield
    pool.close()


class Fixtures:
    """What the fixture above puts into a test case."""

    pool: ClassVar["ConnectionPool[psycopg.Connection[Any]]"]
    make_tenant: ClassVar[Any]


@pytest.mark.usefixtures("recorder_pool")
class TestStreamRecorder(Fixtures, AggregateRecorderTestCase):
    """Events in their streams."""

    def create_recorder(self) -> StreamRecorder:
        """A recorder in a tenant of its own."""
        return StreamRecorder(self.pool, self.make_tenant())


@pytest.mark.usefixtures("recorder_pool")
class TestSnapshotRecorder(Fixtures, AggregateRecorderTestCase):
    """Snapshots."""

    def create_recorder(self) -> SnapshotRecorder:
        """A recorder in a tenant of its own."""
        return SnapshotRecorder(self.pool, self.make_tenant())


@pytest.mark.usefixtures("recorder_pool")
class TestTenantRecorder(Fixtures, ApplicationRecorderTestCase[TenantRecorder]):
    """Events and their notifications."""

    def create_recorder(self) -> TenantRecorder:
        """A recorder in a tenant of its own, whose notifications therefore start at 1."""
        return TenantRecorder(self.pool, self.make_tenant())

    def test_gap_in_versions_is_refused(self) -> None:
        """Versions of a stream have no holes, within a call and between calls."""
        recorder, stream = self.create_recorder(), uuid4()
        for versions in ((1, 3), (2,)):
            with pytest.raises(IntegrityError):
                recorder.insert_events([StoredEvent(stream, version, "t", b"") for version in versions])
        assert recorder.max_notification_id() is None

    def test_errors_are_those_of_the_library(self) -> None:
        """What the database refuses reaches users of the library as they know it, and stores nothing."""
        recorder = self.create_recorder()
        with pytest.raises(DataError):
            recorder.insert_events(
                [StoredEvent(uuid4(), 1, "t", b""), StoredEvent(uuid4(), 1, "nul \0", b"")]
            )
        with pytest.raises(IntegrityError):
            StreamRecorder(self.pool, uuid4()).insert_events([StoredEvent(uuid4(), 1, "t", b"")])
        with pytest.raises(DataError):
            recorder.select_notifications(1, 10, topics=["nul \0"])
        assert recorder.max_notification_id() is None

    def test_tenants_do_not_see_one_another(self) -> None:
        """A stream of one tenant is empty, and closed, to another."""
        one, other, stream = self.create_recorder(), self.create_recorder(), uuid4()
        one.insert_events([StoredEvent(stream, 1, "t", b"secret")])
        assert other.select_events(stream) == []
        with pytest.raises(IntegrityError):
            other.insert_events([StoredEvent(stream, 2, "t", b"intruder")])

    def test_subscription_catches_up_and_goes_on(self) -> None:
        """A subscription yields what was recorded before and after it began."""
        recorder, stream = self.create_recorder(), uuid4()
        recorder.insert_events([StoredEvent(stream, 1, "t", b"")])
        with recorder.subscribe() as subscription:
            assert next(subscription).originator_version == 1
            recorder.insert_events([StoredEvent(stream, 2, "t", b"")])
            assert next(subscription).originator_version == 2


class Dog(Aggregate):
    """An aggregate as the library's own manual has it."""

    @event("Registered")
    def __init__(self, name: str) -> None:
        self.name = name
        self.tricks: list[str] = []

    @event("TrickAdded")
    def add_trick(self, trick: str) -> None:
        """Learn."""
        self.tricks.append(trick)


def test_library_application_runs_on_the_store(app_url: str, tenant: UUID) -> None:
    """An unmodified Application of the library works with PERSISTENCE_MODULE=eventstore.recorder."""
    env = {
        "PERSISTENCE_MODULE": "eventstore.recorder",
        "EVENTSTORE_URL": app_url,
        "EVENTSTORE_TENANT": str(tenant),
        "IS_SNAPSHOTTING_ENABLED": "y",
    }
    with Application[UUID](env=env) as application:
        dog = Dog("Fido")
        dog.add_trick("roll over")
        application.save(dog)
        application.take_snapshot(dog.id)
        dog.add_trick("play dead")
        application.save(dog)
        kept: Dog = application.repository.get(dog.id)
        assert kept.tricks == ["roll over", "play dead"]
        assert [item.id for item in application.notification_log.select(start=1, limit=10)] == [1, 2, 3]
