"""What comes in Kafka's messages, decoded, for whoever deals with it."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence

from eventstore.cloudevents import Published, decode_batch
from eventstore.one_line import one_line

log = logging.getLogger(__name__)


class Intake(ABC):
    """Takes the messages of a consumer. Whatever somebody else has put into our topics is passed over.

    Attributes:
        messages: how many it was given.
        unreadable: how many of them were none of ours.
        is_busy: it has messages, and is not done with them.
    """

    def __init__(self) -> None:
        self.messages = 0
        self.unreadable = 0
        self.is_busy = False

    async def take(self, values: Sequence[bytes | None]) -> bool:
        """True once these messages need not come again; False: told to stop before. Raises nothing."""
        self.is_busy = True
        try:
            self.messages += len(values)
            return await self._handle([each for value in values for each in self._decoded(value)])
        except Exception:
            log.exception("this is a defect of ours; the messages are not done with")
            return False
        finally:
            self.is_busy = False

    @abstractmethod
    async def _handle(self, found: Sequence[Published]) -> bool:
        """True once these need not come again; False: told to stop before."""

    def _decoded(self, value: bytes | None) -> Sequence[Published]:
        try:
            return decode_batch(value or b"")
        except Exception as error:  # noqa: BLE001 - whatever somebody else has put into our topic
            self.unreadable += 1
            log.warning("a message that is none of ours is passed over: %s", one_line(error)[:200])
            return ()
