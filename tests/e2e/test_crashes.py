"""kill -9, restarts and SIGTERM while clients post: nothing that was acknowledged is lost or done twice."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from erp.embedded.cluster import Cluster
from tests.e2e.load import Load
from tests.e2e.system import ENTRIES, Api, Books, Home, is_problem, postgres_stopped
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_kill_9_of_the_api_under_load(home: Home, api: Api, books: Books) -> None:
    """After a crash of the API every acknowledged command is there exactly once and is answered as before;
    the others are whole or absent; numbers have no gap and the log verifies.
    """
    with Load(books) as load:
        for _ in range(2):
            load.until_acknowledged(150)
            api.running.kill()
            api.start()
        load.until_acknowledged(50)
    assert load.unknown, "the crash met no command in flight: this test proved nothing"
    load.require_exactly_once()
    assert home.verified().misfit is None


def test_kill_9_of_postgres_under_load(home: Home, api: Api, books: Books) -> None:
    """A crash of Postgres is survived without a restart of the API: every request is answered, with 201 or
    with 503 and Retry-After, and nothing acknowledged is lost.
    """
    before = api.running.pid
    with Load(books) as load:
        load.until_acknowledged(150)
        postgres = Cluster(home.path).pid()
        assert postgres is not None
        os.kill(postgres, signal.SIGKILL)
        until(lambda: Cluster(home.path).pid() not in {None, postgres}, "Postgres is started again")
        load.until_acknowledged(150)
    assert api.running.pid == before
    assert api.running.is_alive()
    assert [told for told in load.refused if told.status != 503 or "retry-after" not in told.headers] == []
    assert len(load.unknown) == len(load.refused), "a connection to the API broke"
    load.require_exactly_once()
    assert home.verified().misfit is None


def test_connections_cut_under_load(home: Home, api: Api, books: Books) -> None:
    """Whenever the connections to Postgres are cut, also between a commit and its answer, nobody notices."""
    cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'erp_app'"
    with Load(books) as load:
        for _ in range(20):
            load.until_acknowledged(10)
            home.rows(cut)
        load.until_acknowledged(50)
    assert load.refused == []
    assert load.unknown == []
    load.require_exactly_once()
    assert home.verified().misfit is None


def test_orderly_stop_of_postgres_under_load(home: Home, api: Api, books: Books) -> None:
    """While Postgres is away commands and queries are answered 503 with Retry-After; when it is back the API
    goes on by itself.
    """
    with Load(books) as load, ThreadPoolExecutor(2) as clients:
        load.until_acknowledged(100)
        with postgres_stopped(home):
            told = [
                clients.submit(books.post, "while away"),
                clients.submit(books.send, "GET", "/v1/finance/accounts"),
            ]
            for answer in (each.result() for each in told):
                assert is_problem(answer, 503, "unavailable"), answer.text
                assert int(answer.headers["retry-after"]) >= 1
            until(lambda: len(load.refused) >= 3, "clients are told")
        until(api.is_ready, "ready again")
        load.until_acknowledged(100)
    assert {told.status for told in load.refused} == {503}
    load.require_exactly_once()
    assert home.verified().misfit is None


def test_sigterm_drains(home: Home, books: Books) -> None:
    """Every command that was taken is answered after SIGTERM, idle connections are closed, the exit code
    is 0.
    """
    with Api(home.path) as api, api.socket() as idle, ThreadPoolExecutor(16) as clients:
        there = books.by("alice", base_url=api.url)
        idle.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        answered = b""
        while not answered.endswith(b'{"status":"live"}'):
            answered += idle.recv(65536)
        there.get("/v1/finance/accounts")
        with home.appends_held():
            answers = [clients.submit(there.post, f"drained {number}") for number in range(16)]
            until(lambda: home.appends_waiting() and _in_flight(there) >= 16, "16 commands in flight")
            api.running.signal(signal.SIGTERM)
            assert idle.recv(1) == b"", "an idle connection outlives SIGTERM"
            until(lambda: not _accepts(api), "no new connections")
            assert api.running.is_alive(), "it ended with commands in flight"
        told = [answer.result(30) for answer in answers]
        assert [answer.status_code for answer in told] == [201] * 16
        assert {answer.headers.get("connection") for answer in told} == {"close"}
        assert api.running.wait() == 0
    positions = {event["position"] for event in books.events("finance.journal_entry.posted")}
    assert positions == {answer.json()["position"] for answer in told}
    assert "Traceback" not in api.running.output


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_under_load(home: Home, books: Books, workers: int) -> None:
    """SIGTERM among busy clients: exit code 0, nothing acknowledged is lost, nothing is done twice."""
    with Api(home.path, "--workers", str(workers)) as api:
        load = Load(books.by("alice", base_url=api.url))
        with load:
            load.until_acknowledged(150)
            assert api.running.terminate(30) == 0
            load.stop()
        assert load.refused == []
        assert "Traceback" not in api.running.output, api.running.output
        api.start()
        load.require_exactly_once()


def test_a_client_that_stalls_does_not_hold_up_the_end(home: Home, books: Books) -> None:
    """Half a request, never continued, delays the end by the drain timeout and no longer."""
    with Api(home.path, ERP_HTTP__DRAIN_TIMEOUT_S="1") as api, api.socket() as stalled:
        head = f"POST {ENTRIES} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {books.token}\r\n"
        stalled.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{{".encode())
        time.sleep(0.2)
        began = time.monotonic()
        assert api.running.terminate(30) == 0
        assert time.monotonic() - began < 10


def _accepts(api: Api) -> bool:
    try:
        api.socket().close()
    except OSError:
        return False
    return True


def _in_flight(books: Books) -> int:
    text = books.send("GET", "/metrics").text
    return int(
        sum(
            float(line.split()[-1])
            for line in text.splitlines()
            if line.startswith("erp_http_requests_in_flight ")
        )
    )
