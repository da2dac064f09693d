"""Payments in the books of a tenant, where no order has asked for any."""

import asyncio
from uuid import UUID, uuid4

from commands.bus import Bus, Context
from commands.payments import HANDLERS, AuthorisePayment, CapturePayment, Till
from commands.permissions import Permissions
from domain.payments.payment import Payment
from erp.gateways.simulated import SimulatedGateway
from eventstore.codec import Codec
from eventstore.store import EventStore
from tests.e2e.system import Books


def payments(books: Books, count: int) -> list[UUID]:
    """Authorised payments of a million each; of every other one half is captured."""
    return asyncio.run(_payments(books, count))


async def _payments(books: Books, count: int) -> list[UUID]:
    async with EventStore(books.home.url("erp_app"), Codec([Payment])) as store:
        bus = Bus(store, HANDLERS, Till(SimulatedGateway()).procedures(), new_id=uuid4)

        def context() -> Context:
            key = uuid4()
            return Context(books.tenant, "till", Permissions(["*"]), str(key), key.bytes * 2, "c")

        async def payment(number: int) -> UUID:
            order = AuthorisePayment(
                order_id=uuid4(), amount="1000000", currency="EUR", method="card", token="tok_ok"
            )
            made = (await bus.execute(order, context())).id
            if number % 2:
                await bus.execute(CapturePayment(id=made, amount="500000"), context())
            return made

        return await asyncio.gather(*map(payment, range(count)))
