"""What an order says once and for all: who wants it, from which warehouse, where to, and how it is paid."""

from dataclasses import dataclass
from datetime import date

from domain.sales.pricing_policy import Tier
from domain.shared.personal import Personal


@dataclass(frozen=True, slots=True)
class Address:
    """Where to. It only ever comes into an order sealed."""

    name: str
    line1: str
    city: str
    postal_code: str
    country: str


@dataclass(frozen=True, slots=True)
class PaymentChoice:
    """How the customer will pay. `token` is the gateway's name for it, and of no use to people."""

    method: str
    token: str


@dataclass(frozen=True, slots=True)
class Placement:
    """What an order says once and for all."""

    customer_id: str
    customer_tier: Tier
    currency: str
    warehouse: str
    shipping_address: Personal[Address]
    payment: PaymentChoice
    placed_on: date
