"""Movements that are dated back: recorded now, and what they change in value is told by itself."""

from datetime import date
from decimal import Decimal
from uuid import UUID

import pytest

from domain.inventory.stock import Stock
from domain.inventory.valuation import Valuation
from domain.shared.aggregate import event_data
from domain.shared.errors import DomainError
from tests.inventory.shelf import REVALUED_ON, booking, layers, shelf, stock

AVERAGE = Valuation.MOVING_AVERAGE


def recorded(kept: Stock, count: int) -> list[tuple[str, Decimal, Decimal, date]]:
    """The last events, as type, quantity, value and day."""
    told = []
    for each in kept.pending_events[-count:]:
        data = event_data(each)  # type: ignore[arg-type]
        name = each.TOPIC.rpartition(".")[2]  # type: ignore[attr-defined]
        told.append((name, data["quantity_change"], data["value_change"], data["effective_at"]))
    return told


def of(day: int) -> date:
    return date(2026, 1, day)


def test_under_fifo_an_earlier_receipt_goes_first():
    kept = stock()
    kept.receive(shelf(), booking(kept, 3), Decimal(10), Decimal(5))
    kept.issue(shelf(), booking(kept, 5), Decimal(6))
    kept.receive(shelf(), booking(kept, 2, "late"), Decimal(10), Decimal(4))
    assert recorded(kept, 2) == [
        ("received", Decimal(10), Decimal("40.00"), of(2)),
        ("revalued", Decimal(0), Decimal("6.00"), REVALUED_ON),
    ]
    revalued = event_data(kept.pending_events[-1])  # type: ignore[arg-type]
    # Six of the four-euro goods have left instead of six at five.
    assert revalued["layers_after"] == layers((2, "4", "16.00"), (1, "10", "50.00"))
    assert (revalued["cause"], revalued["reference"]) == ("inventory.stock.received", "late")
    assert (kept.value, kept.on_hand) == (Decimal("66.00"), Decimal(14))


def test_under_moving_average_later_issues_cost_the_new_average():
    kept = stock()
    kept.receive(shelf(AVERAGE), booking(kept, 3), Decimal(10), Decimal(5))
    kept.issue(shelf(AVERAGE), booking(kept, 5), Decimal(5))
    kept.receive(shelf(AVERAGE), booking(kept, 4), Decimal(10), Decimal(8))
    assert recorded(kept, 2) == [
        ("received", Decimal(10), Decimal("80.00"), of(4)),
        ("revalued", Decimal(0), Decimal("-7.50"), REVALUED_ON),
    ]
    assert kept.layers == layers((1, "15", "97.50"))


def test_a_late_issue_takes_what_was_there_then():
    """Also where that has left since: then what has left instead costs more."""
    kept = stock()
    kept.receive(shelf(), booking(kept, 1), Decimal(10), Decimal(5))
    kept.receive(shelf(), booking(kept, 2), Decimal(10), Decimal(6))
    kept.issue(shelf(), booking(kept, 5), Decimal(10))
    kept.issue(shelf(), booking(kept, 3), Decimal(4))
    assert recorded(kept, 2) == [
        ("revalued", Decimal(0), Decimal("-4.00"), REVALUED_ON),
        ("issued", Decimal(-4), Decimal("-20.00"), of(3)),
    ]
    issued = event_data(kept.pending_events[-1])  # type: ignore[arg-type]
    assert issued["layers"] == layers((1, "4", "20.00"))
    assert kept.layers == layers((2, "6", "36.00"))


def test_what_changes_nothing_revalues_nothing():
    kept = stock()
    kept.receive(shelf(), booking(kept, 1), Decimal(10), Decimal(5))
    kept.receive(shelf(), booking(kept, 5), Decimal(10), Decimal(6))
    kept.issue(shelf(), booking(kept, 3), Decimal(4))
    assert recorded(kept, 1) == [("issued", Decimal(-4), Decimal("-20.00"), of(3))]


def test_another_order_of_the_layers_is_told_although_the_value_stays():
    kept = stock()
    kept.receive(shelf(), booking(kept, 1), Decimal(10), Decimal(5))
    kept.receive(shelf(), booking(kept, 5), Decimal(10), Decimal(6))
    kept.receive(shelf(), booking(kept, 3), Decimal(10), Decimal(7))
    assert recorded(kept, 1) == [("revalued", Decimal(0), Decimal("0.00"), REVALUED_ON)]
    assert [each.layer for each in kept.layers] == [1, 3, 2]


def test_of_one_day_what_was_recorded_first_comes_first():
    kept = stock()
    kept.receive(shelf(), booking(kept, 1), Decimal(10), Decimal(5))
    kept.issue(shelf(), booking(kept, 5), Decimal(4))
    kept.receive(shelf(), booking(kept, 5), Decimal(10), Decimal(6))
    assert not kept.is_backdated(of(5))
    assert kept.is_backdated(of(4))


def test_a_revaluation_is_no_day_on_which_goods_moved():
    kept = stock()
    kept.receive(shelf(), booking(kept, 5), Decimal(10), Decimal(5))
    kept.issue(shelf(), booking(kept, 6), Decimal(5))
    kept.receive(shelf(), booking(kept, 1), Decimal(10), Decimal(6))
    assert recorded(kept, 1)[0][0] == "revalued"
    assert kept.last_effective_at == of(6)


