"""What is known of the read side when somebody becomes its projector: whether the log copy is what the
watermark says of it, by this ClickHouse and by this Postgres.

A ClickHouse that was wiped, or restored from an older copy, is given up whole: nothing answers until it was
made anew. Rows of events that a restored Postgres does not know are taken out.
"""

import logging
from collections.abc import Sequence

from eventstore.refusal import Refusal
from projections import checkpoints, log_copy, tables
from projections.checkpoints import Connection, LogCopy
from projections.clickhouse import ClickHouse
from projections.declaration import Projection
from projections.log_copy import Whereabouts

log = logging.getLogger(__name__)


class LogTooShort(Refusal):
    """The log copy was made from a longer log."""


async def settled_log_copy(
    connection: Connection, clickhouse: ClickHouse, place: Whereabouts, projections: Sequence[Projection]
) -> LogCopy:
    """The watermark, once it is known to be true of this ClickHouse and this Postgres. To be called by the
    session that holds the projector's lock.

    Raises:
        LogTooShort: a person must decide.
    """
    copied = await checkpoints.log_copy(connection)
    head = await checkpoints.head(connection)
    if copied.position > head:
        raise LogTooShort(
            f"the log copy stands at {copied.position} and the log ends at {head}: Postgres was "
            "restored in part. `erp projections reset --yes` forgets the read side, which is made anew"
        )
    if copied.instance is None:
        return await checkpoints.begin_log_copy(connection, place.instance, 0)
    why = ""
    if copied.instance != place.instance:
        why = "ClickHouse is another one"
    elif await log_copy.count(clickhouse, copied.position) < copied.position:
        why = "ClickHouse has lost events"
    if why:
        log.warning("%s: every projection is made anew", why)
        await _forget_everything(connection, clickhouse, projections)
        copied = await checkpoints.begin_log_copy(connection, place.instance, 0)
    await tables.forget_after(clickhouse, log_copy.NAME, await checkpoints.head(connection))
    return copied


async def _forget_everything(
    connection: Connection, clickhouse: ClickHouse, projections: Sequence[Projection]
) -> None:
    """Nothing that was projected counts any more."""
    await checkpoints.stop_serving(connection)
    names = [each.name for each in projections]
    for name in names:
        await checkpoints.forget_generations(connection, name, kept=())
    await tables.drop_forgotten(clickhouse, connection, names)
