"""The projector: of all workers one moves the watermark of the log copy on and brings every projection after
it.

Promises: one is active, by a lock that its database session holds. What ClickHouse has lost or Postgres has
taken back is noticed before anything is built on it: a ClickHouse that was wiped, or restored from an older
copy, is filled anew and nothing answers meanwhile; rows of events that a restored Postgres does not know are
taken out. A projection that cannot read an event stands before it, and holds up no other.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg

from eventstore.cloudevents import LogEvent
from eventstore.codec import Codec
from eventstore.one_line import one_line
from eventstore.pause import pause
from projections import checkpoints, locks, log_copy, tables
from projections.checkpoints import Connection, Generation, Moved
from projections.clickhouse import ClickHouse, ReadSideDown, StatementFailed
from projections.declaration import Projection
from projections.demand import Demand
from projections.filling import Filling
from projections.log_copy import Whereabouts
from projections.settling import settled_log_copy
from projections.store_copy import StoreCopy
from projections.watermark import PATIENCE_S, LookAgain, Watermark

log = logging.getLogger(__name__)

_STAND_BY_S: Final = 0.25
_BACKOFF_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
_REPORT_S: Final = 0.02
# To plan a small INSERT … SELECT costs ClickHouse as much as to carry it out, and each checkpoint costs
# Postgres an update, also that of a table with nothing to fill. So tables are brought on now and then, and at
# once where there is much to fill or somebody waits for it.
INTERVAL_S: Final = 1.0
# Where others want the processor too, a filling takes longer, and all tables together leave them room.
_RESTS_TIMES: Final = 40
_REST_MAX_S: Final = 5.0
_MUCH_EVENTS: Final = 2000
_BLOCKED_S: Final = 2.0
_CONNECTION: Final[dict[str, Any]] = {
    "autocommit": True,
    "connect_timeout": 3,
    "application_name": "erp worker",
    # Who is gone with its machine loses the session and with it the lock. A lost checkpoint only repeats a
    # range.
    "options": "-c timezone=UTC -c statement_timeout=60s -c synchronous_commit=off "
    "-c tcp_keepalives_idle=1 -c tcp_keepalives_interval=1 -c tcp_keepalives_count=3",
}
_LOST: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    ReadSideDown,
    StatementFailed,
    Moved,
    LookAgain,
)


@dataclass
class ProjectorStatus:
    """How the projector is doing, for its metrics."""

    active: bool = False
    position: int = 0
    """The watermark; 0 where another worker is the projector."""
    head: int = 0
    healed: int = 0
    hurried: int = 0
    projections: dict[str, Generation] = field(default_factory=dict)


class Projector:
    """One worker's part in bringing the read side on.

    Args:
        worker_url: Postgres, as erp_worker.
        codec: whose upcasters the events pass that are fetched from the store.
        patience_s: for so long Kafka may bring nothing while the log goes on.
        interval_s: at least between two fillings of a table that has not much to catch up with.
    """

    def __init__(
        self,
        worker_url: str,
        clickhouse: ClickHouse,
        codec: Codec,
        projections: Sequence[Projection],
        *,
        patience_s: float = PATIENCE_S,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._url = worker_url
        self._clickhouse = clickhouse
        self._codec = codec
        self._projections = projections
        self._patience_s = patience_s
        self._interval_s = interval_s
        self._stop = asyncio.Event()
        self._watermark: Watermark | None = None
        self.status = ProjectorStatus()

    def stop(self) -> None:
        """Ask it to end."""
        self._stop.set()

    def brought(self, events: Iterable[LogEvent]) -> None:
        """These are in the log copy by now."""
        if self._watermark is not None:
            self._watermark.brought(events)

    async def run(self) -> None:
        """Stand by, be active when nobody else is, until told to stop.

        Raises:
            Refusal: a person must decide.
        """
        failures = 0
        while not self._stop.is_set():
            try:
                async with await psycopg.AsyncConnection.connect(self._url, **_CONNECTION) as connection:
                    if await self._become_active(connection):
                        await self._be_active(connection)
            except _LOST as error:
                failures = 0 if self.status.active else failures + 1
                if failures <= 1:
                    log.warning("the read side stands still for a moment: %s", one_line(error))
                await pause(self._stop, _BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
            finally:
                self._watermark = None
                self.status = ProjectorStatus()

    async def _become_active(self, connection: Connection) -> bool:
        """Wait for the lock; False when told to stop meanwhile."""
        waiting = False
        while not self._stop.is_set():
            if await locks.try_hold(connection, locks.PROJECTOR):
                return True
            if not waiting:
                waiting = True
                log.info("another worker is the projector; standing by")
            await pause(self._stop, _STAND_BY_S)
        return False

    async def _be_active(self, connection: Connection) -> None:
        place = await log_copy.prepare(self._clickhouse)
        began = asyncio.get_running_loop().time()
        copied = await settled_log_copy(connection, self._clickhouse, place, self._projections)
        generations = await self._generations(connection, place)
        took_s = asyncio.get_running_loop().time() - began
        # Less a second, for the clocks are of two machines.
        await log_copy.say_settled(self._clickhouse, max(0, place.uptime_s + int(took_s) - 1))
        store = StoreCopy(self._url, self._clickhouse, self._codec)
        watermark = self._watermark = Watermark(
            connection, self._clickhouse, store, copied, place, patience_s=self._patience_s
        )
        self.status.active = True
        log.info("active: the log copy stands at %s", copied.position)
        demand = Demand()
        stopped = asyncio.create_task(self._stop.wait())
        work = [
            asyncio.create_task(each)
            for each in (
                watermark.follow(),
                self._report(watermark),
                self._listen(demand, watermark),
                *(
                    self._bring_on(connection, watermark, demand, generation, place)
                    for generation in generations
                ),
            )
        ]
        try:
            done, _ = await asyncio.wait({stopped, *work}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (stopped, *work):
                task.cancel()
            await asyncio.gather(stopped, *work, return_exceptions=True)

    async def _listen(self, demand: Demand, watermark: Watermark) -> None:
        async with await psycopg.AsyncConnection.connect(self._url, **_CONNECTION) as connection:
            async for position in demand.heard_on(connection):
                await watermark.want(position)

    async def _report(self, watermark: Watermark) -> None:
        while True:
            self.status.position, self.status.head = watermark.position, watermark.head
            self.status.healed, self.status.hurried = watermark.healed, watermark.hurried
            await asyncio.sleep(_REPORT_S)

    # What is there

    async def _generations(self, connection: Connection, place: Whereabouts) -> list[Generation]:
        """Those to bring on. One that cannot be made holds up no other."""
        found = []
        for projection in self._projections:
            try:
                found.append(await self._working(connection, projection, place))
            except StatementFailed as error:
                log.error("%s cannot be brought on: %s", projection.name, one_line(error))  # noqa: TRY400
        return found

    async def _working(
        self, connection: Connection, projection: Projection, place: Whereabouts
    ) -> Generation:
        """The generation to bring on: the one that answers, else the newest of today's definition, else a new
        one.
        """
        standing = (await checkpoints.standings(connection)).get(projection.name)
        serving = standing.serving if standing else None
        usable = [
            each
            for each in await checkpoints.generations(connection, projection.name)
            if each.instance == place.instance
            and (serving == each.generation or (serving is None and each.is_by(projection)))
        ]
        # While nothing answers, what is there may be what a rebuild is filling.
        rebuilt = serving is None and await locks.holder(connection, locks.rebuild_of(projection.name))
        if usable and not rebuilt and await self._is_whole(connection, usable[0], place):
            return usable[0]
        return await tables.begin(self._clickhouse, connection, projection, place)

    async def _is_whole(self, connection: Connection, generation: Generation, place: Whereabouts) -> bool:
        """Whether its table is there, and then is what its checkpoint says: no less and no more."""
        if not await tables.exists(self._clickhouse, generation.table):
            log.warning("the table %s is gone: it is made anew", generation.table)
            await checkpoints.stop_serving(connection, generation.projection)
            return False
        await (await self._filling(connection, generation)).settle(place)
        return True

    # Going on

    async def _bring_on(
        self,
        connection: Connection,
        watermark: Watermark,
        demand: Demand,
        generation: Generation,
        place: Whereabouts,
    ) -> None:
        """Bring a projection after the watermark, for ever; let it answer once it has what there was."""
        there_was = await checkpoints.head(connection)
        filling = await self._filling(connection, generation)
        name, clock, due_at = generation.projection, asyncio.get_running_loop().time, 0.0
        is_serving = False
        while True:
            standing = filling.generation.position
            if not is_serving and standing >= filling.whole_steps(there_was):
                await checkpoints.switch(connection, filling.generation)
                is_serving = True
            target = filling.whole_steps(watermark.position)
            if standing >= target:
                await watermark.wait_beyond(standing + filling.generation.definition.step - 1)
                continue
            if is_serving:

                def is_due(position: int, standing: int = standing) -> bool:
                    return position - standing >= _MUCH_EVENTS or demand.is_for(name, standing, position)

                await watermark.wait_until(is_due, within_s=max(0.0, due_at - clock()))
                target = filling.whole_steps(watermark.position)
            types = watermark.types_between(standing, target)
            nothing = types is not None and types.isdisjoint(filling.generation.definition.reads)
            began = clock()
            try:
                await filling.advance(target, serving=True, has_nothing=nothing)
            except Moved:
                generation = await self._reloaded(connection, filling.generation, place)
                filling = await self._filling(connection, generation)
            demand.met(name, filling.generation.position)
            if filling.generation.blocked_by is not None:
                filling = await self._wait_for_a_discard(connection, filling.generation)
            self.status.projections[name] = filling.generation
            now = clock()
            due_at = now + max(self._interval_s, min(_RESTS_TIMES * (now - began), _REST_MAX_S))

    async def _filling(self, connection: Connection, generation: Generation) -> Filling:
        discarded = await checkpoints.discards(connection, generation.projection)
        self.status.projections[generation.projection] = generation
        return Filling(self._clickhouse, connection, generation, discarded)

    async def _wait_for_a_discard(self, connection: Connection, generation: Generation) -> Filling:
        """It is tried again now and then, for what stands in its way may be mended otherwise."""
        name, position = generation.projection, generation.blocked_by
        if self.status.projections[name].blocked_by != position:
            log.warning("%s stands before event %s: %s", name, position, generation.blocked_why)
        self.status.projections[name] = generation
        await asyncio.sleep(_BLOCKED_S)
        return await self._filling(connection, generation)

    async def _reloaded(self, connection: Connection, outdated: Generation, place: Whereabouts) -> Generation:
        """The generation that answers now; somebody has switched."""
        standing = (await checkpoints.standings(connection)).get(outdated.projection)
        for generation in await checkpoints.generations(connection, outdated.projection):
            is_it = standing is not None and standing.serving == generation.generation
            if is_it and generation.instance == place.instance:
                return generation
        raise LookAgain(f"no generation of {outdated.projection} answers")
