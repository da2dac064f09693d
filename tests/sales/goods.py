"""Lines, terms and orders in memory, for tests of pure rules."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from uuid import UUID, uuid4

from hypothesis import strategies as st

from domain.sales.order import Order
from domain.sales.placement import Address, PaymentChoice, Placement
from domain.sales.pricing import OrderLine, Terms, WantedLine, priced
from domain.sales.pricing_policy import PricingPolicy, Tier
from domain.shared.money import minor_units
from domain.shared.personal import Personal
from tests.finance.ledger import blank

DAY = date(2026, 2, 3)
LATER = date(2026, 2, 5)
PAYMENT = UUID(int=17)
SEALED: Personal[Address] = Personal("c-1", UUID(int=3), "c2VhbGVk")


def wanted(
    sku: str = "A1",
    quantity: str = "2",
    unit_price: str = "10.00",
    weight_kg: str = "0.5",
    currency: str = "EUR",
) -> WantedLine:
    """Two of a kind at ten each."""
    return WantedLine(
        sku, f"Item {sku}", Decimal(quantity), Decimal(unit_price), Decimal(weight_kg), currency
    )


def line(
    sku: str = "A1",
    quantity: str = "2",
    unit_price: str = "10.00",
    weight_kg: str = "0.5",
    currency: str = "EUR",
) -> OrderLine:
    """The same, priced."""
    return priced(wanted(sku, quantity, unit_price, weight_kg, currency), currency)


def terms(tier: Tier = Tier.BRONZE, country: str = "DE", postal_code: str = "10115") -> Terms:
    """Those of the default policy."""
    return blank(PricingPolicy).terms(tier, country=country, postal_code=postal_code)


def placement(currency: str = "EUR", tier: Tier = Tier.BRONZE) -> Placement:
    """Customer c-1, from the main warehouse, by card."""
    return Placement("c-1", tier, currency, "main", SEALED, PaymentChoice("card", "tok_ok"), DAY)


def placed(*lines: WantedLine, by: Terms | None = None, currency: str = "EUR") -> Order:
    """A pending order; of two A1 unless lines are given."""
    order = blank(Order)
    order.place(placement(currency), lines or (wanted(),), by or terms())
    return order


def confirmed(*lines: WantedLine, by: Terms | None = None, currency: str = "EUR") -> Order:
    """A confirmed order."""
    order = placed(*lines, by=by, currency=currency)
    order.confirm(order.revision, PAYMENT)
    return order


def shipped(*parcels: Sequence[tuple[str, str]]) -> Order:
    """An order of ten A1 and five B2, of which these parcels have left."""
    order = confirmed(wanted("A1", "10", "9.99"), wanted("B2", "5", "3.33"))
    for parcel in parcels:
        order.ship([(sku, Decimal(quantity)) for sku, quantity in parcel], DAY)
    return order


currencies = st.sampled_from(["EUR", "JPY", "KWD", "CLF"])
quantities = st.integers(1, 10**9).map(lambda count: Decimal(count).scaleb(-6)) | st.integers(1, 500).map(
    Decimal
)
weights = st.decimals(0, 1000, places=6)
rates = st.decimals(0, 1, places=6)
charges = st.decimals(0, 1000, places=4)


@st.composite
def any_terms(draw: st.DrawFn) -> Terms:
    """Whatever a policy may come to."""
    remote = draw(st.booleans())
    surcharge = draw(charges) if remote else Decimal(0)
    return Terms(draw(rates), draw(rates), draw(charges), draw(weights), draw(charges), remote, surcharge)


@st.composite
def carts(draw: st.DrawFn, currency: str) -> list[WantedLine]:
    """What may be ordered; gifts too."""
    unit = Decimal(1).scaleb(-minor_units(currency))
    prices = st.integers(0, 10**6).map(lambda count: count * unit)
    return [
        WantedLine(f"S{number}", "", draw(quantities), draw(prices), draw(weights), currency)
        for number in range(draw(st.integers(1, 5)))
    ]


@st.composite
def orders(draw: st.DrawFn) -> Order:
    """A confirmed order of anything, at any terms."""
    currency = draw(currencies)
    return confirmed(*draw(carts(currency)), by=draw(any_terms()), currency=currency)


def an_id() -> UUID:
    """Of nothing that there is."""
    return uuid4()
