"""A SELECT throws on what it cannot read, and looks at nothing that it was not asked to read."""

from typing import Any
from uuid import UUID

import pytest

from projections.sales.tables import ORDERS
from tests.projections.shelf import MISSING, Happened, Shelf, without_missing

PRICING: dict[str, Any] = {
    "discount_rate": "0.1",
    "tax_rate": "0.2",
    "weight_kg": "1",
    "remote": False,
    "subtotal": "20.00",
    "discount": "2.00",
    "tax": "3.60",
    "shipping": "10.00",
    "total": "31.60",
}
LINE: dict[str, Any] = {"sku": "A1", "name": "", "quantity": "2", "unit_price": "10.00", "amount": "20.00"}
CONTENT: dict[str, Any] = {"lines": [LINE, LINE | {"sku": "B2"}], "pricing": PRICING, "revision": 1}
PLACED = CONTENT | {
    "customer_id": "c-1",
    "customer_tier": "gold",
    "currency": "EUR",
    "warehouse": "main",
    "placed_on": "2026-02-03",
}
PART: dict[str, Any] = {"sku": "A1", "quantity": "1", "amount": "10.00", "net": "9.00"}
SHIPPED: dict[str, Any] = {
    "shipment": 1,
    "lines": [PART, PART | {"sku": "B2"}],
    "net": "18.00",
    "tax": "3.60",
    "shipping": "10.00",
    "total": "31.60",
    "shipped_on": "2026-02-03",
}
RETURNED: dict[str, Any] = {
    "lines": [{"sku": "A1", "quantity": "1", "shipment": 1}],
    "net": "18.00",
    "tax": "3.60",
    "total": "21.60",
    "returned_on": "2026-02-03",
    "reason": "",
}
CONFIRMED: dict[str, Any] = {"revision": 1, "payment_id": str(UUID(int=17))}
CANCELLED: dict[str, Any] = {"reason": "late", "code": "customer", "was": "pending"}

NOTHING = [MISSING, None, [], {"a": 1}]
DATES = [*NOTHING, "", "soon", "2026-02-30", "2026-13-01", "2026-2-3", "20260203", "2026-02-03T00:00"]
AMOUNTS = [*NOTHING, "", "abc", "1.00001", "1e2", " 1", "1 2", "1,00", "1.", ".5", "NaN", "+1", True]
LINES = [*NOTHING, "two", [1, 2], [[]], [None]]


def of_line(data: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The same, with another second line."""
    first, second = data["lines"]
    return {"lines": [first, without_missing(second | changes)]}


def of_pricing(**changes: Any) -> dict[str, Any]:
    return {"pricing": without_missing(PRICING | changes)}


CONTENTS = [
    *({"lines": value} for value in LINES),
    *(of_line(CONTENT, sku=value) for value in NOTHING[:2]),
    {"pricing": MISSING},
    {"pricing": None},
    *(of_pricing(total=value) for value in AMOUNTS),
]
CASES: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "placed": (
        PLACED,
        [
            *CONTENTS,
            *(
                {name: value}
                for name in ("customer_id", "customer_tier", "currency", "warehouse")
                for value in NOTHING[:2]
            ),
            *({"placed_on": value} for value in DATES),
        ],
    ),
    "line_added": (CONTENT, CONTENTS),
    "line_removed": (CONTENT, CONTENTS),
    "confirmed": (CONFIRMED, [{"payment_id": value} for value in (*NOTHING, "", "that one")]),
    "cancelled": (CANCELLED, [{name: value} for name in ("reason", "code") for value in NOTHING[:2]]),
    "shipped": (
        SHIPPED,
        [
            *({"shipped_on": value} for value in DATES),
            *({"net": value} for value in AMOUNTS),
            *({"lines": value} for value in LINES),
            *(of_line(SHIPPED, sku=value) for value in NOTHING[:2]),
            *(of_line(SHIPPED, net=value) for value in AMOUNTS),
        ],
    ),
    "returned": (
        RETURNED,
        [*({"returned_on": value} for value in DATES), *({"net": value} for value in AMOUNTS)],
    ),
}


def cases() -> tuple[list[Happened], list[Any], list[Any]]:
    """Events one after the other, and which can be read and which cannot."""
    events: list[Happened] = []
    kept: dict[bool, list[Any]] = {True: [], False: []}

    def case(kind: str, data: dict[str, Any] | str, version: int, *, readable: bool) -> None:
        position = len(events) + 1
        told = data if isinstance(data, str) else without_missing(data)
        events.append(
            Happened(position, UUID(int=1), UUID(int=position), version, f"sales.order.{kind}", told)
        )
        kept[readable].append(pytest.param(position, id=f"{position} {kind}"))

    for kind, (data, spoilt) in CASES.items():
        version = 1 if kind == "placed" else 2
        case(kind, data, version, readable=True)
        case(kind, data, 3 - version, readable=False)
        for changes in spoilt:
            case(kind, data | changes, version, readable=False)
        for text in ("", "{", "[]", "null", "{}"):
            case(kind, text, version, readable=False)
    case("completed", {}, 2, readable=True)
    wide = of_pricing(total="1234567890123456789.1234") | {"placed_on": "2028-02-29"}
    case("placed", PLACED | wide, 1, readable=True)
    return events, kept[False], kept[True]


EVENTS, UNREADABLE, READABLE = cases()


@pytest.fixture(scope="module")
def recorded(shelf: Shelf, runner: Any) -> Shelf:
    """All of them in the log copy, the good among the bad."""
    runner.run(shelf.clear())
    runner.run(shelf.record(EVENTS))
    return shelf


@pytest.mark.parametrize("position", UNREADABLE)
def test_it_throws(recorded: Shelf, runner: Any, position: int) -> None:
    assert not runner.run(recorded.can_read(ORDERS, position)), EVENTS[position - 1]


@pytest.mark.parametrize("position", READABLE)
def test_it_reads(recorded: Shelf, runner: Any, position: int) -> None:
    """Also that nothing around it is looked at, for that is unreadable."""
    assert runner.run(recorded.can_read(ORDERS, position)), EVENTS[position - 1]


def test_what_was_not_asked_for_is_not_looked_at(shelf: Shelf, runner: Any) -> None:
    """Events beyond the range, of other types, or discarded may hold anything."""

    def event(position: int, kind: str, data: dict[str, Any] | str) -> Happened:
        return Happened(position, UUID(int=1), UUID(int=9), position, f"sales.{kind}", data)

    async def project() -> list[dict[str, Any]]:
        await shelf.clear()
        await shelf.record(
            [
                event(1, "order.placed", PLACED),
                event(2, "order.shipped", "{"),
                event(3, "pricing_policy.set", "{"),
                event(4, "order.shipped", SHIPPED),
                event(5, "order.shipped", "{"),
            ]
        )
        await shelf.project(ORDERS, 0, 4, {2})
        return await shelf.table(ORDERS)

    assert sorted(row["position"] for row in runner.run(project())) == [1, 4]
