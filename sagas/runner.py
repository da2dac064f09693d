"""The runner: tells sagas what concerns them, and has them take their turns.

Promises: one saga does one thing at a time, in the order in which it was told, also with several workers;
different sagas go on side by side, so many at most of a class, so that those of one class that wait for a
gateway hold up no other class.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

import orjson

from commands.errors import ConcurrencyConflict
from eventstore.codec import Codec, StoredFields
from eventstore.leaf import StoredEvent
from sagas.base import Happened, Saga
from sagas.events import Cause, HeldEvent
from sagas.timers import RETRY, Timer
from sagas.turn import Moved, Tools, Turn

_CONFLICTS_MAX: Final = 20


class Runner:
    """Runs sagas.

    Args:
        codec: decodes the events that sagas hear of, and theirs.
        at_once_max: how many sagas of a class take a turn at the same time.
    """

    def __init__(self, tools: Tools, codec: Codec, *, at_once_max: int = 64) -> None:
        self._tools = tools
        self._codec = codec
        self._at_once = defaultdict[type[Saga], asyncio.Semaphore](lambda: asyncio.Semaphore(at_once_max))

    async def hear(self, saga_class: type[Saga], event: StoredEvent) -> None:
        """Tell the sagas of this class that an event concerns. When this returns they have recorded it, and
        what they decided is carried out, or waits.

        Raises:
            Unavailable, ConcurrencyConflict: once more; what has happened already does not happen again.
            Exception: this event cannot be dealt with.
        """
        happened = self._happened(event)
        if happened.version == 1:
            # What is new is most often what the commands are about.
            seen = self._tools.aggregates[event.stream_type]
            self._tools.store.begin(seen, event.tenant, happened.event, len(event.data))
        for key in dict.fromkeys(saga_class.keys(happened)):
            await self._turns(
                saga_class,
                saga_class.id_of(event.tenant, key),
                event.tenant,
                lambda saga, key=key: self._tell(saga, happened, event, key),  # type: ignore[misc]
                causation_id=str(event.event_id),
                may_be_new=isinstance(happened.event, tuple(saga_class.STARTS)),
            )

    async def wake(self, saga_class: type[Saga], timer: Timer) -> None:
        """Tell a saga that a timer has come, or try its waiting steps.

        Raises:
            Unavailable, ConcurrencyConflict: once more.
            Exception: the saga cannot deal with it.
        """
        retry = timer.name == RETRY

        def tell(saga: Saga) -> bool:
            return not retry and saga.time_out(timer.name, timer.due_at, self._tools.clock())

        await self._turns(
            saga_class, timer.saga_id, timer.tenant, tell, causation_id=None, is_woken=True, retry=retry
        )

    async def _turns(
        self,
        saga_class: type[Saga],
        saga_id: UUID,
        tenant: UUID,
        tell: Callable[[Saga], bool],
        *,
        causation_id: str | None,
        may_be_new: bool = False,
        is_woken: bool = False,
        retry: bool = False,
    ) -> None:
        """One turn; another from the start whenever somebody else was faster."""
        store, began = self._tools.store, self._tools.clock()
        async with store.queue(saga_id), self._at_once[saga_class]:
            saga = None if is_woken else store.cached(saga_class, saga_id, tenant)
            if saga is None:
                # One that is probably new is not looked for: the append tells if it is not. A timer is for
                # the saga as it is now: where nothing is appended, nothing tells that it has moved on.
                load = store.load_current if is_woken else _blank if may_be_new else store.load
                saga = await load(saga_class, saga_id, tenant)
            for conflicts in range(_CONFLICTS_MAX):
                try:
                    turn = Turn(self._tools, saga.editable_copy(), tenant)
                    await turn.take(tell, causation_id=causation_id, retry=retry)
                except Moved:
                    await asyncio.sleep(random.uniform(0, 0.001 * 2 ** min(conflicts, 6)))  # noqa: S311 - no secret
                    saga = await store.load_current(saga_class, saga_id, tenant)
                else:
                    self._tools.status.turn.note((self._tools.clock() - began).total_seconds())
                    return
        raise ConcurrencyConflict(f"Others wrote to the saga in each of {_CONFLICTS_MAX} attempts.")

    def _tell(self, saga: Saga, happened: Happened, event: StoredEvent, key: str) -> bool:
        if not saga.started and not isinstance(happened.event, tuple(saga.STARTS)):
            return saga.hold(happened, _held(happened, event), key)
        if not saga.notice(happened, key):
            return False
        self._tools.status.hearing.note((self._tools.clock() - happened.at).total_seconds())
        for held in sorted(saga.held, key=lambda each: each.cause.position):
            saga.notice_held(self._happened_before(held, happened.tenant))
        return True

    def _happened(self, event: StoredEvent) -> Happened:
        metadata: dict[str, Any] = orjson.loads(event.metadata)
        stored = StoredFields(
            event.version, event.type, event.schema_version, event.series, event.number, event.data
        )
        return Happened(
            event=self._codec.decode(event.stream_id, stored),
            event_id=event.event_id,
            tenant=event.tenant,
            stream_type=event.stream_type,
            stream_id=event.stream_id,
            version=event.version,
            position=event.position,
            at=event.recorded_at,
            correlation_id=str(metadata.get("correlation_id") or event.event_id),
            actor=str(metadata.get("actor", "")),
        )

    def _happened_before(self, held: HeldEvent, tenant: UUID) -> Happened:
        cause = held.cause
        stored = StoredFields(
            cause.version, cause.type, held.schema_version, held.series, held.number, orjson.dumps(held.data)
        )
        return Happened(
            event=self._codec.decode(cause.stream_id, stored),
            event_id=cause.event_id,
            tenant=tenant,
            stream_type=cause.stream_type,
            stream_id=cause.stream_id,
            version=cause.version,
            position=cause.position,
            at=cause.recorded_at,
            correlation_id=cause.correlation_id,
            actor=held.actor,
        )


async def _blank(saga_class: type[Saga], saga_id: UUID, _tenant: UUID) -> Saga:
    return saga_class.blank(saga_id)


def _held(happened: Happened, event: StoredEvent) -> HeldEvent:
    return HeldEvent(
        cause=Cause(
            event_id=event.event_id,
            type=event.type,
            stream_type=event.stream_type,
            stream_id=event.stream_id,
            version=event.version,
            position=event.position,
            recorded_at=event.recorded_at,
            correlation_id=happened.correlation_id,
        ),
        schema_version=event.schema_version,
        series=event.series,
        number=event.number,
        data=orjson.loads(event.data),
        actor=happened.actor,
    )
