"""The worker of the saga role: the feed, by Faust, the healer, the alarm clock, and the runner behind them.

Promises: those of `eventstore.consumer`. What it has taken on when it is told to stop is finished within a
few seconds, or left to the next worker.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from commands.bus import Bus, Command
from domain.shared.aggregate import Aggregate
from eventstore.codec import Codec
from eventstore.consumer import Consumer, ConsumerStatus, Hung
from eventstore.pool import Pool
from eventstore.publisher import KafkaOptions
from eventstore.store import EventStore
from eventstore.streaming import StreamOptions
from sagas.alarm import Alarm
from sagas.dead_letters import DeadLetters
from sagas.delivery import Delivery
from sagas.feed import Feed
from sagas.healer import Healer
from sagas.interests import Interests
from sagas.log import Log
from sagas.positions import Positions
from sagas.runner import Runner
from sagas.status import SagaWorkerStatus
from sagas.timers import Timers
from sagas.turn import Tools

_DRAIN_S: Final = 8.0
_STOP_TIMEOUT_S: Final = 30.0
_POOL_SIZE_MAX: Final = 4


@dataclass(frozen=True, slots=True)
class SagaOptions:
    """How sagas use time. Units last in the names.

    Attributes:
        wait_s: before a step that waits for a person or for time is tried again.
        retry_s: before one is tried again that failed for what passes by itself.
        late_s: so long an event may take by Kafka; then it is read from the store.
    """

    at_once_max: int = 64
    wait_s: float = 30.0
    retry_s: float = 5.0
    late_s: float = 3.0


def _utc_now() -> datetime:
    return datetime.now(UTC)


class SagaWorker:
    """One process of the saga role.

    Args:
        saga_url: Postgres, as erp_saga.
        stream: the group; its topics are those of `interests`.
        store, bus: the command side, connected here for as long as the worker runs.
        commands: every command that a saga may send.
    """

    def __init__(
        self,
        saga_url: str,
        kafka: KafkaOptions,
        stream: StreamOptions,
        *,
        interests: Interests,
        store: EventStore,
        bus: Bus,
        codec: Codec,
        commands: Sequence[type[Command]],
        aggregates: Sequence[type[Aggregate]],
        options: SagaOptions = SagaOptions(),
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self.stream = stream
        self.status = SagaWorkerStatus()
        self._store = store
        self._pool = Pool(saga_url, size_max=_POOL_SIZE_MAX, application_name="erp saga worker")
        timers, letters, store_log = Timers(self._pool), DeadLetters(self._pool), Log(self._pool)
        positions = Positions(self._pool, stream.group)
        tools = Tools(
            store=store,
            bus=bus,
            timers=timers,
            commands={each.TOPIC: each for each in commands},
            aggregates={each.TOPIC: each for each in aggregates},
            clock=clock,
            status=self.status,
            retry_s=options.retry_s,
            wait_s=options.wait_s,
        )
        runner = Runner(tools, codec, at_once_max=options.at_once_max)
        self._delivery = Delivery(runner, interests, letters, timers, self.status)
        self.feed = Feed(interests, positions, self._delivery, store_log, self.status)
        self._healer = Healer(
            saga_url,
            stream.group,
            interests=interests,
            feed=self.feed,
            delivery=self._delivery,
            positions=positions,
            letters=letters,
            store_log=store_log,
            status=self.status,
            late_s=options.late_s,
        )
        self._alarm = Alarm(timers, self._delivery, list(interests.sagas), self.status)
        self._consumer = Consumer(saga_url, kafka, stream, self.feed)

    @property
    def consuming(self) -> ConsumerStatus:
        """How it is doing with Kafka."""
        return self._consumer.status

    def stop(self) -> None:
        """Ask it to end."""
        for part in (self._consumer, self._healer, self._alarm, self.feed, self._delivery):
            part.stop()

    async def run(self) -> None:
        """Work until told to stop.

        Raises:
            Hung: end the process.
        """
        async with self._pool, self._store:
            await self._delivery.start()
            parts = [self._healer.run(), self._alarm.run(), self.feed.run()]
            # Without any saga there is nothing to listen to.
            parts += [self._consumer.run()] if self.stream.topics else []
            tasks = [asyncio.create_task(each) for each in parts]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            finally:
                self.stop()
                await self.feed.drained(_DRAIN_S)
                await asyncio.wait(tasks, timeout=_STOP_TIMEOUT_S)
                await self.feed.save()
        for task in tasks:
            if not task.done():
                raise Hung("a part of the worker does not end")
            task.result()
