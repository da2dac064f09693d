"""Rebuilds a projection beside the generation that answers, and puts it in its place in one step.

Promises: queries are served throughout, and no answer goes back in time. A rebuild that was killed goes on
from its checkpoint when it is started again. One that cannot read an event, or is told a wrong SELECT, leaves
everything as it was. One at a time fills a projection; the projector goes on with what answers.
"""

import asyncio
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from projections import checkpoints, locks, log_copy, tables
from projections.answers import Answers, answers, columns
from projections.checkpoints import Generation, Moved, Standing
from projections.clickhouse import ClickHouse, ReadSideDown, StatementFailed
from projections.declaration import Projection
from projections.filling import Filling
from projections.log_copy import Whereabouts
from projections.patience import Patience
from projections.switching import Advance, CannotRebuild, fill, hold_alone, reopened, switch, unreadable

_LOOK_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Compared:
    """What answered and what answers now, as far as both had come."""

    up_to: int
    before: Answers
    after: Answers
    only_in_one: tuple[str, ...]
    """Columns that one of the two tables does not have; they are not compared."""

    @property
    def is_same(self) -> bool:
        """Whether every row is the same."""
        return self.before == self.after


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What answers now."""

    generation: Generation
    replaced: int | None
    """The generation that answered before."""
    events: int
    """How many positions were gone through for it here."""
    seconds: float
    compared: Compared | None
    """None where nothing answered before."""


class Rebuild:
    """The rebuild of one projection, in a database session of its own.

        async with Rebuild(url, clickhouse, LINES, name="erp projections rebuild") as rebuild:
            events = await rebuild.begin()
            rebuilt = await rebuild.finish(advance)

    Args:
        url: Postgres, as erp_worker.
        name: tells others who it is that rebuilds.
        keep_old: keep the generation that it replaces, to go back to.
    """

    def __init__(
        self, url: str, clickhouse: ClickHouse, projection: Projection, *, name: str, keep_old: bool = False
    ) -> None:
        self._url = url
        self._name = name
        self._keep_old = keep_old
        self._clickhouse = clickhouse
        self._advance: Advance = lambda _: None
        self._filling: Filling | None = None
        self._events = 0
        self.projection = projection

    async def __aenter__(self) -> Self:
        self._connection = await locks.session(self._url, self._name)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connection.close()

    async def begin(self) -> int:
        """Take it on, where it was left if it was; returns how many events there are to go through: all of
        them while ClickHouse does not say.

        Raises:
            CannotRebuild: somebody else rebuilds it.
        """
        copied = await checkpoints.log_copy(self._connection)
        up_to = copied.position - copied.position % self.projection.definition.step
        if await self._projector_makes_it():
            return up_to
        await hold_alone(self._connection, self.projection.name)
        try:
            self._filling = await self._begun()
        except ReadSideDown:
            return up_to  # `finish` waits for it
        return max(0, up_to - self._filling.generation.position)

    async def finish(self, advance: Advance) -> Rebuilt:
        """Fill, compare, switch, and drop what is not needed any more.

        Raises:
            CannotRebuild: it cannot read an event, or does not catch up; or ClickHouse is not there for
                longer than a moment.
        """
        self._advance = advance
        began = time.monotonic()
        before = await self._standing()
        made, compared = await self._made()
        await self._drop_the_rest(before)
        seconds = time.monotonic() - began
        return Rebuilt(made, before.serving, self._events, seconds, compared)

    async def _made(self) -> tuple[Generation, Compared | None]:
        """A switch, though ClickHouse may be gone for a moment or the read side be made anew meanwhile."""
        patience = Patience()
        while True:
            before = self._events
            try:
                return await self._attempt()
            except (Moved, ReadSideDown, StatementFailed) as error:
                patience = Patience() if self._events > before else patience
                if not await patience.wait():
                    why = "everything is being made anew" if isinstance(error, Moved) else str(error)
                    raise CannotRebuild(f"{self.projection.name} is not rebuilt: {why}") from error
                self._filling = None

    async def _attempt(self) -> tuple[Generation, Compared | None]:
        if self._filling is None:
            made = await self._made_by_projector() if await self._projector_makes_it() else None
            if made is not None:
                return made, None
            await hold_alone(self._connection, self.projection.name)
            self._filling = await self._begun()
        await fill(self._connection, self._filling, self._went_on)
        compared = await self._compared(self._filling.generation)
        await switch(self._connection, self._clickhouse, self._filling, self._went_on)
        return self._filling.generation, compared

    def _went_on(self, events: int) -> None:
        self._events += events
        self._advance(events)

    async def _begun(self) -> Filling:
        """The next generation: one that was begun and can go on, or a new one."""
        place = await log_copy.prepare(self._clickhouse)
        standing = await self._standing()
        # While nothing answers, a projector may be at work on any of them.
        if standing.serving is not None or not await self._projector_is_active():
            for each in await checkpoints.generations(self._connection, self.projection.name):
                is_begun = each.generation not in {standing.serving, standing.previous}
                if is_begun and await self._can_go_on(each, place):
                    return await reopened(self._connection, self._clickhouse, each)
            await self._forget_all_but(standing.serving, standing.previous)
        generation = await tables.begin(self._clickhouse, self._connection, self.projection, place)
        return await reopened(self._connection, self._clickhouse, generation)

    async def _can_go_on(self, begun: Generation, place: Whereabouts) -> bool:
        return (
            begun.is_by(self.projection)
            and begun.instance == place.instance
            and await tables.exists(self._clickhouse, begun.table)
            and not await checkpoints.has_what_was_discarded(self._connection, begun)
        )

    # A projector that makes it, because nothing answers yet

    async def _projector_is_active(self) -> bool:
        return await locks.holder(self._connection, locks.PROJECTOR) is not None

    async def _projector_makes_it(self) -> bool:
        if (await self._standing()).serving is not None or not await self._projector_is_active():
            return False
        return await self._newest() is not None

    async def _made_by_projector(self) -> Generation | None:
        """What the projector has made; None when it makes nothing of the kind any more."""
        last = 0
        while await self._projector_is_active():
            made = await self._newest()
            standing = await self._standing()
            if made is None:
                break
            if made.blocked_by is not None:
                raise CannotRebuild(unreadable(made, None))
            self._went_on(max(0, made.position - last))
            last = max(last, made.position)
            if standing.serving == made.generation:
                return made
            await asyncio.sleep(_LOOK_S)
        return None

    async def _newest(self) -> Generation | None:
        """The newest generation, if it is by today's definition."""
        newest = (await checkpoints.generations(self._connection, self.projection.name))[:1]
        return newest[0] if newest and newest[0].is_by(self.projection) else None

    # Before and after

    async def _standing(self) -> Standing:
        name = self.projection.name
        return (await checkpoints.standings(self._connection)).get(name, Standing(name, None, None))

    async def _compared(self, new: Generation) -> Compared | None:
        serving = (await self._standing()).serving
        for old in await checkpoints.generations(self._connection, new.projection):
            there = await columns(self._clickhouse, old.table) if old.generation == serving else {}
            if old.instance == new.instance and there:
                here = await columns(self._clickhouse, new.table)
                both = [name for name in there if name in here]
                up_to = min(old.position, new.position)
                before, after = [
                    await answers(self._clickhouse, table, both, up_to) for table in (old.table, new.table)
                ]
                return Compared(up_to, before, after, tuple(sorted(there.keys() ^ here.keys())))
        return None

    async def _drop_the_rest(self, before: Standing) -> None:
        after = await self._standing()
        keeps = self._keep_old and after.previous == before.serving
        await self._forget_all_but(after.serving, after.previous if keeps else None)

    async def _forget_all_but(self, *kept: int | None) -> None:
        name, numbers = self.projection.name, [number for number in kept if number is not None]
        await checkpoints.forget_generations(self._connection, name, numbers)
        patience = Patience()
        while True:
            try:
                await tables.drop_forgotten(self._clickhouse, self._connection, [name])
            except ReadSideDown:
                if not await patience.wait():
                    raise
            else:
                return
