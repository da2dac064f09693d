"""Bringing a generation up to the watermark, and letting it answer from then on."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from eventstore.refusal import Refusal
from projections import checkpoints, locks, log_copy, tables
from projections.checkpoints import Connection, Generation, Moved
from projections.clickhouse import ClickHouse
from projections.filling import Filling

Advance = Callable[[int], None]

_LOCK_S: Final = 1.0
_LOCK_TURN_S: Final = 0.05
_CHASE_S: Final = 60.0
_CHASE_TURN_S: Final = 0.005
_WHY_LENGTH_MAX: Final = 300


class CannotRebuild(Refusal):
    """It did not come to a switch; what answered goes on answering."""


async def hold_alone(connection: Connection, projection: str) -> None:
    """See that nobody else fills generations of this projection.

    Raises:
        CannotRebuild: somebody does.
    """
    lock = locks.rebuild_of(projection)
    give_up_at = time.monotonic() + _LOCK_S
    while not await locks.try_hold(connection, lock):
        # A session that was closed may take a moment to end.
        if time.monotonic() > give_up_at:
            who = await locks.holder(connection, lock)
            raise CannotRebuild(f"{projection} is being rebuilt already: {who or 'it has just ended'}")
        await asyncio.sleep(_LOCK_TURN_S)


async def reopened(connection: Connection, clickhouse: ClickHouse, generation: Generation) -> Filling:
    """A generation to go on with."""
    discarded = await checkpoints.discards(connection, generation.projection)
    filling = Filling(clickhouse, connection, generation, discarded)
    await filling.settle(await log_copy.whereabouts(clickhouse))
    return filling


async def fill(connection: Connection, filling: Filling, advance: Advance) -> None:
    """Bring it to the watermark, or to the last whole step before it.

    Raises:
        CannotRebuild: it cannot read an event.
        Moved: the log copy is another one, or somebody else has moved the generation.
    """
    while True:
        copied = await checkpoints.log_copy(connection)
        if copied.instance != filling.generation.instance:
            raise Moved
        before = filling.generation.position
        if before >= filling.whole_steps(copied.position):
            return
        await filling.advance(copied.position, serving=False)
        if filling.generation.blocked_by is not None:
            serving = (await checkpoints.standings(connection))[filling.generation.projection].serving
            raise CannotRebuild(unreadable(filling.generation, serving))
        advance(filling.generation.position - before)


async def switch(connection: Connection, clickhouse: ClickHouse, filling: Filling, advance: Advance) -> None:
    """Let it answer, once it has come as far as what answers now.

    Raises:
        CannotRebuild, Moved: as of `fill`; or it does not catch up.
    """
    name = filling.generation.projection
    copied = await checkpoints.log_copy(connection)
    give_up_at = time.monotonic() + _CHASE_S
    found_all = False
    while True:
        await fill(connection, filling, advance)
        if await checkpoints.has_what_was_discarded(connection, filling.generation):
            raise Moved
        if not found_all:
            # A log copy that was wiped meanwhile would have been read as one without events.
            place = await log_copy.whereabouts(clickhouse)
            count = await log_copy.count(clickhouse, filling.generation.position)
            found_all = place.instance == filling.generation.instance and count == filling.generation.position
            if not found_all:
                raise Moved
        at_least = filling.whole_steps(copied.position)
        if await checkpoints.switch(connection, filling.generation, at_least=at_least):
            return
        standing = (await checkpoints.standings(connection)).get(name)
        if standing is None or standing.serving == filling.generation.generation:
            return
        if time.monotonic() > give_up_at:
            raise CannotRebuild(f"{name}: the new generation does not catch up with the one that answers")
        await asyncio.sleep(_CHASE_TURN_S)


async def rollback(
    url: str, clickhouse: ClickHouse, projection: str, advance: Advance, *, name: str
) -> Generation:
    """Let the generation answer that was kept, brought up by its own definition; what answered until then is
    kept in its stead.

    Raises:
        CannotRebuild: there is none, or it cannot be brought up.
    """
    async with await locks.session(url, name) as connection:
        await hold_alone(connection, projection)
        standing = (await checkpoints.standings(connection)).get(projection)
        kept = [
            each
            for each in await checkpoints.generations(connection, projection)
            if standing is not None and each.generation == standing.previous
        ]
        if not kept or not await tables.exists(clickhouse, kept[0].table):
            raise CannotRebuild(
                f"{projection} has no generation to go back to: `rebuild --keep-old` would have kept one"
            )
        try:
            filling = await reopened(connection, clickhouse, kept[0])
            await switch(connection, clickhouse, filling, advance)
        except Moved:
            raise CannotRebuild(f"{projection} is being made anew: look at `erp projections list`") from None
        return filling.generation


def unreadable(generation: Generation, serving: int | None) -> str:
    """The one line for an event that stands in the way."""
    why = " ".join(str(generation.blocked_why).split())[:_WHY_LENGTH_MAX]
    goes_on = "nothing answers yet" if serving is None else f"generation {serving} goes on answering"
    return f"{generation.projection} cannot read event {generation.blocked_by} ({goes_on}): {why}"
