"""From what the store says of an append to the answer of the command."""

from uuid import UUID

from commands.command import Answer, Context
from commands.errors import IdempotencyKeyReused
from commands.ports import Receipt, Store


def answer_of(receipt: Receipt) -> Answer:
    """What the command did, the first time it was stored.

    Raises:
        IdempotencyKeyReused: another request was stored under its key.
    """
    if receipt.outcome == "key_reused":
        detail = "This idempotency key belongs to another request."
        raise IdempotencyKeyReused(detail)
    kept = dict(receipt.answer)
    return Answer(
        id=UUID(kept.pop("id")),
        version=kept.pop("version"),
        position=receipt.position,
        recorded_at=receipt.recorded_at,
        replayed=receipt.outcome == "replayed",
        extra=kept,
    )


async def find_answer(store: Store, context: Context) -> Answer | None:
    """The answer that was stored under the key of `context`, if there is one.

    Raises:
        IdempotencyKeyReused: it belongs to another request.
    """
    receipt = await store.find(context.tenant, context.idempotency_key, context.request_hash)
    return None if receipt is None else answer_of(receipt)
