"""Generated requests at every route of /openapi.json: no 5xx, and every answer is what is written there."""

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import cycle
from typing import Any
from uuid import uuid4

import httpx
import pytest
import schemathesis
from schemathesis.engine import events, from_schema

from erp.contexts import CONTEXTS
from tests.e2e.paying import payments
from tests.e2e.shop import Shop
from tests.e2e.stockroom import Stockroom
from tests.e2e.system import ENTRIES, Api, Books, Home, Process, bulk_line, entry, running_home

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

EXAMPLES = 20
LAST_DAY = "2299-12-31"
Case = schemathesis.Case[Any]
BULK = "POST /v1/commands"
# It has no end; tests/e2e/test_events_stream.py tries it.
ENDLESS = "/v1/events"
REPORTS = {
    f"GET {route.path}"
    for context in CONTEXTS
    for routes in (context.routes.reports, context.routes.searches)
    for route in routes
}
HOOKS = {f"POST {hook.path}" for context in CONTEXTS for hook in context.routes.hooks}
CHECKS = {
    # What no schema can say is refused too: a cursor that nobody handed out, parts of a cent.
    "positive_data_acceptance": {"enabled": False},
}
# Any text is a body here; what is wrong with a line is told in the answer to that line.
LINES_STAND_ALONE = {"include-name": BULK, "checks": {"negative_data_rejection": {"enabled": False}}}


