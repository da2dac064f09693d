"""`erp demo`: it goes through, and it does not go through when a promise is broken."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click import ClickException

from erp.cli.demo import _running
from erp.demo import CHAPTERS, Story, agreement
from erp.tour import Answer, BrokenPromise

GOOD = Answer(200, {}, {"items": []})


class Canned(Story):
    """A system that always answers the same."""

    answer = GOOD

    def send(self, *_: Any, **__: Any) -> Answer:
        return self.answer


def canned(answer: Answer = GOOD, exit_code: int = 0) -> Story:
    story = Canned("nowhere", 1, "tour", lambda _, user: user, lambda *_: (exit_code, "said"), lambda _: None)
    story.answer = answer
    return story


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_the_tour_through_a_system_of_its_own(tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ERP_")}
    done = subprocess.run(
        [sys.executable, "-m", "erp", "demo"],
        env={**clean, "ERP_HOME": str(tmp_path / "home")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=290,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"\n{len(CHAPTERS):2}. And ClickHouse is held against it" in done.stdout
    assert "1002     418.68  cash, taken less given back: 418.68" in done.stdout
    assert "ok: post_sale: 2 steps, 2 entries, 408.68 in all, as order and payment say" in done.stdout
    assert done.stdout.endswith("every answer as promised.\n")


def test_a_wrong_status_ends_the_tour() -> None:
    with pytest.raises(BrokenPromise, match="201 was promised, not 200"):
        canned().ask("alice", "POST", "/v1/finance/accounts", {}, expect=201)


def test_a_wrong_code_ends_the_tour() -> None:
    refused = Answer(422, {}, {"code": "finance.account_closed", "detail": "Closed."})
    with pytest.raises(BrokenPromise, match="account_unknown was promised"):
        canned(refused).ask("alice", "GET", "/", expect=422, code="finance.account_unknown")


def test_a_wrong_fact_ends_the_tour() -> None:
    with pytest.raises(BrokenPromise, match="no gap"):
        canned().expect("no gap", holds=False)


def test_a_failing_verb_ends_the_tour() -> None:
    with pytest.raises(BrokenPromise, match="exit code"):
        canned(exit_code=1).command("verify")


def test_what_does_not_come_ends_the_tour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("erp.tour._WAIT_S", 0)
    assert canned().wait("alice", "/", lambda found: found == {"items": []}, claim="empty") == {"items": []}
    with pytest.raises(BrokenPromise, match="full"):
        canned().wait("alice", "/", lambda _: False, claim="full")
    with pytest.raises(BrokenPromise, match="200 was promised, not 404"):
        canned(Answer(404, {}, {})).wait("alice", "/", lambda _: True, claim="there")


class Shop(Canned):
    """One with stock for 10.00, and these balances."""

    balances: Mapping[str, str]

    def send(self, who: str | None, method: str, path: str, *_: Any, **__: Any) -> Answer:
        stock = {"main": "8.00", "outlet": "2.00"}
        if "/stock/" in path:
            warehouse, sku = path.split("/")[-2:]
            return Answer(200, {}, {"value": stock[warehouse] if sku == "LAMP" else "0.00"})
        if "valuation" in path:
            rows = [{"warehouse": warehouse, "value": value} for warehouse, value in stock.items()]
            return Answer(200, {}, {"rows": rows, "totals": {"EUR": "10.00"}})
        rows = [{"account": code, "balance": balance} for code, balance in self.balances.items()]
        return Answer(200, {}, {"rows": rows, "totals": {"EUR": {"debit": "12.00", "credit": "12.00"}}})


@pytest.mark.parametrize(
    ("worth", "agrees"), [("8.00", True), ("7.99", False), ("8.01", False)], ids=["agrees", "less", "more"]
)
def test_a_cent_that_is_missing_ends_the_tour(
    worth: str, agrees: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("erp.tour._WAIT_S", 0)
    shop = Shop("nowhere", 1, "shop", lambda _, user: user, lambda *_: (0, ""), lambda _: None)
    shop.values = {"received": Decimal(12), "lost": Decimal(0)}
    shop.balances = {"1405": worth, "1406": "2.00", "2203": "-12.00", "6401": "2.00"}
    check = agreement.CHAPTERS[0]
    if agrees:
        check(shop)
    else:
        with pytest.raises(BrokenPromise, match="stock, orders and payments"):
            check(shop)


def test_every_chapter_has_its_promise() -> None:
    for chapter in CHAPTERS:
        story = canned(Answer(500, {}, {}), exit_code=1)
        story.posted = ["1", "2"]
        story.written = {"position": 1, "recorded_at": "2026-01-01T00:00:00Z"}
        with pytest.raises((BrokenPromise, KeyError)):
            chapter(story)


def test_a_running_system_is_found_by_its_lock(tmp_path: Path) -> None:
    assert _running(tmp_path) is None
    (tmp_path / "up.lock").write_text("process 1, http://0.0.0.0:8100")
    assert _running(tmp_path) is None  # left by one that was killed
    with (tmp_path / "up.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert _running(tmp_path) == ("127.0.0.1", 8100)
        lock.truncate(0)
        with pytest.raises(ClickException, match="just starting"):
            _running(tmp_path)
