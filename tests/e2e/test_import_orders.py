"""A shop's invoices as orders: each line in stock, paid and in the books, or in the report; and once."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.load import POSTED
from tests.e2e.system import Home, Process, running_home
from tests.waiting import until

# A dozen verbs, each a process of its own.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

REAL_FILE = Path(__file__).parents[2].parent / "shared" / "data" / "retail_first_week.jsonl"
REAL_FILE_WITHIN_S = 1800


@dataclass(frozen=True)
class Shop:
    """A company that sells in pounds."""

    home: Home
    name: str

    def imported(self, file: Path, *more: str, wait_s: float = 120) -> tuple[int, str]:
        """Its exit code, and what it said."""
        done = self.home.erp(*self.command(file), *more, wait_s=wait_s)
        told = done.stdout + done.stderr
        assert "Traceback" not in told, told
        return done.returncode, told

    def command(self, file: Path) -> tuple[str, ...]:
        return ("import", "orders", str(file), "--tenant", self.name, "--opening-stock", "auto")

    def rows(self, query: str, *parameters: Any) -> list[Any]:
        """Of its part of the log."""
        log = """SELECT e.*, convert_from(data, 'UTF8')::json AS said
                   FROM erp.events e JOIN erp.tenants t USING (tenant) WHERE t.name = %s"""
        whole = f"WITH log AS ({log}) {query}"
        return self.home.rows(whole, self.name, *parameters)

    def events(self, *types: str) -> list[Any]:
        """The data of all events of these types."""
        found = self.rows("SELECT said FROM log WHERE type = ANY (%s) ORDER BY position", list(types))
        return [said for (said,) in found]

    def count(self) -> int:
        ((found,),) = self.rows("SELECT count(*) FROM log")
        return int(found)

    def balances(self) -> dict[str, Decimal]:
        """What is on each account: debits above zero."""
        found: dict[str, Decimal] = defaultdict(Decimal)
        for posted in self.events(POSTED):
            for each in posted["lines"]:
                found[each["account"]] += Decimal(each["debit"] or 0) - Decimal(each["credit"] or 0)
        return {code: amount for code, amount in found.items() if amount}

    def stock_value(self) -> Decimal:
        query = "SELECT sum((said->>'value_change')::numeric) FROM log WHERE stream_type = 'inventory.stock'"
        ((value,),) = self.rows(query)
        return Decimal(value or 0)

    def require_agreement(self) -> None:
        """Stock, orders, money and books say the same."""
        on = self.balances()
        assert sum(on.values()) == 0
        assert on.get("1405", 0) == self.stock_value()
        assert "1122" not in on, "all is paid"
        taken = sum(Decimal(each["amount"]) for each in self.events("payments.payment.captured"))
        given_back = sum(Decimal(each["amount"]) for each in self.events("payments.payment.refunded"))
        assert on["1002"] == taken - given_back
        told = self.home.erp("verify", wait_s=300)
        assert told.returncode == 0, told.stdout + told.stderr


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    """A home of their own: nobody else's sagas run in it."""
    with running_home() as made:
        yield made


@pytest.fixture
def shop(home: Home) -> Shop:
    made = Shop(home, f"shop-{uuid4().hex[:8]}")
    done = home.erp("tenant", "create", made.name, "--currency", "GBP")
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture(scope="module")
def sagas(home: Home) -> Iterator[Process]:
    """From the first test on that asks for it. Without a relay it reads the store, here with no delay."""
    running = Process(home.path, "worker", "--role", "saga", ERP_SAGAS__LATE_S="0.1")
    yield running
    running.end()


def invoice(
    number: str, day: int, *lines: Sequence[Any], kind: str = "sale", customer: str | None = "17850"
) -> str:
    """A line of a file."""
    at = f"2010-12-{day:02} 08:26:00"
    country = "United Kingdom"
    told = {
        "invoice": number,
        "kind": kind,
        "at": at,
        "customer": customer,
        "country": country,
        "lines": lines,
    }
    return json.dumps(told) + "\n"


def report_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def test_nobody_runs_the_sagas(shop: Shop, tmp_path: Path) -> None:
    """The first test, for the others have them run."""
    file = tmp_path / "week.jsonl"
    file.write_text(invoice("1", 1, ["85123A", 6, "2.55", "HOLDER"]))
    code, told = shop.imported(file, "--patience-s", "1")
    assert code == 1
    assert "nothing has moved for 1 s" in told
    assert "erp worker --role saga" in told


