"""The command line as an operator uses it: tenants, tokens, imports that break off, verify; 0, 1 or 2, and
never a traceback.
"""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import orjson
import psycopg
import pytest
from psycopg import sql

from tests.e2e.load import POSTED
from tests.e2e.system import Api, Books, Home, Process, entry, postgres_stopped
from tests.waiting import until

pytestmark = pytest.mark.e2e

# Longer than a command is tried again while its database is away.
OUT_OF_PATIENCE_S = 5
ROWS = 2000
_TAKE_TIME = """
    CREATE OR REPLACE FUNCTION public.take_time() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_sleep(0.005); RETURN NEW; END $$"""
_SLOW = """
    CREATE TRIGGER slow BEFORE INSERT ON erp.events FOR EACH ROW
      WHEN (NEW.tenant = {}) EXECUTE FUNCTION public.take_time()"""
Done = subprocess.CompletedProcess[str]
CHART = """code,name,type,parent,currencies
1000,Cash,asset,,
1001,Till,asset,1000,EUR USD
4000,Sales,income,,
"""


def ended(done: Done, code: int) -> str:
    """Its output, if it ended with this code and without a traceback."""
    told = done.stdout + done.stderr
    assert done.returncode == code, told
    assert "Traceback" not in told, told
    return told


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Entries to import, enough to be interrupted among them."""
    file = tmp_path / "journal.ndjson"
    file.write_bytes(b"".join(orjson.dumps(entry(f"row {number}")) + b"\n" for number in range(ROWS)))
    return file


@contextmanager
def slow_appends(home: Home, books: Books) -> Iterator[None]:
    """Meanwhile the journal takes ten seconds at least: whoever breaks off its import comes in time."""
    with psycopg.connect(home.url(), autocommit=True) as owner:
        owner.execute(_TAKE_TIME)
        owner.execute(sql.SQL(_SLOW).format(books.tenant))
    try:
        yield
    finally:
        with psycopg.connect(home.url(), autocommit=True) as owner:
            owner.execute("DROP TRIGGER slow ON erp.events")


def require_once(books: Books, count: int) -> None:
    """Every row is in the books once, and numbers have no gap."""
    posted = books.events(POSTED)
    assert sorted(event["data"]["reference"] for event in posted) == sorted(f"row {n}" for n in range(count))
    assert [event["number"] for event in posted] == list(range(1, count + 1))


def test_a_tenant_and_a_token(home: Home, api: Api) -> None:
    """A tenant made beside the running API can be used at once, with the token that is printed last."""
    name = f"company {uuid4().hex[:8]}"
    assert "created" in ended(home.erp("tenant", "create", name, "--currency", "JPY"), 0)
    assert "already" in ended(home.erp("tenant", "create", name), 0)
    assert f"{name}\tJPY\tUTC\n" in ended(home.erp("tenant", "list"), 0)
    printed = ended(home.erp("token", "--tenant", name, "--user", "alice", "--roles", "accountant"), 0)
    headers = {"Authorization": f"Bearer {printed.splitlines()[-1]}"}
    accounts = httpx.get(f"{api.url}/v1/finance/accounts?limit=1000", headers=headers).json()["items"]
    assert {"1122", "6001"} <= {each["code"] for each in accounts}
    assert httpx.get(f"{api.url}/v1/finance/periods", headers=headers).json()["items"]
    controller = {"Authorization": f"Bearer {home.token(name)}"}
    mapping = httpx.get(f"{api.url}/v1/finance/account-mapping", headers=controller).json()
    assert set(mapping["accounts"].values()) <= {each["code"] for each in accounts}
    closed = httpx.post(f"{api.url}/v1/finance/accounts/1122/close", headers=headers)
    assert closed.status_code == 403


def test_a_tenant_with_nothing(home: Home, api: Api) -> None:
    """`--chart none` brings nothing."""
    name = f"bare-{uuid4().hex}"
    ended(home.erp("tenant", "create", name, "--chart", "none"), 0)
    headers = {"Authorization": f"Bearer {home.token(name)}"}
    for what in ("accounts", "periods"):
        assert httpx.get(f"{api.url}/v1/finance/{what}", headers=headers).json()["items"] == []


def test_wrong_usage(home: Home, tmp_path: Path) -> None:
    """2 for what cannot be meant, 1 for what cannot be done; one line each."""
    assert "Usage" in ended(home.erp("no-such-verb"), 2)
    ended(home.erp("token", "--tenant", "demo"), 2)
    ended(home.erp("tenant", "create", "a/b"), 2)
    ended(home.erp("tenant", "create", "x", "--currency", "XXX"), 2)
    ended(home.erp("api", "--port", "0"), 2)
    ended(home.erp("import", "journal", str(tmp_path / "nowhere"), "--tenant", "demo"), 2)
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    assert "no tenant" in ended(home.erp("import", "accounts", str(empty), "--tenant", "nobody"), 1)


def test_importing_accounts(home: Home, books: Books, tmp_path: Path) -> None:
    """Good rows are in the books, again they are there already, bad rows are named with why."""
    file = tmp_path / "chart.csv"
    file.write_text(CHART)
    assert "3 imported" in ended(home.erp("import", "accounts", str(file), "--tenant", books.name), 0)
    again = ended(home.erp("import", "accounts", str(file), "--tenant", books.name), 0)
    assert "0 imported, 3 were in the books already" in again
    shown = books.get("/v1/finance/accounts/1001")
    assert (shown["parent"], shown["currencies"]) == ("1000", ["EUR", "USD"])
    file.write_text(CHART + "5000,Rent,costs,,\n5001,,expense,,\n1122,Twice,asset,,\n5002,Good,expense,,\n")
    told = ended(home.erp("import", "accounts", str(file), "--tenant", books.name), 1)
    assert [line.split(":")[0] for line in told.splitlines() if line.startswith("row ")] == [
        "row 4",
        "row 5",
        "row 6",
    ]
    assert "1 imported, 3 were in the books already, 3 refused" in told


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"name,type\nCash,asset\n",
        b"\xff\xfe\x00",
        b'code,name,type\n1000,"Cash\n',
        b"\x00\n",
        b"a" * 200_000,
    ],
    ids=["empty", "no code", "no UTF-8", "quote without end", "NUL", "one long word"],
)
def test_importing_what_is_no_chart(home: Home, books: Books, tmp_path: Path, content: bytes) -> None:
    """One line, code 1, nothing stored."""
    file = tmp_path / "chart.csv"
    file.write_bytes(content)
    before = books.last
    ended(home.erp("import", "accounts", str(file), "--tenant", books.name), 1)
    assert books.last == before


def test_importing_a_journal_with_bad_rows(home: Home, books: Books, tmp_path: Path) -> None:
    """Bad rows are named with why and take no number; the others are in the books; mended ones follow."""
    good = [orjson.dumps(entry(f"row {number}")) for number in range(4)]
    bad = [b"{", b"[1]", orjson.dumps(entry(memo=1.5)), orjson.dumps(entry(posting_date="2026-02-30")),
           orjson.dumps(entry(currency="XYZ")), orjson.dumps(entry(posting_date="2030-01-01")),
           b'{"a":1,"a":2}', orjson.dumps({**entry(), "idempotency_key": 7})]  # fmt: skip
    file = tmp_path / "journal.ndjson"
    file.write_bytes(b"\n".join([*good[:2], b"", *bad, *good[2:]]))
    told = ended(home.erp("import", "journal", str(file), "--tenant", books.name, "--progress"), 1)
    named = [
        int(line.split(":")[0].removeprefix("row ")) for line in told.splitlines() if line.startswith("row ")
    ]
    assert named == list(range(4, 12))
    assert "4 imported, 0 were in the books already, 8 refused" in told
    require_once(books, 4)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_import_that_breaks_off(home: Home, books: Books, journal: Path, number: signal.Signals) -> None:
    """Started again it goes on where it was: nothing is doubled, nothing is left out."""
    with slow_appends(home, books):
        running = Process(home.path, "import", "journal", str(journal), "--tenant", books.name)
        try:
            until(lambda: books.last > 100 or not running.is_alive(), "some rows are in the books")
            running.signal(number)
            assert running.wait() != 0
        finally:
            running.end()
    assert "Traceback" not in running.output, running.output
    done = len(books.events(POSTED))
    assert 0 < done < ROWS
    told = ended(home.erp("import", "journal", str(journal), "--tenant", books.name), 0)
    assert f"{ROWS - done:,} imported, {done:,} were in the books already, 0 refused" in told
    require_once(books, ROWS)


def test_an_import_whose_database_goes_away(home: Home, api: Api, books: Books, journal: Path) -> None:
    """One line that says so; started again it goes on."""
    with slow_appends(home, books):
        running = Process(home.path, "import", "journal", str(journal), "--tenant", books.name)
        try:
            until(lambda: books.last > 100 or not running.is_alive(), "some rows are in the books")
            with postgres_stopped(home):
                time.sleep(OUT_OF_PATIENCE_S)
            assert running.wait() == 1
        finally:
            running.end()
        until(api.is_ready, "Postgres is back")
    assert "Traceback" not in running.output, running.output
    assert "erp: The event store cannot be reached." in running.output
    ended(home.erp("import", "journal", str(journal), "--tenant", books.name), 0)
    require_once(books, ROWS)


@pytest.fixture
def damaged(home: Home, books: Books) -> Iterator[int]:
    """The position of an event that was changed behind the store's back; mended afterwards."""
    position = books.post().json()["position"]
    with psycopg.connect(home.url(), autocommit=True) as owner:

        def change() -> None:
            owner.execute("ALTER TABLE erp.events DISABLE TRIGGER ALL")
            owner.execute(
                "UPDATE erp.events SET data = set_byte(data, 9, get_byte(data, 9) # 1) WHERE position = %s",
                [position],
            )
            owner.execute("ALTER TABLE erp.events ENABLE ALWAYS TRIGGER append_only_rows")
            owner.execute("ALTER TABLE erp.events ENABLE ALWAYS TRIGGER append_only_table")

        change()
        yield position
        change()


def test_verify_finds_a_changed_byte(home: Home, damaged: int) -> None:
    """Code 1 and one line that names the event."""
    done = home.erp("verify")
    ended(done, 1)
    assert [line for line in done.stderr.splitlines() if line.startswith("erp: ")] == [
        f"erp: position {damaged} does not fit: its bytes are not those that its leaf hash was made of"
    ]


def test_verify_of_a_sound_log(home: Home, books: Books) -> None:
    """Code 0, and how much was looked at; everything that these tests have done left the log sound."""
    ((count,),) = home.rows("SELECT count(*) FROM erp.events")
    assert f"{count:,} events" in ended(home.erp("verify"), 0)