@schemathesis.serializer("application/x-ndjson")
def ndjson(_context: schemathesis.SerializationContext, value: Any) -> bytes:
    """Commands in bulk, as text."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


class Traffic:
    """What was asked and answered, route by route."""

    def __init__(self) -> None:
        self.statuses: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self.failures: list[str] = []

    def share(self, first_digit: int) -> float:
        total: Counter[int] = sum(self.statuses.values(), Counter())
        return sum(count for status, count in total.items() if status // 100 == first_digit) / total.total()


class Insider:
    """Turns most of what is generated as valid into what could happen in these books: made-up names alone
    would seldom get past the first check.
    """

    def __init__(self, books: Books) -> None:
        self._drafter, self._poster = books.by("bob"), books.by("carol")
        self._count = 0
        self._recorded = 0
        self._pair = ("1122", "6001")
        self._payments = cycle(payments(books, 200))
        self._stockroom = Stockroom(self._drafter)
        self._shop = Shop(self._drafter)
        # Periods close in order: whatever is closed here, this one stays open.
        books.ok("POST", "/v1/finance/fiscal-years", json={"year": 2299, "start": "2299-01-01"})

    def __call__(self, case: Case) -> Case:
        if case.operation.label in REPORTS:
            # What is wanted of the read side is there, or will be: else 503 would be the right answer.
            case.query.pop("min_position", None)
        if case.meta is None or not case.meta.generation.mode.is_positive:
            return case
        self._count += 1
        chance = zlib.crc32(f"{self._count} {case.operation.label}".encode())
        if chance % 4 == 0:
            return case
        for name in ("If-Match", "Idempotency-Key"):
            case.headers.pop(name, None)
        case.query.pop("cursor", None)
        self._name(case, chance // 4)
        if case.operation.label in REPORTS:
            case.query.pop("known_at", None)
            case.query["min_position"] = self._recorded
            case.headers["Prefer"] = "wait=30"
        if case.operation.label == BULK:
            case.body = b"".join(self._line(chance + number) for number in range(chance % 7))
        elif isinstance(case.body, dict):
            self._fit(case.body, chance // 4)
        self._stockroom.fit(case)
        self._shop.fit(case)
        return case

    def _name(self, case: Case, chance: int) -> None:
        """Let the path name something that is there."""
        if "code" in case.path_parameters:
            case.path_parameters["code"] = self._account()
        if "/v1/payments/{id}" in case.operation.label:
            case.path_parameters["id"] = str(next(self._payments))
        elif "id" in case.path_parameters:
            case.path_parameters["id"] = self._entry(post=bool(chance % 2))
        if "period" in case.path_parameters:
            case.path_parameters["period"] = self._period(case.operation.label)

    def _account(self) -> str:
        code = f"own {uuid4().hex}"
        account = {"code": code, "name": "made up", "type": "asset"}
        self._recorded = self._drafter.ok("POST", "/v1/finance/accounts", json=account)["position"]
        return code

    def _entry(self, *, post: bool) -> str:
        draft = self._draft()
        if post and not self._poster.send("POST", f"{ENTRIES}/{draft}/post").is_success:
            # The generator has learnt the codes from the answers, and closed one of these accounts.
            self._pair = (self._account(), self._account())
            draft = self._draft()
            self._poster.ok("POST", f"{ENTRIES}/{draft}/post")
        return draft

    def _draft(self) -> str:
        told = self._drafter.post(posting_date=LAST_DAY, post=False, lines=self._lines("1.00")).json()
        return str(told["id"])

    def _lines(self, amount: str) -> list[dict[str, str]]:
        debited, credited = self._pair
        return [{"account": debited, "debit": amount}, {"account": credited, "credit": amount}]

    def _period(self, label: str) -> str:
        """The one whose turn it is, if that would leave the end of 2026 open."""
        periods = self._drafter.get("/v1/finance/periods?limit=1000")["items"]
        closed = [each["period"] for each in periods if each["status"] == "closed"]
        is_open = [each["period"] for each in periods if each["status"] == "open"]
        if label.endswith("/close"):
            return str(is_open[0]) if is_open[0] < "2026-06" else "2026-12"
        if not closed:
            self._drafter.ok("POST", f"/v1/finance/periods/{is_open[0]}/close")
            return str(is_open[0])
        return str(closed[-1] if label.endswith("/reopen") else closed[0])

    def _line(self, chance: int) -> bytes:
        match chance % 6:
            case 0:
                return bulk_line("finance.close_account", {"code": self._account()})
            case 1:
                return bulk_line("finance.discard_draft", {"id": self._entry(post=False)})
            case 2:
                return bulk_line("finance.post_journal_entry", entry(memo="\x00"))
            case 3:
                return bulk_line("finance.reopen_period", {"period": "2026-12"})
            case _:
                lines = self._lines("1.00")
                return bulk_line("finance.post_journal_entry", entry(posting_date=LAST_DAY, lines=lines))

    def _fit(self, body: dict[str, Any], chance: int) -> None:
        """Make a body fit the books."""
        if "posting_date" in body:
            body["posting_date"] = LAST_DAY
        if "accounts" in body:
            body["accounts"] = dict.fromkeys(body["accounts"], self._pair[1])
            body["warehouses"] = {}
        if "lines" in body:
            body["currency"] = "EUR"
            body["lines"] = self._lines(str(chance % 10_000 + 1))
        if "amount" in body:
            body["amount"] = str(chance % 1_000 + 1)
        if "parent" in body:
            body["parent"] = None
            body["code"] = f"8{chance % 100_000:05}"
        if "start" in body:
            body["year"] = 2027 + chance % 200
            body["start"] = f"{body['year']}-01-01"


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    """A home of its own: what is posted here at random makes nonsense of stock and books, which `erp verify`
    would tell of.
    """
    with running_home() as made:
        yield made


@pytest.fixture(scope="module")
def one_api(home: Home) -> Iterator[Api]:
    with Api(home.path) as running:
        yield running


@pytest.fixture
def traffic(api: Api, worker: Process, books: Books) -> Traffic:
    """Everything that the generator can think of, the same in every run."""
    config = schemathesis.Config.from_dict(
        {
            "seed": 20260115,
            "base-url": api.url,
            "headers": dict(books.headers),
            "suppress-health-check": ["all"],
            "continue-on-failure": True,
            "generation": {"max-examples": EXAMPLES, "deterministic": True, "database": "none"},
            "checks": CHECKS,
            "operations": [LINES_STAND_ALONE],
        }
    )
    description = httpx.get(f"{api.url}/openapi.json").json()
    schema = schemathesis.openapi.from_dict(description, config=config).exclude(path=ENDLESS)
    insider = Insider(books)
    traffic = Traffic()

    @schema.hook
    def map_case(_context: schemathesis.HookContext, case: Case) -> Case:
        return insider(case)

    @schema.hook
    def after_call(_context: Any, case: Case, response: schemathesis.Response) -> None:
        traffic.statuses[case.operation.label][response.status_code] += 1

    for event in from_schema(schema).execute():
        match event:
            case events.NonFatalError() | events.FatalError():
                traffic.failures.append(f"{event}: {getattr(event, 'value', '')}")
            case events.ScenarioFinished():
                traffic.failures += _failures(event)
    return traffic


def _failures(event: events.ScenarioFinished) -> list[str]:
    return [
        f"{event.label}: {node.name}: {node.failure_info.failure}\n{node.failure_info.code_sample}"
        for nodes in event.recorder.checks.values()
        for node in nodes
        if node.failure_info is not None
    ]


def test_every_route_keeps_its_word(api: Api, traffic: Traffic) -> None:
    """No 5xx; statuses, content types, headers and bodies as described; what the schema forbids is refused,
    what it allows is not, and without a token nothing is answered. And it was no empty exercise.
    """
    assert not traffic.failures, f"{len(traffic.failures)}:\n" + "\n".join(traffic.failures[:10])
    routes = {
        f"{method.upper()} {path}"
        for path, methods in httpx.get(f"{api.url}/openapi.json").json()["paths"].items()
        for method in methods
        if path != ENDLESS
    }
    assert traffic.statuses.keys() == routes
    never_good = {route for route, statuses in traffic.statuses.items() if not statuses.keys() & {200, 201}}
    # Nobody here can sign for others, and no worker runs sagas.
    assert never_good == HOOKS | {"GET /v1/sagas/{id}"}
    assert traffic.share(5) == 0
    assert traffic.share(2) > 0.2, traffic.statuses
