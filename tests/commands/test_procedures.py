"""Procedures: several commands as one, with the outside world between them, and a crash anywhere."""

from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from commands.bus import Answer, Bus, Command, Context, Desk, Handler
from commands.errors import IdempotencyKeyReused, NotPermitted, VersionMismatch
from commands.permissions import Permissions
from erp.embedded.address import with_user
from eventstore.codec import Codec
from eventstore.store import EventStore
from eventstore.tenants import register_tenant
from tests.commands.jars import Empty, Fill, Full, Jar, empty, fill

pytestmark = pytest.mark.integration


class Crash(Exception):
    """The process ends here."""


class Toast(Command):
    """Fill a jar, show it around, and empty it."""

    TOPIC = "test.toast"
    jar: UUID

    @property
    def permission(self) -> str:
        """Not that of its steps."""
        return "test.jars:toast"


class Inn:
    """Runs the procedure, and crashes where a test wants it to."""

    def __init__(self, tenant: UUID, store: EventStore) -> None:
        self.tenant = tenant
        self.crash_after: set[str] = set()
        self.shown: list[bool] = []
        handlers: dict[type[Command], Handler] = {Fill: fill, Empty: empty}
        self.bus = Bus(store, handlers, {Toast: self._toast}, new_id=uuid4)

    async def _toast(self, command: Toast, _context: Context, desk: Desk) -> Answer:
        await desk.execute(Fill(jar=command.jar))
        self._passed("filled")
        told = await desk.answered("emptied")
        if told is not None:
            return told
        assert desk.tenant == self.tenant
        self.shown.append((await desk.load(Jar, command.jar)).full)
        self._passed("shown")
        answer = await desk.execute(Empty(jar=command.jar), "emptied")
        self._passed("emptied")
        return answer

    def _passed(self, point: str) -> None:
        if point in self.crash_after:
            self.crash_after.remove(point)
            raise Crash

    def context(self, **changes: object) -> Context:
        """Someone who may only do the whole, under a fresh key unless one is given."""
        context = Context(
            tenant=self.tenant,
            actor="alice",
            permissions=Permissions(["test.jars:toast"]),
            idempotency_key=str(uuid4()),
            request_hash=b"request",
            correlation_id="c",
        )
        return replace(context, **changes)  # type: ignore[arg-type]


@pytest.fixture
async def inn(postgres_url: str) -> AsyncIterator[Inn]:
    """An inn with empty shelves."""
    tenant, _ = register_tenant(postgres_url, f"t{uuid4().hex}", base_currency="EUR", time_zone="UTC")
    async with EventStore(with_user(postgres_url, "erp_app"), Codec([Jar])) as store:
        yield Inn(tenant.tenant, store)


async def test_the_steps_are_carried_out_in_order(inn: Inn) -> None:
    """The permission asked for is that of the whole, and the answer is that of the last step."""
    answer = await inn.bus.execute(Toast(jar=uuid4()), inn.context())
    assert (answer.version, answer.replayed, inn.shown) == (2, False, [True])


async def test_it_takes_the_permission_of_the_whole(inn: Inn) -> None:
    """That of its steps does not do."""
    with pytest.raises(NotPermitted) as refused:
        await inn.bus.execute(Toast(jar=uuid4()), inn.context(permissions=Permissions(["test.jars:fill"])))
    assert refused.value.data == {"permission": "test.jars:toast"}
    assert inn.shown == []


@pytest.mark.parametrize(
    ("point", "replayed", "shown"), [("filled", False, 1), ("shown", False, 2), ("emptied", True, 1)]
)
async def test_a_crash_is_picked_up_where_it_stood(inn: Inn, point: str, replayed: bool, shown: int) -> None:
    """Each step is stored once, wherever the process ended; what lies between them may happen again."""
    jar, context = uuid4(), inn.context()
    inn.crash_after = {point}
    with pytest.raises(Crash):
        await inn.bus.execute(Toast(jar=jar), context)
    answer = await inn.bus.execute(Toast(jar=jar), context)
    assert (answer.version, answer.replayed, len(inn.shown)) == (2, replayed, shown)


async def test_a_repeat_is_the_same_answer(inn: Inn) -> None:
    """And nothing is done again."""
    jar, context = uuid4(), inn.context()
    first = await inn.bus.execute(Toast(jar=jar), context)
    assert await inn.bus.execute(Toast(jar=jar), context) == replace(first, replayed=True)
    assert inn.shown == [True]


async def test_a_refused_step_is_the_refusal_of_the_whole(inn: Inn) -> None:
    """Nothing is kept under its key, which may be sent again."""
    jar, context = uuid4(), inn.context()
    await inn.bus.execute(Fill(jar=jar), inn.context(permissions=Permissions(["*"])))
    with pytest.raises(Full):
        await inn.bus.execute(Toast(jar=jar), context)
    await inn.bus.execute(Empty(jar=jar), inn.context(permissions=Permissions(["*"])))
    assert (await inn.bus.execute(Toast(jar=jar), context)).version == 4


async def test_the_key_belongs_to_one_request(inn: Inn) -> None:
    """As with any command."""
    jar, context = uuid4(), inn.context()
    await inn.bus.execute(Toast(jar=jar), context)
    with pytest.raises(IdempotencyKeyReused):
        await inn.bus.execute(Toast(jar=jar), replace(context, request_hash=b"another"))


async def test_if_match_is_about_the_first_step(inn: Inn) -> None:
    """The second starts from what the first has made."""
    with pytest.raises(VersionMismatch):
        await inn.bus.execute(Toast(jar=uuid4()), inn.context(expected_version=7))
    assert (await inn.bus.execute(Toast(jar=uuid4()), inn.context(expected_version=0))).version == 2
