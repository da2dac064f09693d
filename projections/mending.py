"""What a person decides about the read side: to leave an event out, to make everything anew."""

import psycopg

from eventstore.refusal import Refusal
from projections import checkpoints, locks, log_copy, tables
from projections.clickhouse import ClickHouse


class CannotDiscard(Refusal):
    """Only the event that a projection stands before can be taken out of it."""


async def discard(url: str, projection: str, position: int, *, reason: str, by: str, name: str) -> None:
    """Take the event that stops a projection out of it, for good. What fills it goes on by itself.

    Raises:
        CannotDiscard: it does not stop it.
    """
    async with await locks.session(url, name) as connection:
        generations = await checkpoints.generations(connection, projection)
        if not generations:
            raise CannotDiscard(f"there is no projection {projection} that was begun")
        blocked_by = sorted({each.blocked_by for each in generations if each.blocked_by is not None})
        if position in await checkpoints.discards(connection, projection):
            raise CannotDiscard(f"event {position} was taken out of {projection} before")
        if position not in blocked_by:
            stands = ", ".join(f"event {each}" for each in blocked_by) or "none"
            raise CannotDiscard(f"event {position} does not stop {projection}; what does: {stands}")
        standing = (await checkpoints.standings(connection)).get(projection)
        for each in generations:
            if standing is not None and each.generation == standing.serving and each.position >= position:
                raise CannotDiscard(
                    f"{each.table}, which answers, has read event {position}: "
                    "what is to be mended is the SELECT of the generation that cannot"
                )
        try:
            await checkpoints.discard(connection, projection, position, reason=reason, by=by)
        except psycopg.errors.UniqueViolation:
            raise CannotDiscard(f"event {position} was taken out of {projection} before") from None


async def reset(url: str, clickhouse: ClickHouse, *, name: str) -> int:
    """Forget the whole read side but what was discarded; a projector makes it anew. Returns how many tables
    were dropped.
    """
    async with await locks.session(url, name) as connection:
        # Nobody may take the log copy for what its watermark says while it is emptied.
        await locks.wrest(connection, locks.PROJECTOR)
        async with connection.transaction():
            await checkpoints.stop_serving(connection)
            await checkpoints.begin_log_copy(connection, None, 0)
            names = list(await checkpoints.standings(connection))
            for projection in names:
                await checkpoints.forget_generations(connection, projection, kept=())
        dropped = await tables.drop_forgotten(clickhouse, connection, names)
        await clickhouse.command(f"TRUNCATE TABLE IF EXISTS {log_copy.NAME} SYNC")
        return dropped
