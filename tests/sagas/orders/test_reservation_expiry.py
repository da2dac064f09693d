"""Reservations end when their time has run out, and no others do."""

from datetime import timedelta
from typing import Any

import pytest

from commands.inventory import ReleaseReservation, ReserveStock, ShipReservation
from sagas.reservation_expiry import ReservationExpiry
from tests.sagas.orders.office import Office

ABOUT = {"warehouse": "main", "sku": "A1", "reservation_id": "r1"}


def reserve(expires_in_s: int | None = 60) -> ReserveStock:
    return ReserveStock.model_validate({**ABOUT, "quantity": "4", "expires_in_s": expires_in_s})


async def outcomes(office: Office) -> list[str | None]:
    found: list[Any] = await office.all(ReservationExpiry)
    return [each.ended for each in found]


async def test_a_reservation_expires(office: Office) -> None:
    await office.do(reserve())
    await office.settle()
    office.now += timedelta(seconds=59)
    await office.settle()
    assert (await office.stock("A1")).reserved == 4
    office.now += timedelta(seconds=1)
    await office.settle()
    assert (await office.stock("A1")).reserved == 0
    assert await outcomes(office) == ["expired"]


async def test_a_reservation_without_a_time_stays(office: Office) -> None:
    await office.do(reserve(None))
    await office.settle()
    assert await office.all(ReservationExpiry) == []


@pytest.mark.parametrize("how", [ReleaseReservation, ShipReservation])
async def test_a_reservation_that_has_ended_before(office: Office, how: Any) -> None:
    await office.do(reserve(), how.model_validate(ABOUT))
    await office.settle()
    office.now += timedelta(minutes=2)
    await office.settle()
    assert await outcomes(office) == ["gone before"]


async def test_another_reservation_of_the_same_name_has_its_own_time(office: Office) -> None:
    await office.do(reserve(), ReleaseReservation.model_validate(ABOUT), reserve(120))
    await office.settle()
    office.now += timedelta(seconds=60)
    await office.settle()
    assert (await office.stock("A1")).reserved == 4
    office.now += timedelta(seconds=60)
    await office.settle()
    assert (await office.stock("A1")).reserved == 0
    assert sorted(map(str, await outcomes(office))) == ["expired", "gone before"]


async def test_clocks_that_differ(office: Office) -> None:
    await office.do(reserve())
    await office.settle()
    timer_is_early = timedelta(seconds=55)
    office.now += timer_is_early
    (saga,) = await office.all(ReservationExpiry)
    early = saga.editable_copy()
    assert early.time_out("expiry", saga.timers["expiry"], office.now)
    (step,) = early.steps
    told = {"expires_at": saga.timers["expiry"].isoformat()}
    code = "inventory.reservation_not_expired"
    assert early.step_refused(step, code=code, detail="", data=told, at=office.now)
    assert early.timers == {"expiry": office.now + timedelta(seconds=1)}
