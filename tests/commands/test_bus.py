"""The bus over the real store: who may, exactly once, and never a refusal on what is no longer true."""

from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from commands.bus import Bus, Command, Context, Handler, Work
from commands.errors import ConcurrencyConflict, IdempotencyKeyReused, NotPermitted, VersionMismatch
from commands.permissions import Permissions
from domain.shared.aggregate import Aggregate, event
from domain.shared.errors import DomainError
from erp.embedded.address import with_user
from eventstore.codec import Codec
from eventstore.store import EventStore
from eventstore.tenants import register_tenant

pytestmark = pytest.mark.integration


class Full(DomainError):
    """The jar holds one coin."""

    code = "jar.full"


class Jar(Aggregate):
    """Holds one coin."""

    TOPIC = "test.jar"

    full: bool = False

    class Filled(Aggregate.Event):
        """The coin went in."""

        TOPIC = "test.jar.filled"

    class Emptied(Aggregate.Event):
        """The coin was taken out."""

        TOPIC = "test.jar.emptied"

    def fill(self) -> None:
        """Put the coin in."""
        if self.full:
            detail = "The jar is full."
            raise Full(detail)
        self._filled()

    @event(Filled)
    def _filled(self) -> None:
        self.full = True

    def empty(self) -> None:
        """Take it out."""
        self._emptied()

    @event(Emptied)
    def _emptied(self) -> None:
        self.full = False


class Fill(Command):
    """Fill a jar, for a reason if there is one."""

    TOPIC = "test.fill"
    jar: UUID
    reason: str | None = None

    @property
    def permission(self) -> str:
        """Filling."""
        return "test.jars:fill"


class Empty(Fill):
    """Empty a jar."""

    TOPIC = "test.empty"


class FillTwice(Fill):
    """Ask for the turn twice, which a handler must not."""

    TOPIC = "test.fill_twice"


class FillNew(Fill):
    """Fill a jar that nobody has seen."""

    TOPIC = "test.fill_new"


class FillBehindBack(Fill):
    """Somebody else is always faster."""

    TOPIC = "test.fill_behind_back"


async def fill(command: Fill, work: Work) -> Jar:
    """See `Jar.fill`."""
    jar = await work.edit(Jar, command.jar)
    jar.fill()
    return jar


async def empty(command: Fill, work: Work) -> Jar:
    """See `Jar.empty`."""
    jar = await work.edit(Jar, command.jar)
    jar.empty()
    return jar


async def fill_twice(command: Fill, work: Work) -> Jar:
    """Not allowed."""
    await work.edit(Jar, uuid4())
    return await work.edit(Jar, command.jar)


async def fill_new(_command: FillNew, work: Work) -> Jar:
    """See `Jar.fill`."""
    jar = work.new(Jar)
    jar.fill()
    return jar


class Office:
    """A tenant, and two processes that serve it: each has its own store, cache and bus."""

    def __init__(self, tenant: UUID, *stores: EventStore) -> None:
        self.tenant = tenant
        self.attempts = 0
        handlers: dict[type[Command], Handler] = {
            Fill: fill,
            Empty: empty,
            FillTwice: fill_twice,
            FillNew: fill_new,
            FillBehindBack: self._fill_behind_back,
        }
        self.one, self.other = (Bus(store, handlers, new_id=uuid4, attempts_max=3) for store in stores)

    async def _fill_behind_back(self, command: Fill, work: Work) -> Jar:
        jar = await work.edit(Jar, command.jar)
        self.attempts += 1
        await self.other.execute((Empty if jar.full else Fill)(jar=command.jar), self.context())
        jar.empty()
        return jar

    def context(self, key: str | None = None, **changes: object) -> Context:
        """Someone who may do everything, under a fresh key unless one is given."""
        context = Context(
            tenant=self.tenant,
            actor="alice",
            permissions=Permissions(["*"]),
            idempotency_key=key or str(uuid4()),
            request_hash=b"request",
            correlation_id="c",
        )
        return replace(context, **changes)  # type: ignore[arg-type]


