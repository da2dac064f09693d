"""What people see of sagas and do to them: at the desk, and over HTTP."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from api.errors import NotFound
from api.routing import Query
from api.sagas import SagaView, saga_routes
from commands.permissions import Permissions
from erp.embedded.address import with_user
from erp.saga_desk import NoSuchSaga, SagaDesk
from eventstore.pool import Pool
from tests.sagas.parcels import Courier
from tests.sagas.test_runner import hear_all
from tests.sagas.world import World
from tests.waiting import eventually

pytestmark = pytest.mark.integration


@pytest.fixture
async def desk(parcels: World) -> AsyncIterator[SagaDesk]:
    """A desk at which couriers are known."""
    async with Pool(with_user(parcels.owner_url, "erp_saga"), size_max=1) as pool:
        yield SagaDesk(parcels.store, pool, [Courier])


async def test_recent_sagas_the_last_first(parcels: World, desk: SagaDesk) -> None:
    first, second = await parcels.send(), await parcels.send()
    rig = await parcels.rig(wait_s=60.0)
    await hear_all(rig, parcels.events())
    await parcels.change_lorry(gate_is_closed=True)
    third = await parcels.send()
    await hear_all(rig, parcels.events("test.parcel")[-1:])
    found = await desk.recent(status=None, saga_type=None, limit=10)
    assert [each.saga.key for each in found] == [str(third), str(second), str(first)]
    assert {each.tenant for each in found} == {parcels.tenant}
    waiting = await desk.recent(status="waiting", saga_type=Courier.TOPIC, limit=10)
    assert [each.saga.key for each in waiting] == [str(third)]
    assert await desk.recent(status="ended", saga_type=None, limit=10) == []
    assert await desk.recent(status="waiting", saga_type="sagas.other", limit=10) == []
    assert len(await desk.recent(status="resting", saga_type=None, limit=1)) == 1


async def test_one_is_found_by_its_id_and_nothing_else_is(parcels: World, desk: SagaDesk) -> None:
    parcel = await parcels.send()
    await hear_all(await parcels.rig(), parcels.events())
    saga = await parcels.saga(parcel)
    assert (await desk.find(saga.id)).saga.key == str(parcel)
    for other in (parcel, uuid4()):
        with pytest.raises(NoSuchSaga, match=str(other)):
            await desk.find(other)


async def test_aborted_it_is_left_alone(parcels: World, desk: SagaDesk) -> None:
    await parcels.change_lorry(gate_is_closed=True)
    parcel = await parcels.send(patience_s=60)
    rig = await parcels.rig(wait_s=0.2)
    async with rig.running("alarm"):
        await hear_all(rig, parcels.events())
        saga = await parcels.saga(parcel)
        assert await desk.abort(saga.id, by="olga", reason="settled by hand")
        assert not await desk.abort(saga.id, by="olga", reason="again")
        await parcels.change_lorry()
        await parcels.recall(parcel)
        await hear_all(rig, parcels.events())
        await eventually(lambda: _no_timers(parcels))
    assert (await parcels.saga(parcel)).status == "aborted"
    assert await parcels.loaded() == ()
    ((metadata,),) = parcels.rows(
        "SELECT convert_from(metadata, 'UTF8')::json FROM erp.events "
        "WHERE type = 'sagas.test_courier.aborted'"
    )
    assert (metadata["actor"], metadata["reason"]) == ("olga", "settled by hand")


def _no_timers(parcels: World) -> bool:
    return parcels.rows("SELECT name FROM erp.saga_timers") == []


async def test_abort_while_somebody_works_on_it(parcels: World, desk: SagaDesk) -> None:
    """Whoever is later starts over with what the other has recorded."""
    parcel = await parcels.send()
    rig = await parcels.rig()
    saga_id = Courier.id_of(parcels.tenant, str(parcel))

    async def abort(_: object) -> None:
        rig.bus.before = None
        assert await desk.abort(saga_id, by="olga", reason="now")

    rig.bus.before = abort
    await hear_all(rig, parcels.events())
    saga = await parcels.saga(parcel)
    assert saga.status == "aborted"
    assert [str(each.status) for each in saga.steps] == ["dropped", "dropped"]


async def view(parcels: World, saga_id: str, tenant: UUID | None = None) -> SagaView:
    (route,) = saga_routes([Courier]).views
    no_vault: Any = None
    query = Query(
        parcels.store, no_vault, tenant or parcels.tenant, Permissions(["sagas.sagas:read"]), {"id": saga_id}
    )
    found = await route.view(query)
    assert isinstance(found.body, SagaView)
    assert found.version == found.body.version
    return found.body


async def test_over_http_it_tells_steps_and_timers_of_its_tenant_only(parcels: World) -> None:
    parcel = await parcels.send(patience_s=60)
    await hear_all(await parcels.rig(), parcels.events())
    saga = await parcels.saga(parcel)
    told = await view(parcels, str(saga.id))
    assert (told.type, told.key, told.status, told.outcome) == (Courier.TOPIC, str(parcel), "resting", None)
    assert [(each.name, each.command, each.status) for each in told.steps] == [
        ("load", "test.load", "done"),
        ("ring", "test.ring", "done"),
    ]
    assert all(each.settled_at is not None and each.position is not None for each in told.steps)
    assert [each.name for each in told.timers] == ["patience"]
    with pytest.raises(NotFound):
        await view(parcels, str(saga.id), uuid4())
    for unknown in (str(uuid4()), "nonsense"):
        with pytest.raises(NotFound):
            await view(parcels, unknown)
