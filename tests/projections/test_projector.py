"""The projector: whatever happens to ClickHouse, Postgres, Kafka or itself, the answers come right."""

from decimal import Decimal

from tests.projections.world import World, running


async def test_what_was_appended_is_projected_and_stays_so(read_side: World) -> None:
    await read_side.add(1, 2)
    projector = read_side.projector()
    async with running(projector):
        await read_side.caught_up()
        await read_side.add(3)
        await read_side.caught_up()
    assert await read_side.amounts() == [(1, Decimal(1)), (2, Decimal(2)), (3, Decimal(3))]
    async with running(read_side.projector()):
        await read_side.add(4)
        serving = await read_side.caught_up()
    assert serving.generation == 1
    assert [amount for _, amount in await read_side.amounts()] == [1, 2, 3, 4]
