"""The bus over the real store: who may, exactly once, and never a refusal on what is no longer true."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest

from commands.bus import Bus, Command, Context, Handler, Work
from commands.errors import (
    ConcurrencyConflict,
    IdempotencyKeyReused,
    NotPermitted,
    Superseded,
    VersionMismatch,
)
from commands.permissions import Permissions
from domain.shared.personal import Personal
from erp.embedded.address import with_user
from eventstore.codec import Codec
from eventstore.store import EventStore
from eventstore.tenants import register_tenant
from eventstore.vault import Vault
from tests.commands.jars import Empty, Fill, Full, Jar, KeepFull, empty, fill, keep_full

pytestmark = pytest.mark.integration


class FillTwice(Fill):
    """Ask for the turn twice, which a handler must not."""

    TOPIC = "test.fill_twice"


class FillNew(Fill):
    """Fill a jar that nobody has seen."""

    TOPIC = "test.fill_new"


class LookBack(Fill):
    """Ask what happened to a jar, and fill it."""

    TOPIC = "test.look_back"


class FillBehindBack(Fill):
    """Somebody else is always faster."""

    TOPIC = "test.fill_behind_back"


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
        self.stores = stores
        self.attempts = 0
        handlers: dict[type[Command], Handler] = {
            Fill: fill,
            Empty: empty,
            KeepFull: keep_full,
            LookBack: self._look_back,
            FillTwice: fill_twice,
            FillNew: fill_new,
            FillBehindBack: self._fill_behind_back,
        }
        self.now = datetime(2026, 3, 1, 0, 30, tzinfo=timezone(timedelta(hours=1)))
        self.seen: list[object] = []
        self.one, self.other = (
            Bus(store, handlers, new_id=uuid4, clock=lambda: self.now, attempts_max=3) for store in stores
        )

    async def _look_back(self, command: LookBack, work: Work) -> Jar:
        jar = await work.edit(Jar, command.jar)
        jar.fill()
        past = await work.history(jar)
        self.seen += [[each.TOPIC for each in past], work.now, work.today]
        return jar

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


async def test_what_is_so_already_is_answered_with_no_event(office: Office) -> None:
    """The answer is that of whoever made it so, and it keeps no key: another request may take it."""
    jar, context = uuid4(), office.context()
    first = await office.one.execute(KeepFull(jar=jar), office.context())
    assert (first.version, first.replayed) == (1, False)
    for bus in (office.one, office.other):
        assert await bus.execute(KeepFull(jar=jar), context) == replace(first, replayed=True)
    assert (await office.one.execute(Empty(jar=jar), context)).version == 2
    assert (await office.other.execute(Empty(jar=jar), context)).replayed


async def test_what_was_so_is_decided_again(office: Office) -> None:
    """One process remembers the jar as full, the other has emptied it: it is filled."""
    jar = uuid4()
    await office.one.execute(Fill(jar=jar), office.context())
    await office.other.execute(Empty(jar=jar), office.context())
    assert (await office.one.execute(KeepFull(jar=jar), office.context())).version == 3


async def test_a_repeat_comes_before_what_is_so_already(office: Office) -> None:
    """The first answer under the key is given, not that of who filled it last."""
    jar, context = uuid4(), office.context()
    first = await office.one.execute(KeepFull(jar=jar), context)
    for command in (Empty(jar=jar), Fill(jar=jar)):
        await office.one.execute(command, office.context())
    assert await office.one.execute(KeepFull(jar=jar), context) == replace(first, replayed=True)


async def test_a_handler_knows_the_past_and_the_hour(office: Office) -> None:
    """All recorded events, not its own; and one instant, whose day is that of UTC."""
    jar = uuid4()
    for command in (Fill(jar=jar), Empty(jar=jar), LookBack(jar=jar)):
        await office.one.execute(command, office.context())
    past, now, today = office.seen
    assert past == ["test.jar.filled", "test.jar.emptied"]
    assert now == datetime(2026, 2, 28, 23, 30, tzinfo=UTC)
    assert today == date(2026, 2, 28)


async def test_a_handler_seals_personal_data(office: Office) -> None:
    """In the name of the tenant, by the vault that the bus was given; without one it is a mistake."""
    sealed: list[Personal[Any]] = []

    async def label(command: Fill, work: Work) -> Jar:
        sealed.append(await work.seal("c-1", {"name": "Erika"}))
        return await fill(command, work)

    vault = Vault(office.stores[0].rows, bytes(32))
    bus = Bus(office.stores[0], {Fill: label}, new_id=uuid4, vault=vault)
    await bus.execute(Fill(jar=uuid4()), office.context())
    assert await vault.open(office.tenant, sealed[0]) == {"name": "Erika"}
    with pytest.raises(RuntimeError, match="no vault"):
        await Bus(office.stores[0], {Fill: label}, new_id=uuid4).execute(Fill(jar=uuid4()), office.context())


async def test_without_a_clock_of_its_own_the_bus_goes_by_the_machines(office: Office) -> None:
    """In UTC."""
    bus = Bus(office.stores[0], {LookBack: office._look_back}, new_id=uuid4)
    await bus.execute(LookBack(jar=uuid4()), office.context())
    now = office.seen[1]
    assert isinstance(now, datetime)
    assert now.tzinfo is UTC
    assert abs(datetime.now(UTC) - now) < timedelta(minutes=1)


async def test_what_led_to_a_command_has_moved_on(office: Office) -> None:
    """Nothing new is stored then, also where another process knows of it only; what was stored answers."""
    leader, led, late = uuid4(), uuid4(), uuid4()
    await office.one.execute(Fill(jar=leader), office.context())
    led_by = await office.stores[0].load(Jar, leader, office.tenant)
    context = office.context(led_by=led_by)
    first = await office.one.execute(Fill(jar=led), context)
    await office.other.execute(Empty(jar=leader), office.context())
    with pytest.raises(Superseded, match=r"test\.jar .* has moved on"):
        await office.one.execute(Fill(jar=late), office.context(led_by=led_by))
    assert (await office.stores[0].load_current(Jar, late, office.tenant)).version == 0
    assert (await office.one.execute(Fill(jar=led), context)) == replace(first, replayed=True)


async def test_a_command_whose_leader_stands_is_tried_again(office: Office) -> None:
    leader, jar = uuid4(), uuid4()
    await office.one.execute(Fill(jar=leader), office.context())
    led_by = await office.stores[0].load(Jar, leader, office.tenant)
    await office.one.execute(Fill(jar=jar), office.context())
    await office.other.execute(Empty(jar=jar), office.context())
    # The cache of one still has it full: only the log tells that it may be filled.
    await office.one.execute(Empty(jar=jar), office.context(led_by=led_by))
    assert (await office.stores[0].load_current(Jar, jar, office.tenant)).version == 3
