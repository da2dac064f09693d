"""What an order refuses.

DomainError
├── OrderNotFound         there is no order of this id
├── OrderNotPending       it is decided already, and so are its lines
├── OrderChanged          what was confirmed is not what the order says by now
├── LineNotFound          it has no line of that sku
├── ItemUnknown           a line names what is no item
├── OrderNotCancellable   goods have left, or it has ended
├── OrderNotShippable     it is not confirmed yet, or nothing is left to ship
├── OrderNotReturnable    nothing has left, or it came back already
└── and those of `pricing`, `shipments` and `days`
"""

from typing import ClassVar

from domain.shared.errors import DomainError


class OrderNotFound(DomainError):
    """There is no order of this id."""

    code: ClassVar[str] = "sales.order_not_found"


class OrderNotPending(DomainError):
    """Only a pending order is changed or confirmed."""

    code: ClassVar[str] = "sales.order_not_pending"


class OrderChanged(DomainError):
    """The order is at another revision than the one that was decided on."""

    code: ClassVar[str] = "sales.order_changed"


class LineNotFound(DomainError):
    """The order has no line of this sku."""

    code: ClassVar[str] = "sales.line_not_found"


class ItemUnknown(DomainError):
    """A line names a sku under which nothing was registered."""

    code: ClassVar[str] = "sales.item_unknown"


class OrderNotCancellable(DomainError):
    """Goods that have left are returned, not cancelled; and an order ends once."""

    code: ClassVar[str] = "sales.order_not_cancellable"


class OrderNotShippable(DomainError):
    """Only a confirmed order is shipped, until all of it has left."""

    code: ClassVar[str] = "sales.order_not_shippable"


class OrderNotReturnable(DomainError):
    """Only what has left comes back, once."""

    code: ClassVar[str] = "sales.order_not_returnable"
