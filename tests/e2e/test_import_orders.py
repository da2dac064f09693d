"""A shop's invoices as orders: each line in stock, paid and in the books, or in the report; and once."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from erp.embedded.postgres import EmbeddedPostgres
from eventstore.migrate import migrate
from tests.e2e.load import POSTED
from tests.e2e.system import Home, Process, until

pytestmark = pytest.mark.e2e

SHOP = "shop"
REAL_FILE = Path(__file__).parents[2].parent / "shared" / "data" / "retail_first_week.jsonl"
REAL_FILE_WITHIN_S = 1800


@pytest.fixture
def home() -> Iterator[Home]:
    """A home with Postgres running, and a company that sells in pounds."""
    with TemporaryDirectory(prefix="erp-orders-") as folder:
        path = Path(folder) / "home"
        with EmbeddedPostgres(path) as server:
            migrate(server.url)
            made = Home(path)
            done = made.erp("tenant", "create", SHOP, "--currency", "GBP")
            assert done.returncode == 0, done.stderr
            yield made


def saga_worker(home: Home) -> Process:
    """Without a relay: what happens is read from the store, as soon as that."""
    return Process(home.path, "worker", "--role", "saga", ERP_SAGAS__LATE_S="0.1")


@pytest.fixture
def sagas(home: Home) -> Iterator[Process]:
    running = saga_worker(home)
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


def imported(home: Home, file: Path, *more: str, wait_s: float = 120) -> tuple[int, str]:
    """Its exit code, and what it said."""
    arguments = ("import", "orders", str(file), "--tenant", SHOP, "--opening-stock", "auto", *more)
    done = home.erp(*arguments, wait_s=wait_s)
    told = done.stdout + done.stderr
    assert "Traceback" not in told, told
    return done.returncode, told


def events(home: Home, *types: str) -> list[Any]:
    """The data of all events of these types, of the one company there is."""
    query = "SELECT convert_from(data, 'UTF8') FROM erp.events WHERE type = ANY (%s) ORDER BY position"
    return [json.loads(data) for (data,) in home.rows(query, list(types))]


def count(home: Home) -> int:
    ((found,),) = home.rows("SELECT count(*) FROM erp.events")
    return int(found)


def balances(home: Home) -> dict[str, Decimal]:
    """What is on each account: debits above zero."""
    found: dict[str, Decimal] = defaultdict(Decimal)
    for entry in events(home, POSTED):
        lines = entry["lines"]
        assert sum(Decimal(each["debit"] or 0) - Decimal(each["credit"] or 0) for each in lines) == 0
        for each in lines:
            found[each["account"]] += Decimal(each["debit"] or 0) - Decimal(each["credit"] or 0)
    return {code: amount for code, amount in found.items() if amount}


def stock_value(home: Home) -> Decimal:
    query = """SELECT coalesce(sum((convert_from(data, 'UTF8')::json->>'value_change')::numeric), 0)
                 FROM erp.events WHERE stream_type = 'inventory.stock'"""
    ((value,),) = home.rows(query)
    return Decimal(value)


def report_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def require_agreement(home: Home) -> None:
    """Stock, orders, money and books say the same."""
    on = balances(home)
    assert sum(on.values()) == 0
    assert on.get("1405", Decimal(0)) == stock_value(home)
    assert "1122" not in on, "all is paid"
    taken = sum(Decimal(each["amount"]) for each in events(home, "payments.payment.captured"))
    given_back = sum(Decimal(each["amount"]) for each in events(home, "payments.payment.refunded"))
    assert on["1002"] == taken - given_back
    told = home.erp("verify", wait_s=300)
    assert told.returncode == 0, told.stdout + told.stderr


def test_a_file_with_everything_in_it(home: Home, tmp_path: Path) -> None:
    """First nobody runs the sagas; then it goes through, and changes nothing when it is done again."""
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
    code, told = imported(home, file, "--patience-s", "1")
    assert code == 1
    assert "nothing has moved for 1 s" in told
    assert "erp worker --role saga" in told

    worker = saga_worker(home)
    try:
        code, told = imported(home, file, "--report", str(report))
    finally:
        worker.end()
    assert (code, "orders: 11 of 15 lines are in the books" in told) == (1, True), told + worker.output
    assert "they are 5 orders, 1 of them returned, and 3 adjustments of stock" in told
    assert [(each["invoice"], each["line"], each["reason"]) for each in report_of(report)] == [
        ("1", 3, "no goods"),
        ("C5", 1, "cancels part of a sale"),
        ("7", 1, "negative quantity in a sale"),
        ("A8", 2, "adjusts money"),
    ]
    require_agreement(home)
    days = [each["shipped_on"] for each in events(home, "sales.order.shipped")]
    assert sorted(days) == ["2010-12-01"] * 4 + ["2010-12-02"]
    assert [each["returned_on"] for each in events(home, "sales.order.returned")] == ["2010-12-03"]
    booked_on = {each["posting_date"] for each in events(home, POSTED) if each["journal"] != "cash"}
    assert booked_on == {f"2010-12-0{day}" for day in (1, 2, 3, 4)}
    received = events(home, "inventory.stock.received")
    assert {each["sku"]: (each["quantity_change"], each["unit_cost"]) for each in received} == {
        "85123A": ("10", "1.53"),
        "71053": ("9", "2.03"),
        "22086": ("15", "1.77"),
    }

    before = count(home)
    code, told = imported(home, file)
    assert (code, count(home)) == (1, before)
    assert "nothing is new" in told


@pytest.mark.usefixtures("sagas")
def test_what_the_books_refuse_is_told(home: Home, tmp_path: Path) -> None:
    """Goods that are not there, an invoice that says something else by now, books that are not ready."""
    file, report = tmp_path / "week.jsonl", tmp_path / "report.ndjson"
    some = ["--opening-stock", "none", "--report", str(report)]
    file.write_text(
        invoice("1", 1, ["85123A", 6, "2.55", "HOLDER"])
        + invoice("C2", 2, ["85123A", -6, "2.55", "HOLDER"], kind="cancel")
        + invoice("A3", 2, ["85123A", -1, "0", ""], kind="adjust")
    )
    assert imported(home, file, *some)[0] == 1
    assert [(each["invoice"], each["reason"]) for each in report_of(report)] == [
        ("1", "inventory.insufficient_stock"),
        ("A3", "adjusts below nothing"),
        ("C2", "its sale is not in the books"),
    ]
    file.write_text(invoice("1", 1, ["85123A", 5, "2.55", "HOLDER"]))
    assert imported(home, file, *some)[0] == 1
    assert [(each["invoice"], each["reason"]) for each in report_of(report)] == [
        ("1", "idempotency_key_reused")
    ]
    assert stock_value(home) == 0
    assert home.erp("tenant", "create", "bare", "--chart", "none").returncode == 0
    done = home.erp("import", "orders", str(file), "--tenant", "bare")
    assert (done.returncode, "PUT /v1/finance/account-mapping" in done.stderr) == (1, True)
    file.write_text("{}\n")
    code, told = imported(home, file)
    assert (code, "line 1 is no invoice" in told) == (1, True)


@pytest.mark.slow
@pytest.mark.timeout(REAL_FILE_WITHIN_S + 300)
@pytest.mark.usefixtures("sagas")
@pytest.mark.skipif(not REAL_FILE.exists(), reason=f"{REAL_FILE.name} does not lie beside this checkout")
def test_a_real_week(home: Home, tmp_path: Path) -> None:
    """Killed in the midst of it and started again, every line is in the books or in the report, once."""
    arguments = ("import", "orders", str(REAL_FILE), "--tenant", SHOP, "--opening-stock", "auto")
    killed = Process(home.path, *arguments)
    try:
        until(
            lambda: not killed.is_alive() or len(events(home, "sales.order.completed")) >= 20,
            "some orders are complete",
            300,
        )
    finally:
        killed.kill()

    report = tmp_path / "report.ndjson"
    code, told = imported(home, REAL_FILE, "--report", str(report), wait_s=REAL_FILE_WITHIN_S)
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
        for each in events(home, f"inventory.stock.{name}"):
            moved[each["sku"]] -= sign * Decimal(each["quantity_change"])
        said: dict[str, Decimal] = defaultdict(Decimal)
        for of_kind, (sku, quantity, *_) in booked:
            if of_kind == kind:
                said[sku.upper()] += sign * quantity
        assert moved == said
    revenue = sum(quantity * Decimal(price) for _, (_, quantity, price, _) in booked)
    assert -balances(home)["6001"] == revenue
    require_agreement(home)

    before = count(home)
    code, told = imported(home, REAL_FILE, wait_s=REAL_FILE_WITHIN_S)
    assert (code, count(home)) == (1, before)
    assert "nothing is new" in told
