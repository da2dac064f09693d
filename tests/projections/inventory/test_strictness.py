"""A SELECT throws on what it cannot read, and looks at nothing that it was not asked to read."""

from typing import Any
from uuid import UUID

import pytest

from projections.declaration import Projection
from projections.inventory.tables import CHANGES, ITEMS
from tests.projections.shelf import MISSING, Happened, Shelf, without_missing

REGISTERED: dict[str, Any] = {
    "sku": "A1",
    "name": "Item A1",
    "unit": "pcs",
    "valuation": "fifo",
    "currency": "EUR",
    "reorder_point": "10",
    "weight_kg": "0.5",
}
RECEIVED: dict[str, Any] = {
    "warehouse": "main",
    "sku": "A1",
    "currency": "EUR",
    "quantity_change": "10",
    "value_change": "50.00",
    "layers": [{"layer": 1, "quantity": "10", "value": "50.00"}],
    "effective_at": "2026-02-03",
    "reference": "",
    "on_hand_after": "10",
    "value_after": "50.00",
    "unit_cost": "5.00",
}
SHIPPED = RECEIVED | {"quantity_change": "-2", "value_change": "-10.00", "order_id": None}
RESERVED: dict[str, Any] = {
    "warehouse": "main",
    "sku": "A1",
    "reservation_id": "r-1",
    "quantity": "2",
    "order_id": "o-1",
    "expires_at": None,
}

NOTHING = [MISSING, None, [], {"a": 1}]
DATES = [*NOTHING, "", "soon", "2026-02-30", "2026-13-01", "2026-2-3", "20260203", "2026-02-03T00:00"]
FIGURES = [*NOTHING, "", "abc", "1e2", " 1", "1 ", "1 2", "1,00", "1.", ".5", "NaN", "+1", "--1", True]
QUANTITIES = [*FIGURES, "1.0000001"]
AMOUNTS = [*FIGURES, "1.00001"]

Case = tuple[str, dict[str, Any], list[dict[str, Any]], Projection]
CASES: tuple[Case, ...] = (
    (
        "item.registered",
        REGISTERED,
        [
            *({name: value} for name in ("sku", "name", "unit") for value in NOTHING[:2]),
            *({"reorder_point": value} for value in [*QUANTITIES, "-1"]),
        ],
        ITEMS,
    ),
    (
        "stock.received",
        RECEIVED,
        [
            *(
                {name: value}
                for name in ("warehouse", "sku", "currency", "reference")
                for value in NOTHING[:2]
            ),
            *({"effective_at": value} for value in DATES),
            *({name: value} for name in ("quantity_change", "on_hand_after") for value in QUANTITIES),
            *({name: value} for name in ("value_change", "value_after") for value in AMOUNTS),
            # One too many does not make up for one that is missing.
            {"quantity_change": "1 2", "on_hand_after": MISSING},
        ],
        CHANGES,
    ),
    ("stock.shipped", SHIPPED, [{"quantity_change": value} for value in QUANTITIES], CHANGES),
    *(
        (
            f"stock.{kind}",
            RESERVED,
            [
                *({name: value} for name in ("warehouse", "sku") for value in NOTHING[:2]),
                *({"quantity": value} for value in QUANTITIES),
            ],
            CHANGES,
        )
        for kind in ("reserved", "released", "reservation_expired")
    ),
)
WIDE: dict[str, Any] = {
    "quantity_change": "-12345678901234567890.123456",
    "value_change": "-1234567890123456789.1234",
    "effective_at": "2028-02-29",
}


def cases() -> tuple[list[Happened], list[Any], list[Any]]:
    """Events one after the other, and who can read which and who cannot."""
    events: list[Happened] = []
    kept: dict[bool, list[Any]] = {True: [], False: []}

    def case(kind: str, data: dict[str, Any] | str, projection: Projection, *, readable: bool) -> None:
        position = len(events) + 1
        told = data if isinstance(data, str) else without_missing(data)
        events.append(Happened(position, UUID(int=1), UUID(int=position), 1, f"inventory.{kind}", told))
        name = f"{position} {kind}"
        kept[readable].append(pytest.param(projection, position, id=name))

    for kind, data, spoilt, projection in CASES:
        case(kind, data, projection, readable=True)
        for changes in spoilt:
            case(kind, data | changes, projection, readable=False)
        for text in ("", "{", "[]", "null", "{}"):
            case(kind, text, projection, readable=False)
    case("stock.received", RECEIVED | WIDE, CHANGES, readable=True)
    return events, kept[False], kept[True]


EVENTS, UNREADABLE, READABLE = cases()


@pytest.fixture(scope="module")
def recorded(shelf: Shelf, runner: Any) -> Shelf:
    """All of them in the log copy, the good among the bad."""
    runner.run(shelf.clear())
    runner.run(shelf.record(EVENTS))
    return shelf


@pytest.mark.parametrize(("projection", "position"), UNREADABLE)
def test_it_throws(recorded: Shelf, runner: Any, projection: Projection, position: int) -> None:
    assert not runner.run(recorded.can_read(projection, position)), EVENTS[position - 1]


@pytest.mark.parametrize(("projection", "position"), READABLE)
def test_it_reads(recorded: Shelf, runner: Any, projection: Projection, position: int) -> None:
    """Also that nothing around it is looked at, for that is unreadable."""
    assert runner.run(recorded.can_read(projection, position)), EVENTS[position - 1]


def test_what_was_not_asked_for_is_not_looked_at(shelf: Shelf, runner: Any) -> None:
    """Events beyond the range, of other types, or discarded may hold anything."""

    def event(position: int, kind: str, data: dict[str, Any] | str) -> Happened:
        return Happened(position, UUID(int=1), UUID(int=9), position, f"inventory.stock.{kind}", data)

    async def project() -> list[dict[str, Any]]:
        await shelf.clear()
        await shelf.record(
            [
                event(1, "received", "{"),
                event(2, "received", RECEIVED),
                event(3, "reorder_point_reached", "{"),
                event(4, "reserved", RESERVED),
                event(5, "received", "{"),
            ]
        )
        await shelf.project(CHANGES, 0, 4, {1})
        return await shelf.table(CHANGES)

    assert [row["position"] for row in runner.run(project())] == [4, 2]
