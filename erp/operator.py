"""Commands that an operator sends from the command line, past HTTP but through the same bus."""

import hashlib
from typing import Final
from uuid import UUID, uuid4

import orjson

from commands.bus import Answer, Bus, Command, Context
from commands.permissions import Permissions

_EVERYTHING: Final = Permissions.of(["admin"])


class Operator:
    """Someone with access to the machine, who may do everything in one tenant."""

    def __init__(self, bus: Bus, tenant: UUID, *, user: str) -> None:
        self._bus = bus
        self._tenant = tenant
        self._user = user
        self._correlation_id = str(uuid4())

    async def execute(self, command: Command, *, idempotency_key: str) -> Answer:
        """Carry out the command once: asked again under the same key, it answers as before.

        Raises:
            DomainError, commands.errors.CommandError, Unavailable: as the bus does.
        """
        asked = orjson.dumps([command.TOPIC, command.model_dump(mode="json")], option=orjson.OPT_SORT_KEYS)
        context = Context(
            tenant=self._tenant,
            actor=self._user,
            permissions=_EVERYTHING,
            idempotency_key=idempotency_key,
            request_hash=hashlib.sha256(asked).digest(),
            correlation_id=self._correlation_id,
        )
        return await self._bus.execute(command, context)
