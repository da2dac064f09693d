"""The server's process: who starts it, who stops it, and what is left when somebody is killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import Error

from erp.embedded.clickhouse import ClickhouseError, EmbeddedClickhouse, embedded_clickhouse, kept_up, place
from tests.embedded_clickhouse.conftest import Raw, running
from tests.waiting import until

pytestmark = pytest.mark.integration

AWKWARD = 'a "home" with $paces, comma\'s & ?=%41;' + "x" * 80

USER = """
import sys
from pathlib import Path
from erp.embedded.clickhouse import EmbeddedClickhouse
with EmbeddedClickhouse(Path(sys.argv[1])):
    print("in", flush=True)
    sys.stdin.read()
"""


def another_process(home: Path) -> subprocess.Popen[bytes]:
    """A second user of the home's server, in once this returns; it leaves when its stdin closes."""
    process = subprocess.Popen(
        [sys.executable, "-c", USER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"in\n"
    return process


def leave(process: subprocess.Popen[bytes]) -> None:
    process.communicate(timeout=60)


def kill(server: EmbeddedClickhouse) -> None:
    pid = server.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: not server.is_alive())


def one(url: str, query: str) -> Any:
    with clickhouse_connect.get_client(dsn=url) as client:
        return client.command(query)


def test_data_survive_stop_and_start_and_so_do_url_and_instance(own_home: Path) -> None:
    with EmbeddedClickhouse(own_home) as server:
        one(server.url, "CREATE TABLE kept (n Int8) ENGINE = MergeTree ORDER BY n")
        one(server.url, "INSERT INTO kept VALUES (42)")
        url, instance = server.url, server.instance
    assert not server.is_alive()
    with EmbeddedClickhouse(own_home) as server:
        assert one(server.url, "SELECT n FROM kept") == 42
        assert (server.url, server.instance) == (url, instance)
        assert one(server.url, "SELECT erpInstance()") == instance


def test_a_wiped_folder_is_another_instance(own_home: Path) -> None:
    import shutil

    with EmbeddedClickhouse(own_home) as server:
        before = server.instance
    shutil.rmtree(own_home / "clickhouse")
    with EmbeddedClickhouse(own_home) as server:
        assert one(server.url, "SELECT erpInstance()") == server.instance != before


def test_a_second_user_attaches_and_the_last_one_out_stops_it(own_home: Path) -> None:
    with EmbeddedClickhouse(own_home) as first:
        pid = first.pid()
        second = another_process(own_home)
        assert first.pid() == pid
    assert first.pid() == pid, "the second user is still in"
    leave(second)
    assert first.pid() is None


def test_a_killed_user_does_not_count_any_more(own_home: Path) -> None:
    with EmbeddedClickhouse(own_home) as server:
        killed = another_process(own_home)
        killed.kill()
        leave(killed)
    assert not server.is_alive()


def test_a_server_whose_users_were_killed_is_taken_over_or_ends_by_itself(own_home: Path) -> None:
    server = EmbeddedClickhouse(own_home)
    killed = another_process(own_home)
    pid = server.pid()
    killed.kill()
    leave(killed)
    with server:  # whether it was taken over or had just ended, it serves
        assert one(server.url, "SELECT 1") == 1
        assert server.pid() is not None
    killed = another_process(own_home)
    killed.kill()
    leave(killed)
    until(lambda: not server.is_alive())
    assert pid is not None


def test_a_second_server_on_one_folder_is_refused(own_home: Path) -> None:
    """By the engine too, should a lock of ours ever be missing."""
    with EmbeddedClickhouse(own_home) as server:
        done = subprocess.run(
            [sys.executable, "-c", "from erp.embedded.clickhouse.engine import Engine as E\nE('.')"],
            cwd=own_home,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=False,
        )
        assert done.returncode != 0
        assert b"Another server instance in same directory is already running" in done.stderr
        assert one(server.url, "SELECT 1") == 1


def test_a_killed_server_loses_nothing_it_has_acknowledged(own_home: Path) -> None:
    """Four writers; kill -9 in the middle, three times; every row that was acknowledged is there, once."""
    acknowledged: list[list[int]] = [[] for _ in range(4)]
    over = threading.Event()

    def write(writer: int) -> None:
        number = 0
        client = None
        while not over.is_set():
            try:
                client = client or clickhouse_connect.get_client(dsn=server.url, connect_timeout=1)
                rows = [[writer] * 500, list(range(number, number + 500))]
                number += 500  # never again, whether it arrived or not
                client.insert("t", rows, column_names=["writer", "n"], column_oriented=True)
                acknowledged[writer].append(number - 500)
            except (Error, ClickhouseError):
                time.sleep(0.05)
        if client is not None:
            client.close()

    with EmbeddedClickhouse(own_home) as server, kept_up(server, interval_s=0.05):
        one(server.url, "CREATE TABLE t (writer UInt8, n UInt64) ENGINE = MergeTree ORDER BY (writer, n)")
        threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            done = sum(map(len, acknowledged))
            until(lambda done=done: sum(map(len, acknowledged)) > done + 40)  # type: ignore[misc]
            kill(server)
        done = sum(map(len, acknowledged))
        until(lambda: sum(map(len, acknowledged)) > done + 20)
        over.set()
        for thread in threads:
            thread.join()
        with clickhouse_connect.get_client(dsn=server.url) as client:
            found = client.query(
                "SELECT writer, intDiv(n, 500) * 500 AS batch, count() FROM t GROUP BY ALL"
            ).result_rows
    counts = {(writer, batch): count for writer, batch, count in found}
    assert set(counts.values()) == {500}, "an insert is there whole or not at all"
    missing = [
        (w, batch) for w, batches in enumerate(acknowledged) for batch in batches if (w, batch) not in counts
    ]
    assert missing == []


def test_ddl_that_was_acknowledged_survives_a_kill(own_home: Path) -> None:
    with EmbeddedClickhouse(own_home) as server:
        for turn in range(5):
            one(server.url, f"CREATE TABLE t{turn} (n Int8) ENGINE = MergeTree ORDER BY n")
            one(server.url, f"INSERT INTO t{turn} VALUES ({turn})")
            if turn:
                one(server.url, f"EXCHANGE TABLES t{turn} AND t{turn - 1}")
            kill(server)
            assert server.ensure_running()
            expected = [*range(1, turn + 1), 0]
            found = [one(server.url, f"SELECT n FROM t{n}") for n in range(turn + 1)]
            assert found == expected


def test_a_killed_server_comes_back_on_its_port(own_home: Path) -> None:
    with EmbeddedClickhouse(own_home) as server:
        url = server.url
        kill(server)
        assert server.ensure_running()
        assert not server.ensure_running(), "it is there already"
        assert server.url == url
        assert one(url, "SELECT 1") == 1


def test_a_port_that_is_taken_meanwhile_is_given_up(own_home: Path) -> None:
    import socket

    with EmbeddedClickhouse(own_home) as server:
        before = place.address(server.home)
    assert before is not None
    with socket.socket() as taken:
        taken.bind((place.HOST, before.port))
        taken.listen()
        with EmbeddedClickhouse(own_home) as server:
            after = place.address(server.home)
            assert after is not None
            assert (after.port != before.port, after.password) == (True, before.password)
            assert one(server.url, "SELECT 1") == 1


def test_told_to_end_it_lets_queries_finish(own_home: Path) -> None:
    with EmbeddedClickhouse(own_home) as server:
        answers: list[Any] = []
        slow = threading.Thread(target=lambda: answers.append(one(server.url, "SELECT sleep(3), 7")))
        slow.start()
        raw = Raw(server.url)
        until(lambda: running(raw, "sleep(3)"))
        pid = server.pid()
        assert pid is not None
        os.kill(pid, signal.SIGTERM)
        slow.join()
        assert answers == [["0", "7"]]
        until(lambda: not server.is_alive())


def test_what_is_the_owners_is_for_the_owner_only(own_home: Path) -> None:
    with embedded_clickhouse(own_home):
        for name in ("clickhouse.json", "clickhouse", "clickhouse.log"):
            assert (own_home / name).stat().st_mode & 0o077 == 0, name


def test_it_works_where_the_path_is_long_and_awkward(own_home: Path) -> None:
    with embedded_clickhouse(own_home / AWKWARD) as url:
        assert one(url, "SELECT 1") == 1
    assert (own_home / AWKWARD / "clickhouse" / "instance").exists()


def test_a_home_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ClickhouseError, match="Not a directory"),
        embedded_clickhouse(tmp_path / "file" / "home"),
    ):
        pass


def test_a_folder_that_cannot_be_read_is_told_in_one_line(own_home: Path) -> None:
    own_home.mkdir()
    (own_home / "clickhouse").write_text("not a folder")
    with pytest.raises(ClickhouseError, match="does not start: ") as refused, embedded_clickhouse(own_home):
        pass
    assert "\n" not in str(refused.value)


def test_no_url_before_the_first_start(own_home: Path) -> None:
    with pytest.raises(ClickhouseError, match="has been started"):
        _ = EmbeddedClickhouse(own_home).url
