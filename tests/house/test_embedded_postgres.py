"""The embedded server: who starts it, who stops it, and what happens to it when somebody is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from erp.embedded import address
from erp.embedded.postgres import EmbeddedPostgres, PostgresError, embedded_postgres
from tests.waiting import until

pytestmark = pytest.mark.integration

AWKWARD = 'a "home" with $paces, comma\'s & ' + "x" * 80

USER = """
import sys
from pathlib import Path
from erp.embedded.postgres import EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1])):
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


def one(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def test_it_keeps_what_it_commits_and_speaks_utc_over_its_socket_only(home: Path) -> None:
    with embedded_postgres(home) as url:
        settings = [one(url, f"SHOW {name}") for name in ("fsync", "synchronous_commit", "TimeZone", "jit")]
        assert settings == ["on", "on", "UTC", "off"]
        assert one(url, "SHOW listen_addresses") == ""
        assert one(url, "SELECT current_database()") == "erp"
        assert str(one(url, "SHOW server_version")).startswith("18.")


def test_data_survives_stop_and_start(home: Path) -> None:
    with embedded_postgres(home) as url, psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    with embedded_postgres(home) as url:
        assert one(url, "SELECT answer FROM kept") == 42


def test_a_second_user_attaches_and_the_last_one_out_stops_it(home: Path) -> None:
    with EmbeddedPostgres(home) as first:
        pid = first.pid()
        second = another_process(home)
        assert first.pid() == pid
    assert first.pid() == pid, "the second user is still in"
    leave(second)
    assert first.pid() is None


def test_a_killed_user_does_not_count_any_more(home: Path) -> None:
    with EmbeddedPostgres(home) as server:
        killed = another_process(home)
        killed.kill()
        leave(killed)
    assert not server.is_alive()


def test_a_server_whose_only_user_was_killed_is_taken_over(home: Path) -> None:
    killed = another_process(home)
    server = EmbeddedPostgres(home)
    pid = server.pid()
    killed.kill()
    leave(killed)
    assert pid is not None
    with server:
        assert server.pid() == pid
    assert not server.is_alive()


def test_a_killed_server_recovers_what_was_committed(home: Path) -> None:
    with EmbeddedPostgres(home) as server:
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        pid = server.pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: not server.is_alive())
        assert server.ensure_running()
        assert one(server.url, "SELECT answer FROM kept") == 42
        assert not server.ensure_running(), "it is there already"


def test_a_data_directory_that_was_never_finished_is_made_again(home: Path) -> None:
    (home / "postgres.new" / "base").mkdir(parents=True)
    (home / "postgres.new" / "PG_VERSION").write_text("18\n")
    with embedded_postgres(home) as url:
        assert one(url, "SELECT 1") == 1


def test_what_is_no_data_directory_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "postgres" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("precious")
    with pytest.raises(PostgresError, match="is not a Postgres data directory"), embedded_postgres(tmp_path):
        pass
    assert mine.read_text() == "precious"


def test_a_broken_configuration_is_told_in_the_servers_words(home: Path) -> None:
    with embedded_postgres(home):
        pass
    config = home / "postgres" / "postgresql.conf"
    whole = config.read_text()
    config.write_text(whole + "\nno_such_setting = 1\n")
    with (
        pytest.raises(PostgresError, match=r"does not start: .*server\.log") as refused,
        embedded_postgres(home),
    ):
        pass
    assert "\n" not in str(refused.value)
    config.write_text(whole)


def test_a_home_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PostgresError, match="Not a directory"), embedded_postgres(tmp_path / "file" / "home"):
        pass


def test_it_works_where_the_path_is_long_and_awkward(home: Path) -> None:
    home = home / AWKWARD
    assert address.socket_dir(home).parent == Path("/tmp")  # noqa: S108  # the short place is the point
    with embedded_postgres(home) as url:
        assert one(url, "SELECT 1") == 1
    assert not address.socket_dir(home).exists()


def test_an_url_for_another_role_keeps_everything_else() -> None:
    url = address.url(Path("/home/some one/.erp"))
    assert address.with_user(url, "erp_app") == address.url(Path("/home/some one/.erp"), "erp_app")
    deployed = "postgresql://owner:p%40ss@db.example:5433/erp?sslmode=require"
    assert address.with_user(deployed, "erp_app", "a/b") == (
        "postgresql://erp_app:a%2Fb@db.example:5433/erp?sslmode=require"
    )