@pytest.mark.usefixtures("sagas")
def test_a_file_with_everything_in_it(shop: Shop, tmp_path: Path) -> None:
    """It goes through, and changes nothing when it is done again."""
    file, report = tmp_path / "week.jsonl", tmp_path / "report.ndjson"
    file.write_text(
        invoice(
            "1", 1, ["85123A", 6, "2.55", "HOLDER"], ["71053", 6, "3.39", "LANTERN"], ["POST", 1, "18.0", ""]
        )
        + invoice(
            "2", 1, ["85123a", 2, "2.95", "HOLDER"], ["85123A", 1, "2.55", ""], ["85123A", 1, "2.55", ""]
        )
        + invoice("3", 1, ["22086", 4, "2.95", "CHAIN"], customer=None)
        + invoice("4", 2, ["71053", 3, "3.39", "LANTERN"], customer="13047")
        + invoice("C5", 2, ["71053", -1, "3.39", "LANTERN"], kind="cancel", customer="13047")
        + invoice("C6", 3, ["71053", -3, "3.39", "LANTERN"], kind="cancel", customer="13047")
        + invoice("7", 3, ["22086", -4, "0.0", "damages"], customer=None)
        + invoice("A8", 3, ["22086", -2, "0.0", "damages"], ["B", 1, "11062.06", "bad debt"], kind="adjust")
        + invoice("A9", 4, ["22086", -9, "0", ""], ["22086", 5, "0", "found"], kind="adjust")
    )
    code, told = shop.imported(file, "--report", str(report))
    assert (code, "orders: 11 of 15 lines are in the books" in told) == (1, True), told
    assert "they are 5 orders, 1 of them returned, and 3 adjustments of stock" in told
    assert [(each["invoice"], each["line"], each["reason"]) for each in report_of(report)] == [
        ("1", 3, "no goods"),
        ("C5", 1, "cancels part of a sale"),
        ("7", 1, "negative quantity in a sale"),
        ("A8", 2, "adjusts money"),
    ]
    shop.require_agreement()
    days = [each["shipped_on"] for each in shop.events("sales.order.shipped")]
    assert sorted(days) == ["2010-12-01"] * 4 + ["2010-12-02"]
    assert [each["returned_on"] for each in shop.events("sales.order.returned")] == ["2010-12-03"]
    booked_on = {each["posting_date"] for each in shop.events(POSTED) if each["journal"] != "cash"}
    assert booked_on == {f"2010-12-0{day}" for day in (1, 2, 3, 4)}
    received = shop.events("inventory.stock.received")
    assert {each["sku"]: (each["quantity_change"], each["unit_cost"]) for each in received} == {
        "85123A": ("10", "1.53"),
        "71053": ("9", "2.03"),
        "22086": ("15", "1.77"),
    }

    before = shop.count()
    code, told = shop.imported(file)
    assert (code, shop.count()) == (1, before)
    assert "nothing is new" in told


@pytest.mark.usefixtures("sagas")
def test_what_the_books_refuse_is_told(shop: Shop, tmp_path: Path) -> None:
    """Goods that are not there, an invoice that says something else by now, books that are not ready."""
    file, report = tmp_path / "week.jsonl", tmp_path / "report.ndjson"
    some = ["--opening-stock", "none", "--report", str(report)]
    file.write_text(
        invoice("1", 1, ["85123A", 6, "2.55", "HOLDER"])
        + invoice("C2", 2, ["85123A", -6, "2.55", "HOLDER"], kind="cancel")
        + invoice("A3", 2, ["85123A", -1, "0", ""], kind="adjust")
    )
    assert shop.imported(file, *some)[0] == 1
    assert [(each["invoice"], each["reason"]) for each in report_of(report)] == [
        ("1", "inventory.insufficient_stock"),
        ("A3", "adjusts below nothing"),
        ("C2", "its sale is not in the books"),
    ]
    file.write_text(invoice("1", 1, ["85123A", 5, "2.55", "HOLDER"]))
    assert shop.imported(file, *some)[0] == 1
    assert [(each["invoice"], each["reason"]) for each in report_of(report)] == [
        ("1", "idempotency_key_reused")
    ]
    assert shop.stock_value() == 0
    assert shop.home.erp("tenant", "create", "bare", "--chart", "none").returncode == 0
    done = shop.home.erp("import", "orders", str(file), "--tenant", "bare")
    assert (done.returncode, "PUT /v1/finance/account-mapping" in done.stderr) == (1, True)
    file.write_text("{}\n")
    code, told = shop.imported(file)
    assert (code, "line 1 is no invoice" in told) == (1, True)


@pytest.mark.slow
@pytest.mark.timeout(REAL_FILE_WITHIN_S + 300)
@pytest.mark.usefixtures("sagas")
@pytest.mark.skipif(not REAL_FILE.exists(), reason=f"{REAL_FILE.name} does not lie beside this checkout")
def test_a_real_week(shop: Shop, tmp_path: Path) -> None:
    """Killed in the midst of it and started again, every line is in the books or in the report, once."""
    killed = Process(shop.home.path, *shop.command(REAL_FILE))
    try:
        until(
            lambda: not killed.is_alive() or len(shop.events("sales.order.completed")) >= 20,
            "some orders are complete",
            300,
        )
    finally:
        killed.kill()

    report = tmp_path / "report.ndjson"
    code, told = shop.imported(REAL_FILE, "--report", str(report), wait_s=REAL_FILE_WITHIN_S)
    assert code == 1, told
    invoices = [json.loads(line) for line in REAL_FILE.read_text("utf-8").splitlines()]
    refused = {(each["invoice"], each["line"]) for each in report_of(report)}
    booked = [
        (each["kind"], line)
        for each in invoices
        for number, line in enumerate(each["lines"], 1)
        if (each["invoice"], number) not in refused
    ]
    lines = sum(len(each["lines"]) for each in invoices)
    assert len(report_of(report)) == len(refused)
    assert f"orders: {len(booked):,} of {lines:,} lines are in the books" in told

    for kind, name, sign in (("sale", "shipped", 1), ("cancel", "returned", -1)):
        moved: dict[str, Decimal] = defaultdict(Decimal)
        for each in shop.events(f"inventory.stock.{name}"):
            moved[each["sku"]] -= sign * Decimal(each["quantity_change"])
        said: dict[str, Decimal] = defaultdict(Decimal)
        for of_kind, (sku, quantity, *_) in booked:
            if of_kind == kind:
                said[sku.upper()] += sign * quantity
        assert moved == said
    revenue = sum(quantity * Decimal(price) for _, (_, quantity, price, _) in booked)
    assert -shop.balances()["6001"] == revenue
    shop.require_agreement()

    before = shop.count()
    code, told = shop.imported(REAL_FILE, wait_s=REAL_FILE_WITHIN_S)
    assert (code, shop.count()) == (1, before)
    assert "nothing is new" in told