@pytest.fixture
async def office(postgres_url: str) -> AsyncIterator[Office]:
    """An office with empty shelves."""
    tenant, _ = register_tenant(postgres_url, f"t{uuid4().hex}", base_currency="EUR", time_zone="UTC")
    url = with_user(postgres_url, "erp_app")
    async with EventStore(url, Codec([Jar])) as one, EventStore(url, Codec([Jar])) as other:
        yield Office(tenant.tenant, one, other)


async def test_who_lacks_the_permission_is_turned_away(office: Office) -> None:
    """Nothing is read, nothing is stored; the refusal names the permission."""
    nobody = office.context(permissions=Permissions.of(["auditor", "no-such-role"]))
    with pytest.raises(NotPermitted) as refused:
        await office.one.execute(Fill(jar=uuid4()), nobody)
    assert refused.value.data == {"permission": "test.jars:fill"}


@pytest.mark.parametrize("granted", ["*", "test.*", "*:fill", "test.jars:fill"])
async def test_wildcards_permit(office: Office, granted: str) -> None:
    """Everything, a context, an action, or the one permission."""
    answer = await office.one.execute(Fill(jar=uuid4()), office.context(permissions=Permissions([granted])))
    assert answer.version == 1


async def test_a_refusal_on_an_outdated_cache_is_decided_again(office: Office) -> None:
    """One process remembers the jar as full; the other has emptied it: the command goes through."""
    jar = uuid4()
    await office.one.execute(Fill(jar=jar), office.context())
    await office.other.execute(Empty(jar=jar), office.context())
    assert (await office.one.execute(Fill(jar=jar), office.context())).version == 3


async def test_a_refusal_on_the_truth_stands(office: Office) -> None:
    """The jar is full for both."""
    jar = uuid4()
    await office.one.execute(Fill(jar=jar), office.context())
    for bus in (office.one, office.other):
        with pytest.raises(Full):
            await bus.execute(Fill(jar=jar), office.context())


async def test_a_repeat_is_answered_before_a_rule_is_reported(office: Office) -> None:
    """The first time made the jar full; asked again under its key it is still a success, in any process."""
    jar, context = uuid4(), office.context()
    first = await office.one.execute(Fill(jar=jar), context)
    for bus in (office.one, office.other):
        again = await bus.execute(Fill(jar=jar), context)
        assert again == replace(first, replayed=True)


async def test_a_repeat_is_answered_before_a_version_is_compared(office: Office) -> None:
    """`If-Match: "0"` held the first time; the repeat does not fail for its own success."""
    jar, context = uuid4(), office.context(expected_version=0)
    first = await office.one.execute(Fill(jar=jar), context)
    assert (await office.one.execute(Fill(jar=jar), context)).position == first.position
    with pytest.raises(VersionMismatch) as refused:
        await office.one.execute(Empty(jar=jar), office.context(expected_version=0))
    assert refused.value.data == {"version": 1}


async def test_what_is_new_is_at_version_zero(office: Office) -> None:
    """`If-Match` on a command that only creates is held to that."""
    with pytest.raises(VersionMismatch):
        await office.one.execute(FillNew(jar=uuid4()), office.context(expected_version=5))
    assert (await office.one.execute(FillNew(jar=uuid4()), office.context(expected_version=0))).version == 1


async def test_a_key_belongs_to_one_request(office: Office) -> None:
    """Another request under it is refused, whether it would have gone through or broken a rule."""
    jar, key = uuid4(), "key"
    await office.one.execute(Fill(jar=jar), office.context(key))
    for command in (Empty(jar=jar), Fill(jar=jar)):
        with pytest.raises(IdempotencyKeyReused):
            await office.one.execute(command, office.context(key, request_hash=b"another"))


async def test_who_always_loses_the_race_is_told_so(office: Office) -> None:
    """Retries on conflict are bounded, and each decides on fresh state."""
    with pytest.raises(ConcurrencyConflict):
        await office.one.execute(FillBehindBack(jar=uuid4()), office.context())
    assert office.attempts == 3


async def test_asking_for_turns_one_by_one_is_a_mistake(office: Office) -> None:
    """Two commands that did so could wait for each other for ever."""
    with pytest.raises(RuntimeError, match="one call"):
        await office.one.execute(FillTwice(jar=uuid4()), office.context())
