"""Orders: whoever dies and whatever is slow, each ends as it has to, with nothing done twice or left over."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from uuid import UUID

import pytest

from tests.e2e.load import POSTED
from tests.e2e.shop import ORDERS
from tests.e2e.system import ENTRIES
from tests.faults.crew import Crew, Fate, Gate
from tests.faults.shop import PERIODS, STOCK, Shop
from tests.faults.system import System, answer, head
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

SETTINGS: Final = {
    "ERP_SAGAS__LATE_S": "0.5",
    "ERP_SAGAS__RETRY_S": "1",
    # What waits for somebody is tried again when somebody says so, and not before a test is over.
    "ERP_SAGAS__WAIT_S": "600",
}


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """A system that runs; each test has a company of its own in it."""
    with (
        TemporaryDirectory(prefix="erp-orders-") as folder,
        System(Path(folder).resolve() / "home", **SETTINGS) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def crew(system: System) -> Iterator[Crew]:
    made = Crew(system)
    yield made
    made.end()


@pytest.fixture
def shop(system: System) -> Iterator[Shop]:
    with Shop(system) as made:
        yield made


CLOSED: Final = "finance.period_closed"
ASKED: Final = "payments.payment.authorisation_requested"

SECURED: Final = (
    "sales.order.placed",
    "inventory.stock.reserved",
    ASKED,
    "payments.payment.authorised",
    "sales.order.confirmed",
)
COMPLETED: Final = (
    *SECURED,
    "sales.order.shipped",
    "sales.order.completed",
    "inventory.stock.shipped",
    "payments.payment.capture_requested",
    "payments.payment.captured",
    "voucher: sales",
    "voucher: inventory",
    "voucher: cash",
)
RETURNED: Final = (
    *COMPLETED,
    "sales.order.returned",
    "inventory.stock.returned",
    "payments.payment.refund_requested",
    "payments.payment.refunded",
    "voucher: sales",
    "voucher: inventory",
    "voucher: cash",
)
CANCELLED: Final = (
    *SECURED,
    "sales.order.cancelled",
    "inventory.stock.released",
    "payments.payment.void_requested",
    "payments.payment.voided",
)
DECLINED: Final = (
    "sales.order.placed",
    "inventory.stock.reserved",
    ASKED,
    "payments.payment.declined",
    "sales.order.cancelled",
    "inventory.stock.released",
)
TIMED_OUT: Final = (
    "sales.order.placed",
    "inventory.stock.reserved",
    ASKED,
    "sales.order.cancelled",
    "inventory.stock.released",
    "payments.payment.void_requested",
)


@dataclass(frozen=True)
class Story:
    """What becomes of an order.

    Attributes:
        then: what is done to it after it was placed.
        happens: all that is in the log in the end, each once for each time it is named.
        levels: of the stock of ten, of which three are ordered: on hand, reserved, available.
    """

    happens: Sequence[str]
    outcome: str
    levels: tuple[str, str, str]
    then: Sequence[Callable[[Shop, UUID], None]] = ()
    card: str = "tok_ok"


STORIES: Final[Mapping[str, Story]] = {
    "completed": Story(COMPLETED, "completed", ("7", "0", "7"), [Shop.ship]),
    "returned": Story(RETURNED, "returned", ("10", "0", "10"), [Shop.ship, Shop.send_back]),
    "cancelled": Story(CANCELLED, "cancelled", ("10", "0", "10"), [Shop.cancel]),
    "declined": Story(DECLINED, "cancelled", ("10", "0", "10"), card="tok_declined"),
    "no answer": Story(COMPLETED, "completed", ("7", "0", "7"), [Shop.ship], card="tok_timeout_once"),
}


def test_a_period_closes_between_shipment_and_vouchers(system: System, crew: Crew, shop: Shop) -> None:
    """Goods and money have moved; vouchers wait, all can see for what, and are posted once that is mended."""
    order_id = shop.place()
    shop.until_at_rest()
    with just_before_a_voucher(crew, shop, lambda: shop.ship(order_id)):
        month = shop.close_months()
    shop.until_at_rest()
    assert (shop.stock()["on_hand"], shop.payment(order_id)["capturable"]) == ("7", "0.00")
    assert waiting_steps(shop, order_id) == [("post_sale", CLOSED), ("post_settlement", CLOSED)]
    order_saga, voucher_saga = shop.saga(order_id)["id"], shop.cost_voucher()
    listed = answer(shop.books, "/v1/sagas?status=waiting", head(shop.books)).json()["items"]
    assert {(each["id"], each["code"]) for each in listed} == {(order_saga, CLOSED), (voucher_saga, CLOSED)}
    told = json.loads(system.erp("sagas", "list", "--status", "waiting", "--json"))
    waits_for = {each["id"]: each["waits_for"] for each in told}
    for each in (order_saga, voucher_saga):
        assert waits_for[each].startswith(f"{CLOSED}: Period {month} is closed")
    difference = "account 1405 says 120.00 EUR, its stock is worth 84.00 EUR"
    explained = f"{shop.books.name}: {difference}: vouchers of -36.00 are on their way or wait"
    assert explained in system.erp("verify").splitlines()

    shop.books.ok("POST", f"{PERIODS}/{month}/reopen")
    for each in (order_saga, voucher_saga):
        system.erp("sagas", "retry", each)
    require_completed_in_the_end(shop, order_id)
    assert shop.books.name not in system.erp("verify")


def test_a_period_closes_before_the_goods_have_left_the_stock(system: System, crew: Crew, shop: Shop) -> None:
    """They have left the shop: the stock waits together with the books."""
    order_id = shop.place()
    shop.until_at_rest()
    with crew.standing_still():
        shop.ship(order_id)
        month = shop.close_months()
    shop.until_at_rest()
    steps = ["ship", "post_sale", "post_settlement"]
    assert waiting_steps(shop, order_id) == [(each, CLOSED) for each in steps]
    assert (shop.stock()["on_hand"], shop.payment(order_id)["capturable"]) == ("10", "0.00")
    shop.books.ok("POST", f"{PERIODS}/{month}/reopen")
    system.erp("sagas", "retry", shop.saga(order_id)["id"])
    require_completed_in_the_end(shop, order_id)


def test_a_period_is_locked_for_good_before_the_voucher(system: System, crew: Crew, shop: Shop) -> None:
    """Nothing gets into it any more. Once nobody is to post the voucher, `erp verify` misses it, until it is
    posted by hand.
    """
    year = datetime.now(UTC).year
    lamp = {"quantity": "1", "unit_cost": "12.00", "effective_at": f"{year}-01-01"}
    with just_before_a_voucher(crew, shop, lambda: shop.books.ok("POST", f"{STOCK}/receive", json=lamp)):
        for step in ("close", "lock"):
            shop.books.ok("POST", f"{PERIODS}/{year}-01/{step}")
    shop.until_at_rest()
    (saga,) = answer(shop.books, "/v1/sagas?status=waiting", head(shop.books)).json()["items"]
    assert (saga["type"], saga["step"], saga["code"]) == ("sagas.inventory_voucher", "post", CLOSED)
    system.erp("sagas", "abort", saga["id"], "--reason", "January is locked: posted into February by hand")
    told = system.home.erp("verify")
    assert told.returncode == 1
    assert f"{shop.books.name}: account 1405 says 120.00 EUR, its stock is worth 132.00 EUR" in told.stderr
    lines = [{"account": "1405", "debit": "12.00"}, {"account": "2203", "credit": "12.00"}]
    by_hand = {"posting_date": f"{year}-02-01", "currency": "EUR", "lines": lines}
    shop.books.ok("POST", ENTRIES, json=by_hand)
    shop.require_agreement()


@contextmanager
def just_before_a_voucher(crew: Crew, shop: Shop, act: Callable[[], object]) -> Iterator[None]:
    """Meanwhile the first voucher that follows from it is about to be posted, and is not."""
    gate = Gate(shop.books, POSTED)
    with gate.shut():
        act()
        until(gate.someone, "a voucher is posted")
        with crew.standing_still():
            gate.undo()
            gate.open()
            yield


def waiting_steps(shop: Shop, order_id: UUID) -> list[tuple[str, str]]:
    """The steps of the order that wait, and for what."""
    saga = shop.saga(order_id)
    assert saga["status"] == "waiting"
    return [(each["name"], each["code"]) for each in saga["steps"] if each["status"] == "waiting"]


def require_completed_in_the_end(shop: Shop, order_id: UUID) -> None:
    """As if no period had ever been closed."""
    until(
        lambda: shop.happened()["voucher: inventory"] and set(shop.standings()) == {"ended"}, "all is posted"
    )
    shop.until_at_rest()
    assert shop.saga(order_id)["outcome"] == "completed"
    periods = "finance.fiscal_calendar."
    happened = {name: many for name, many in shop.happened().items() if not name.startswith(periods)}
    assert happened == Counter(COMPLETED)
    shop.require_agreement()


@pytest.mark.parametrize("is_killed", [False, True], ids=["undisturbed", "the worker is killed"])
def test_200_customers_want_120_lamps(system: System, is_killed: bool) -> None:
    """120 get one each; the others are told that there is none left, and nothing is held for them."""
    with Shop(system, lamps=120) as shop:
        orders = asyncio.run(shop.place_at_once(200))
        if is_killed:
            until(lambda: shop.happened()["sales.order.confirmed"] > 20, "some are confirmed")
            system.kill("saga")
        shop.until_at_rest()
        found = [shop.order(each) for each in orders]
        ends = Counter((each["status"], each["cancel_code"]) for each in found)
        assert ends == {("confirmed", None): 120, ("cancelled", "inventory.insufficient_stock"): 80}
        stock = shop.stock()
        assert (stock["on_hand"], stock["reserved"], stock["available"]) == ("120", "120", "0")
        assert shop.happened() == {
            **dict.fromkeys(SECURED, 120),
            "sales.order.placed": 200,
            "sales.order.cancelled": 80,
            "inventory.stock.reorder_point_reached": 1,
        }
        confirmed = [each for each in found if each["status"] == "confirmed"]
        for each in confirmed:
            payment = shop.books.get(f"/v1/payments/{each['payment_id']}")
            assert (payment["order_id"], payment["capturable"]) == (each["id"], each["total"])
        asked = {each["data"]["order_id"] for each in shop.books.events(ASKED)}
        assert asked == {each["id"] for each in confirmed}, "the gateway knows of no other"
        for status, count in (("confirmed", 120), ("cancelled", 80)):
            page = answer(shop.books, f"{ORDERS}?status={status}&limit=1000", head(shop.books)).json()
            assert len(page["items"]) == count
        shop.require_agreement()
        system.erp("verify")


@dataclass(frozen=True)
class Step:
    """Where a worker dies: at the append of this event, after the order was placed and so many things more
    were done to it.
    """

    story: str
    phase: int
    of_type: str
    containing: str = ""

    @property
    def name(self) -> str:
        journal = self.containing.replace('"journal":', " ").replace('"', "")
        return f"{self.story}: {self.of_type}{journal}"


def voucher(story: str, phase: int, journal: str) -> Step:
    return Step(story, phase, POSTED, f'"journal":"{journal}"')


# Each changes stock, money, order or books, and must not do so twice.
EFFECTS: Final = (
    Step("completed", 0, "inventory.stock.reserved"),
    Step("completed", 0, "payments.payment.authorised"),
    Step("completed", 0, "sales.order.confirmed"),
    Step("completed", 1, "inventory.stock.shipped"),
    Step("completed", 1, "payments.payment.captured"),
    voucher("completed", 1, "sales"),
    voucher("completed", 1, "inventory"),
    voucher("completed", 1, "cash"),
    Step("cancelled", 1, "inventory.stock.released"),
    Step("cancelled", 1, "payments.payment.voided"),
    Step("returned", 2, "payments.payment.refunded"),
)
# What comes between, and what else can happen. Who dies here dies behind what was stored before.
BETWEEN: Final = (
    Step("completed", 0, "sagas.order_to_cash.noticed"),
    Step("completed", 0, ASKED),
    Step("no answer", 0, "payments.payment.authorised"),
    Step("completed", 0, "sagas.order_to_cash.step_done"),
    Step("completed", 1, "payments.payment.capture_requested"),
    Step("declined", 0, "payments.payment.declined"),
    Step("declined", 0, "sales.order.cancelled"),
    Step("returned", 2, "inventory.stock.returned"),
    voucher("returned", 2, "sales"),
    voucher("returned", 2, "cash"),
)
DEATHS: Final = [
    *(pytest.param(each, [Fate.LOST, Fate.LATE], id=f"{each.name}, twice") for each in EFFECTS),
    *(pytest.param(each, [Fate.LOST], id=each.name) for each in BETWEEN),
]


@pytest.mark.parametrize(("step", "fates"), DEATHS)
def test_kill_9_at_each_step(crew: Crew, shop: Shop, step: Step, fates: Sequence[Fate]) -> None:
    """All saga workers die the moment that it is to be stored, and their successors likewise: whoever comes
    next brings the order to its end.
    """
    story = STORIES[step.story]
    order_id: UUID | None = None
    for phase, act in enumerate([None, *story.then]):
        gate = Gate(shop.books, step.of_type, step.containing)
        if phase != step.phase:
            order_id = done(shop, act, order_id, story)
        else:
            with gate.shut():
                order_id = done(shop, act, order_id, story)
                for fate in fates:
                    crew.die_at(gate, fate)
        shop.until_at_rest()
    assert order_id is not None
    assert {each["metadata"]["actor"] for each in shop.books.events(step.of_type)} == {"erp-saga"}
    assert shop.happened() == Counter(story.happens)
    saga = shop.saga(order_id)
    assert (saga["status"], saga["outcome"]) == ("ended", story.outcome)
    stock = shop.stock()
    assert (stock["on_hand"], stock["reserved"], stock["available"]) == story.levels
    shop.require_agreement()


def done(shop: Shop, act: Any, order_id: UUID | None, story: Story) -> UUID:
    if order_id is None:
        return shop.place(story.card)
    act(shop, order_id)
    return order_id


def test_a_gateway_that_had_done_it_and_did_not_say_so(shop: Shop) -> None:
    """It is asked: the money is held once, and taken once."""
    order_id = shop.place("tok_timeout_once")
    shop.until_at_rest()
    found, payment = shop.order(order_id), shop.payment(order_id)
    assert (found["status"], found["payment_id"]) == ("confirmed", payment["id"])
    assert (payment["authorised"], payment["capturable"]) == (found["total"], found["total"])
    shop.ship(order_id)
    shop.until_at_rest()
    payment = shop.payment(order_id)
    assert (payment["captured"], payment["capturable"]) == (found["total"], "0.00")
    assert shop.saga(order_id)["outcome"] == "completed"
    assert shop.happened() == Counter(COMPLETED)
    shop.require_agreement()


def test_a_gateway_that_never_says_whether_it_had_done_it(system: System, shop: Shop) -> None:
    """The order is given up. That nobody knows of the money is to be seen, until somebody has settled it."""
    order_id = shop.place("tok_timeout_always")
    until(lambda: shop.order(order_id)["status"] == "cancelled", "it is given up")
    shop.until_at_rest()
    assert shop.order(order_id)["cancel_code"] == "payments.timed_out"
    stock = shop.stock()
    assert (stock["on_hand"], stock["reserved"], stock["available"]) == ("10", "0", "10")
    payment = shop.payment(order_id)
    assert [payment[each] for each in ("status", "authorised", "captured", "capturable")] == [
        "pending",
        "0.00",
        "0.00",
        "0.00",
    ]
    assert waiting_steps(shop, order_id) == [("void", "gateway_timeout")]
    assert shop.happened() == Counter(TIMED_OUT)
    shop.require_agreement()
    why = "The bank says that nothing is held"
    system.erp("sagas", "abort", shop.saga(order_id)["id"], "--reason", why, "--by", "carol")
    assert shop.saga(order_id)["status"] == "aborted"
    assert shop.happened() == Counter(TIMED_OUT)
    system.erp("verify")