@pytest.mark.parametrize(("day", "available"), [(3, "2"), (4, "2"), (5, "2"), (6, "12")])
def test_nothing_leaves_on_a_day_that_it_was_not_there(day: int, available: str):
    """Neither that day nor on any day since may there be less than nothing."""
    kept = stock()
    kept.receive(shelf(), booking(kept, 3), Decimal(10), Decimal(5))
    kept.issue(shelf(), booking(kept, 5), Decimal(8))
    kept.receive(shelf(), booking(kept, 6), Decimal(10), Decimal(5))
    with pytest.raises(DomainError) as refusal:
        kept.issue(shelf(), booking(kept, day), Decimal(13))
    assert refusal.value.code == "inventory.insufficient_stock"
    assert refusal.value.data["available"] == available
    with pytest.raises(DomainError) as refusal:
        kept.issue(shelf(), booking(kept, 2), Decimal(1))
    assert refusal.value.data["available"] == "0"


def test_a_late_count_is_about_the_end_of_its_day():
    kept = stock()
    kept.receive(shelf(), booking(kept, 1), Decimal(10), Decimal(5))
    kept.issue(shelf(), booking(kept, 5), Decimal(4))
    kept.count(shelf(), booking(kept, 3), Decimal(9), "one was broken")
    assert recorded(kept, 1) == [("counted", Decimal(-1), Decimal("-5.00"), of(3))]
    kept.count(shelf(), booking(kept, 3), Decimal(11), "and two were found")
    assert recorded(kept, 1)[0] == ("counted", Decimal(2), Decimal("10.00"), of(3))
    kept.count(shelf(), booking(kept, 3), Decimal(11), "sure")
    assert recorded(kept, 1) == [("counted", Decimal(0), Decimal("0.00"), of(3))]
    with pytest.raises(DomainError) as refusal:
        kept.count(shelf(), booking(kept, 3), Decimal(3), "no: four have left since")
    assert refusal.value.code == "inventory.insufficient_stock"


def test_a_late_count_before_anything_came_finds_goods_worth_nothing():
    kept = stock()
    kept.count(shelf(), booking(kept, 5), Decimal(0), "empty")
    kept.receive(shelf(), booking(kept, 4), Decimal(1), Decimal(3))
    assert kept.newest == layers((1, "1", "3.00"))[0]
    kept.count(shelf(), booking(kept, 3), Decimal(2), "old ones")
    assert kept.value == Decimal("3.00")


def test_what_came_last_came_last_by_its_day():
    """Whatever else has been recorded since."""
    kept = stock()
    kept.receive(shelf(), booking(kept, 1), Decimal(1), Decimal(3))
    kept.count(shelf(), booking(kept, 4), Decimal(1), "as it should be")
    kept.receive(shelf(), booking(kept, 3), Decimal(1), Decimal(2))
    kept.receive(shelf(), booking(kept, 2), Decimal(1), Decimal(9))
    kept.issue(shelf(), booking(kept, 5), Decimal(3))
    kept.count(shelf(), booking(kept, 5), Decimal(1), "found")
    assert kept.value == Decimal("2.00")


def test_what_comes_late_may_be_too_much_for_its_day():
    """Although what there is now would not be. A late issue would have to book what was there then."""
    kept, dear = stock(), Decimal(10**15 - 1)
    kept.receive(shelf(), booking(kept, 1), Decimal(1), dear)
    kept.issue(shelf(), booking(kept, 5), Decimal(1))
    with pytest.raises(DomainError) as refusal:
        kept.receive(shelf(), booking(kept, 4), Decimal(1), Decimal(1))
    assert (refusal.value.code, refusal.value.data) == (
        "money.out_of_range",
        {"amount": "1000000000000000.00"},
    )
    assert kept.on_hand == kept.value == 0
    kept.receive(shelf(), booking(kept, 5), Decimal(1), dear)
    kept.receive(shelf(), booking(kept, 4), Decimal(1), Decimal(0))
    assert kept.value == dear


def test_a_late_transfer_leaves_at_what_it_was_worth_then():
    """What the difference is to the goods that stayed is told where they are."""
    here, there = stock(), stock()
    shelves = shelf(AVERAGE), shelf(AVERAGE, warehouse="annex")
    here.receive(shelves[0], booking(here, 1), Decimal(10), Decimal(5))
    here.receive(shelves[0], booking(here, 5), Decimal(10), Decimal(8))
    there.receive(shelves[1], booking(there, 1), Decimal(10), Decimal(7))
    there.issue(shelves[1], booking(there, 5), Decimal(5))
    here.transfer(there, shelves, (booking(here, 2), booking(there, 2)), Decimal(5), UUID(int=1))
    assert recorded(here, 1) == [("transferred_out", Decimal(-5), Decimal("-25.00"), of(2))]
    assert here.value == Decimal("105.00")
    assert recorded(there, 2) == [
        ("transferred_in", Decimal(5), Decimal("25.00"), of(2)),
        ("revalued", Decimal(0), Decimal("3.33"), REVALUED_ON),
    ]
