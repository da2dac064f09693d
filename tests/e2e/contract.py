"""What the tests of the Finance contract share."""

from tests.e2e.system import Books

ACCOUNTS = "/v1/finance/accounts"
PERIODS = "/v1/finance/periods"
CASH = {"code": "1000", "name": "Cash", "type": "asset"}
NOBODY = "00000000-0000-4000-8000-000000000000"


def status_of(books: Books, period: str) -> str:
    (found,) = [each for each in books.get(f"{PERIODS}?limit=1000")["items"] if each["period"] == period]
    return str(found["status"])


def debit(account: str, amount: str = "10.00") -> dict[str, str]:
    return {"account": account, "debit": amount}


def credit(account: str, amount: str = "10.00") -> dict[str, str]:
    return {"account": account, "credit": amount}
