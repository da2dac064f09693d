"""Inventory: how its aggregates look from outside, as they are now."""

import asyncio
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final
from uuid import UUID

from api.errors import NotFound
from api.routing import Page, Query, View
from domain.inventory.item import ITEM_SERIES, Item, item_id
from domain.inventory.stock import Stock, stock_id
from domain.inventory.valuation import Layer, Valuation, quantity_text, share
from domain.shared.money import amount_text

_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")
# One reader of a long list does not get to fill the queue to the database.
_LOADS_AT_ONCE: Final = 50


@dataclass(frozen=True, slots=True)
class ItemView:
    """Something that can be kept in stock."""

    id: UUID
    sku: str
    name: str
    unit: str
    valuation: Valuation
    currency: str
    reorder_point: str
    weight_kg: str
    version: int


@dataclass(frozen=True, slots=True)
class LayerView:
    """Goods that came in together, as far as they are still there. Moving average has one layer for all."""

    layer: int
    quantity: str
    unit_cost: str
    value: str


@dataclass(frozen=True, slots=True)
class StockView:
    """An item in a warehouse. `available` is what is on hand and not reserved; `unit_cost` is rounded, and
    null when nothing is there.
    """

    id: UUID
    warehouse: str
    sku: str
    currency: str
    on_hand: str
    reserved: str
    available: str
    value: str
    unit_cost: str | None
    layers: tuple[LayerView, ...]
    version: int


async def item(query: Query) -> View:
    """One item, by its sku."""
    found = await _item_of(query, query.path["sku"])
    return View(_item(found), found.version)


async def items(query: Query) -> Page:
    """All items, in the order in which they were registered."""
    listed = await query.store.register_page(
        query.tenant, series=ITEM_SERIES, after_number=query.after, limit=query.limit + 1
    )
    shown = listed[: query.limit]
    found: list[Item] = []
    for start in range(0, len(shown), _LOADS_AT_ONCE):
        loads = (
            query.store.load_current(Item, stream_id, query.tenant)
            for _, stream_id in shown[start : start + _LOADS_AT_ONCE]
        )
        found.extend(await asyncio.gather(*loads))
    return Page([_item(each) for each in found], shown[-1][0] if len(listed) > query.limit else None)


async def stock(query: Query) -> View:
    """The stock of an item in a warehouse. Of one that never came there, there is none."""
    warehouse, sku = query.path["warehouse"], query.path["sku"]
    if not _KEY.fullmatch(warehouse):
        raise NotFound("No warehouse can have such a name.")
    kept = await _item_of(query, sku)
    stream_id = stock_id(query.tenant, warehouse, sku)
    found = await query.store.load_current(Stock, stream_id, query.tenant)
    currency = kept.currency
    return View(
        StockView(
            id=stream_id,
            warehouse=warehouse,
            sku=sku,
            currency=currency,
            on_hand=quantity_text(found.on_hand),
            reserved=quantity_text(found.reserved),
            available=quantity_text(found.available),
            value=amount_text(found.value, currency),
            unit_cost=_unit_cost(found.value, found.on_hand, currency) if found.on_hand else None,
            layers=tuple(_layer(each, currency) for each in found.layers),
            version=found.version,
        ),
        found.version,
    )


async def _item_of(query: Query, sku: str) -> Item:
    if not _KEY.fullmatch(sku):
        raise NotFound("No item can have such a sku.")
    found = await query.store.load_current(Item, item_id(query.tenant, sku), query.tenant)
    return found.require_registered(sku)


def _item(found: Item) -> ItemView:
    return ItemView(
        id=found.id,
        sku=found.sku,
        name=found.name,
        unit=found.unit,
        valuation=found.valuation,
        currency=found.currency,
        reorder_point=quantity_text(found.reorder_point),
        weight_kg=quantity_text(found.weight_kg),
        version=found.version,
    )


def _layer(each: Layer, currency: str) -> LayerView:
    return LayerView(
        layer=each.layer,
        quantity=quantity_text(each.quantity),
        unit_cost=_unit_cost(each.value, each.quantity, currency),
        value=amount_text(each.value, currency),
    )


def _unit_cost(value: Decimal, quantity: Decimal, currency: str) -> str:
    return amount_text(share(value, Decimal(1), quantity, currency), currency)
