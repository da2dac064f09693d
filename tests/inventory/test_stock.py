"""The rules of stock: what moves, what is promised, what comes back."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from domain.inventory.reservations import DELIVERIES_REMEMBERED_MAX, Reservation
from domain.inventory.stock import Stock, stock_id
from domain.inventory.valuation import Valuation
from domain.shared.aggregate import event_data
from domain.shared.errors import DomainError
from domain.shared.ids import natural_id
from tests.finance.ledger import replayed
from tests.inventory.shelf import booking, layers, shelf, stock, stocked

NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)


def refused(step: Callable[[], object]) -> DomainError:
    """Why it is."""
    with pytest.raises(DomainError) as refusal:
        step()
    return refusal.value


def last(kept: Stock) -> dict[str, object]:
    """What was recorded last."""
    return event_data(kept.pending_events[-1])  # type: ignore[arg-type]


def test_the_stream_is_found_by_warehouse_and_sku():
    tenant = UUID(int=1)
    assert stock_id(tenant, "main", "A1") == natural_id(tenant, "inventory.stock", "main", "A1")


def test_a_movement_says_everything_about_itself():
    kept = stocked(("10", "5"), ("10", "6"))
    kept.issue(shelf(), booking(kept, 2, "W-7"), Decimal(12))
    told = last(kept)
    assert told == {
        "warehouse": "main",
        "sku": "A1",
        "currency": "EUR",
        "quantity_change": Decimal(-12),
        "value_change": Decimal("-62.00"),
        "layers": layers((1, "10", "50.00"), (2, "2", "12.00")),
        "effective_at": booking(kept, 2).effective_at,
        "reference": "W-7",
        "on_hand_after": Decimal(8),
        "value_after": Decimal("48.00"),
    }


def test_the_last_goods_take_all_the_value_that_is_left():
    kept = stocked(("3", "3.33"), ("4", "0.01"), valuation=Valuation.MOVING_AVERAGE)
    for _ in range(6):
        kept.issue(shelf(), booking(kept), Decimal(1))
    assert kept.value == Decimal("1.43")
    kept.issue(shelf(), booking(kept), Decimal(1))
    assert kept.on_hand == kept.value == 0
    assert kept.layers == ()


def test_what_is_promised_is_not_issued_but_may_be_shipped():
    kept = stocked(("10", "5"))
    kept.reserve(shelf(), "R", Decimal(8), order_id=None, expires_at=None)
    refusal = refused(lambda: kept.issue(shelf(), booking(kept), Decimal(3)))
    assert refusal.code == "inventory.insufficient_stock"
    assert refusal.data == {"warehouse": "main", "sku": "A1", "available": "2", "requested": "3"}
    kept.ship(shelf(), booking(kept, 1, "R"), "R")
    assert kept.on_hand == kept.available == 2
    assert kept.reserved == 0


def test_a_count_that_finds_less_than_is_promised_counts():
    """And nobody ships what is not there."""
    kept = stocked(("10", "5"))
    kept.reserve(shelf(), "R", Decimal(8), order_id=None, expires_at=None)
    kept.count(shelf(), booking(kept), Decimal("2.50"), "stolen")
    assert (kept.on_hand, kept.available) == (Decimal("2.5"), Decimal("-5.5"))
    assert event_data(kept.pending_events[-2])["counted_quantity"] == Decimal("2.5")  # type: ignore[arg-type]
    refusal = refused(lambda: kept.ship(shelf(), booking(kept, 1, "R"), "R"))
    assert (refusal.code, refusal.data["available"]) == ("inventory.insufficient_stock", "2.5")
    kept.ship(shelf(), booking(kept, 1, "R"), "R", Decimal(2))
    assert kept.reservation("R").quantity == 6


def test_a_count_that_finds_what_is_there_is_recorded():
    kept = stocked(("10", "5"))
    kept.count(shelf(), booking(kept, 2), Decimal(10), "new year")
    assert last(kept)["layers"] == ()
    assert last(kept)["quantity_change"] == 0
    assert kept.is_backdated(booking(kept, 1).effective_at)


def test_nothing_goes_from_a_warehouse_to_itself():
    kept = stocked(("10", "5"))
    here = shelf()
    step = refused(
        lambda: kept.transfer(kept, (here, here), (booking(kept), booking(kept)), Decimal(1), UUID(int=1))
    )
    assert (step.code, step.data) == ("inventory.same_warehouse", {"warehouse": "main"})


def test_a_transfer_keeps_the_layers_apart():
    """Under FIFO the older goods are the older ones in the other warehouse too."""
    here, there = stocked(("10", "5"), ("10", "6")), stock()
    shelves = shelf(), shelf(warehouse="annex")
    here.transfer(there, shelves, (booking(here), booking(there)), Decimal(12), UUID(int=1))
    assert there.layers == layers((1, "10", "50.00"), (2, "2", "12.00"))
    assert here.value + there.value == Decimal("110.00")
    sent, came = last(here), last(there)
    assert (sent["transfer_id"], sent["counterpart"], sent["warehouse"]) == (UUID(int=1), "annex", "main")
    assert (came["transfer_id"], came["counterpart"], came["warehouse"]) == (UUID(int=1), "main", "annex")


def test_the_reorder_point_is_told_once_until_goods_come_in():
    kept, here = stock(), shelf(reorder_point="5")
    told = Stock.ReorderPointReached.TOPIC

    def times() -> int:
        return [each.TOPIC for each in kept.pending_events].count(told)  # type: ignore[attr-defined]

    kept.receive(here, booking(kept), Decimal(4), Decimal(1))
    assert times() == 0  # it did not fall
    kept.receive(here, booking(kept), Decimal(6), Decimal(1))
    kept.reserve(here, "R", Decimal(5), order_id=None, expires_at=None)
    assert times() == 1
    assert last(kept) == {
        "warehouse": "main",
        "sku": "A1",
        "available": Decimal(5),
        "reorder_point": Decimal(5),
    }
    kept.issue(here, booking(kept), Decimal(1))
    kept.release("R", "")
    kept.issue(here, booking(kept), Decimal(5))
    kept.receive(here, booking(kept), Decimal(1), Decimal(1))
    assert times() == 1  # nothing lifted it above
    kept.receive(here, booking(kept), Decimal(6), Decimal(1))
    kept.reserve(here, "R", Decimal(8), order_id=None, expires_at=None)
    assert times() == 2
    kept.ship(here, booking(kept, 1, "R"), "R")
    assert times() == 2
    assert replayed(kept) == kept


def test_shipping_what_is_promised_lets_nothing_fall():
    kept, here = stocked(("4", "1")), shelf(reorder_point="5")
    kept.reserve(shelf(reorder_point="0"), "R", Decimal(2), order_id=None, expires_at=None)
    kept.ship(here, booking(kept, 1, "R"), "R")
    assert kept.reorder_reported is None


def test_the_same_promise_is_made_once():
    kept = stocked(("10", "5"))
    kept.reserve(shelf(), "R", Decimal(2), order_id="O", expires_at=NOON)
    recorded = len(kept.pending_events)
    kept.reserve(shelf(), "R", Decimal("2.0"), order_id="O", expires_at=NOON + timedelta(minutes=1))
    assert len(kept.pending_events) == recorded
    assert kept.reservation("R").expires_at == NOON
    for quantity, order_id, expires_at in (("3", "O", NOON), ("2", None, NOON), ("2", "O", None)):
        refusal = refused(
            lambda: kept.reserve(
                shelf(),
                "R",
                Decimal(quantity),  # noqa: B023 - called at once
                order_id=order_id,  # noqa: B023
                expires_at=expires_at,  # noqa: B023
            )
        )
        assert (refusal.code, refusal.data) == ("inventory.reservation_exists", {"reservation_id": "R"})


def test_a_promise_that_was_kept_is_not_made_again():
    """Not even when all of it came back, as long as the delivery is remembered."""
    kept = stocked(("1000", "5"))

    def promise(quantity: str = "4") -> Reservation:
        return kept.reserve(shelf(), "O", Decimal(quantity), order_id="O", expires_at=NOON)

    made = promise()
    kept.ship(shelf(), booking(kept, 1, "O/1"), "O", Decimal(3))
    kept.ship(shelf(), booking(kept, 1, "O/2"), "O", Decimal(1))
    kept.take_back(shelf(), booking(kept, 1, "O/2"), Decimal(1))
    recorded = len(kept.pending_events)
    assert promise().version == made.version == 2
    assert len(kept.pending_events) == recorded
    refusal = refused(lambda: promise("3"))
    assert (refusal.code, refusal.data) == ("inventory.reservation_exists", {"reservation_id": "O"})
    assert refused(lambda: kept.release("O", "")).code == "inventory.reservation_not_found"
    assert replayed(kept) == kept
    for number in range(DELIVERIES_REMEMBERED_MAX):
        kept.reserve(shelf(), f"R{number}", Decimal(1), order_id=None, expires_at=None)
        kept.ship(shelf(), booking(kept, 1, f"R{number}"), f"R{number}")
    assert promise("3").quantity == 3


def test_what_was_promised_in_vain_may_be_promised_again():
    """Also when a part of it was shipped."""
    kept = stocked(("10", "5"))
    kept.reserve(shelf(), "O", Decimal(4), order_id="O", expires_at=NOON)
    kept.ship(shelf(), booking(kept, 1, "O/1"), "O", Decimal(3))
    kept.expire("O", NOON)
    kept.reserve(shelf(), "O", Decimal(4), order_id="O", expires_at=None)
    kept.release("O", "changed its mind")
    kept.reserve(shelf(), "O", Decimal(2), order_id="O", expires_at=None)
    assert kept.on_hand == 7
    assert kept.available == 5


def test_a_promise_remembers_the_version_that_it_was_answered_with():
    """With what was told because of it, and not what came later."""
    kept = stocked(("10", "5"))
    kept.reserve(shelf(), "R-1", Decimal(2), order_id=None, expires_at=None)
    kept.reserve(shelf(reorder_point="5"), "R-2", Decimal(3), order_id=None, expires_at=None)
    kept.issue(shelf(), booking(kept), Decimal(1))
    assert [kept.reservation(each).version for each in ("R-1", "R-2")] == [2, 4]
    kept.issue(shelf(reorder_point="0"), booking(kept), Decimal(4))
    assert kept.reservation("R-2").version == 4


def test_a_promise_ends_when_its_time_has_run_out_and_not_before():
    kept = stocked(("10", "5"))
    kept.reserve(shelf(), "R", Decimal(2), order_id="O", expires_at=NOON)
    kept.reserve(shelf(), "for ever", Decimal(2), order_id=None, expires_at=None)
    early = refused(lambda: kept.expire("R", NOON - timedelta(seconds=2)))
    assert (early.code, early.data["expires_at"]) == (
        "inventory.reservation_not_expired",
        NOON.isoformat(),
    )
    never = refused(lambda: kept.expire("for ever", NOON))
    assert (never.code, never.data["expires_at"]) == ("inventory.reservation_not_expired", None)
    # Two clocks never show quite the same time.
    kept.expire("R", NOON - timedelta(seconds=0.5))
    assert last(kept) == {
        "warehouse": "main",
        "sku": "A1",
        "reservation_id": "R",
        "quantity": Decimal(2),
        "order_id": "O",
        "reason": "expired",
    }
    assert kept.available == 8
    assert refused(lambda: kept.expire("R", NOON)).code == "inventory.reservation_not_found"


def test_a_promise_is_shipped_in_parts_and_no_further():
    kept = stocked(("10", "5"))
    kept.reserve(shelf(), "O", Decimal(6), order_id="O", expires_at=None)
    kept.ship(shelf(), booking(kept, 1, "O/1"), "O", Decimal(4))
    refusal = refused(lambda: kept.ship(shelf(), booking(kept, 1, "O/2"), "O", Decimal(3)))
    assert refusal.code == "inventory.reservation_exceeded"
    assert refusal.data == {"sku": "A1", "reservation_id": "O", "reserved": "2", "requested": "3"}
    # The promise was of six, and still is.
    kept.reserve(shelf(), "O", Decimal(6), order_id="O", expires_at=None)
    kept.ship(shelf(), booking(kept, 1, "O/2"), "O", Decimal(2))
    assert kept.reservations == {}
    assert refused(lambda: kept.release("O", "")).code == "inventory.reservation_not_found"


def test_what_comes_back_comes_back_at_the_cost_that_it_left_with():
    kept = stocked(("3", "3.33"), ("10", "9"))
    kept.reserve(shelf(), "O", Decimal(5), order_id="O", expires_at=None)
    kept.ship(shelf(), booking(kept, 1, "O/1"), "O", Decimal(4))
    kept.ship(shelf(), booking(kept, 1, "O/2"), "O", Decimal(1))
    kept.take_back(shelf(), booking(kept, 2, "O/1"), Decimal(1))
    told = last(kept)
    assert (told["value_change"], told["reservation_id"], told["order_id"]) == (Decimal("4.75"), "O", "O")
    assert told["layers"] == layers((3, "1", "4.75"))
    kept.take_back(shelf(), booking(kept, 2, "O/1"), Decimal(3))
    assert last(kept)["value_change"] == Decimal("14.24")
    refusal = refused(lambda: kept.take_back(shelf(), booking(kept, 2, "O/1"), Decimal(1)))
    assert refusal.code == "inventory.return_exceeds_delivery"
    assert refusal.data == {"delivery": "O/1", "sku": "A1", "returnable": "0", "requested": "1"}
    unknown = refused(lambda: kept.take_back(shelf(), booking(kept, 2, "O/3"), Decimal(1)))
    assert (unknown.code, unknown.data) == (
        "inventory.delivery_not_found",
        {"delivery": "O/3", "sku": "A1"},
    )


def test_nothing_comes_back_before_it_has_left():
    """Be the delivery remembered or looked up."""
    kept = stocked(("10", "5"))
    kept.reserve(shelf(), "R", Decimal(5), order_id=None, expires_at=None)
    kept.ship(shelf(), booking(kept, 5, "R"), "R", Decimal(2))
    kept.ship(shelf(), booking(kept, 4, "R"), "R", Decimal(2))
    forgetful = kept.editable_copy()
    forgetful.deliveries = ()
    for each in (kept, forgetful):
        early = booking(kept, 3, "R")
        refusal = refused(lambda: each.take_back(shelf(), early, Decimal(1)))  # noqa: B023 - called at once
        assert (refusal.code, refusal.data) == (
            "inventory.day_too_early",
            {"date": "2026-01-03", "first": "2026-01-04"},
        )
        each.take_back(shelf(), booking(kept, 4, "R"), Decimal(1))
        assert last(each)["value_change"] == Decimal("5.00")


def test_what_is_shipped_under_one_reference_is_one_delivery():
    kept = stocked(("2", "5"), ("2", "6"))
    kept.reserve(shelf(), "R", Decimal(4), order_id=None, expires_at=None)
    for _ in range(2):
        kept.ship(shelf(), booking(kept, 1, "R"), "R", Decimal(2))
    assert len(kept.deliveries) == 1
    kept.take_back(shelf(), booking(kept, 2, "R"), Decimal(4))
    assert last(kept)["value_change"] == Decimal("22.00")


def test_old_deliveries_are_looked_up_in_the_past():
    """The state does not grow with them."""
    kept = stocked(("1000", "2"))

    def deliver(order: str) -> None:
        kept.reserve(shelf(), order, Decimal(2), order_id=order, expires_at=None)
        kept.ship(shelf(), booking(kept, 1, order), order)

    deliver("first")
    kept.take_back(shelf(), booking(kept, 1, "first"), Decimal(1))
    for number in range(DELIVERIES_REMEMBERED_MAX - 1):
        deliver(f"o{number}")
    assert not kept.deliveries_forgotten
    assert kept.remembers("never")
    deliver("last")
    assert len(kept.deliveries) == DELIVERIES_REMEMBERED_MAX
    assert kept.remembers("o0")
    assert not kept.remembers("first")
    kept.take_back(shelf(), booking(kept, 1, "first"), Decimal(1))
    assert last(kept)["value_change"] == Decimal("2.00")
    refusal = refused(lambda: kept.take_back(shelf(), booking(kept, 1, "first"), Decimal(1)))
    assert (refusal.code, refusal.data["returnable"]) == ("inventory.return_exceeds_delivery", "0")
    unknown = refused(lambda: kept.take_back(shelf(), booking(kept, 1, "never"), Decimal(1)))
    assert unknown.code == "inventory.delivery_not_found"
    assert replayed(kept) == kept


MOST = "999999999999999.99"
"""That ledgers book."""


def receive_a_cent(kept: Stock) -> None:
    kept.receive(shelf(), booking(kept), Decimal(1), Decimal("0.01"))


def receive_much(kept: Stock) -> None:
    kept.receive(shelf(), booking(kept), Decimal(1000), Decimal(999999999999999))


def count_another(kept: Stock) -> None:
    kept.count(shelf(), booking(kept), kept.on_hand + 1, "found")


def take_a_cent_back(kept: Stock) -> None:
    kept.take_back(shelf(), booking(kept, 1, "R"), Decimal(1))


def send_a_cent(kept: Stock) -> None:
    here, shelves = stocked(("1", "0.01")), (shelf(warehouse="annex"), shelf())
    here.transfer(kept, shelves, (booking(here), booking(kept)), Decimal(1), UUID(int=1))


@pytest.mark.parametrize(
    ("come_in", "worth"),
    [
        (receive_a_cent, "1000000000000000.00"),
        (receive_much, "1000999999999998999.99"),
        (count_another, "1999999999999999.98"),
        (take_a_cent_back, "1000000000000000.00"),
        (send_a_cent, "1000000000000000.00"),
    ],
)
def test_all_that_is_there_is_worth_no_more_than_ledgers_book(come_in: Callable[[Stock], object], worth: str):
    """What would make it more does not come in; what is there may always leave."""
    kept = stocked(("1", "0.01"))
    kept.reserve(shelf(), "R", Decimal(1), order_id=None, expires_at=None)
    kept.ship(shelf(), booking(kept, 1, "R"), "R")
    kept.receive(shelf(), booking(kept), Decimal(1), Decimal(MOST))
    before = len(kept.pending_events)
    refusal = refused(lambda: come_in(kept))
    assert refusal.code == "money.out_of_range"
    assert refusal.data == {"amount": worth}
    assert refusal.detail.endswith("below 1000000000000000.")
    assert len(kept.pending_events) == before
    kept.issue(shelf(), booking(kept), Decimal(1))
    assert kept.value == 0


def test_state_does_not_grow_with_what_has_been():
    kept = stocked(("5", "1"))
    for number in range(300):
        kept.receive(shelf(), booking(kept), Decimal(1), Decimal(1))
        kept.reserve(shelf(), f"R{number}", Decimal(1), order_id=None, expires_at=None)
        kept.release(f"R{number}", "")
        kept.issue(shelf(), booking(kept), Decimal(1))
    assert len(kept.layers) == 5
    assert kept.reservations == {}


def test_a_copy_is_changed_alone():
    kept = stocked(("5", "1"))
    kept.reserve(shelf(), "R", Decimal(1), order_id=None, expires_at=None)
    copied = kept.editable_copy()
    copied.ship(shelf(), replace(booking(kept), reference="R"), "R")
    assert set(kept.reservations) == {"R"}
    assert kept.on_hand == 5
