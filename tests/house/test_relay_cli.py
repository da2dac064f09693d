"""`erp relay`, alone and under `erp up`: started, watched, told what is wrong, and nothing left behind."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from erp.bootstrap import create_relay, kafka_options, kafka_topics
from erp.embedded import address
from erp.embedded.kafka import EmbeddedKafka
from erp.embedded.postgres import EmbeddedPostgres
from erp.relay_metrics import RelayMetrics
from erp.settings import KafkaSettings, SettingsError, load_settings
from eventstore.relay import RelayStatus
from tests.house.test_up import Running, free_port, until

DEPLOYED = {
    "ERP_POSTGRES__URL": "postgresql://erp_app@db/erp",
    "ERP_POSTGRES__RELAY_URL": "postgresql://erp_relay@db/erp",
    "ERP_AUTH__KEYS": '[{"kid": "a", "alg": "HS256", "key": "0123456789abcdefghijklmnopqrstuv"}]',
    "ERP_KAFKA__BOOTSTRAP": "one:9092,two:9092",
}


def published(home: Path) -> int:
    with psycopg.connect(address.url(home)) as connection:
        row = connection.execute("SELECT position FROM erp.relay").fetchone()
    assert row is not None
    return int(row[0])


def last_position(home: Path) -> int:
    with psycopg.connect(address.url(home)) as connection:
        row = connection.execute("SELECT max(position) FROM erp.events").fetchone()
    assert row is not None
    return int(row[0])


def child(up: Running, verb: str) -> psutil.Process | None:
    """The child that runs `erp VERB`; `saga` is the worker of that role, and no other."""
    for process in psutil.Process(up.process.pid).children():
        try:
            words = process.cmdline()
            if verb in words and (verb == "saga") == ("saga" in words):
                return process
        except psutil.Error:
            continue
    return None


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in DEPLOYED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
def up(home: Path) -> Iterator[Running]:
    with Running(home, "up", "--port", str(free_port())) as running:
        until(lambda: "Try it" in running.output(), running)
        yield running


@pytest.mark.slow
@pytest.mark.e2e
def test_under_up_it_publishes_and_comes_back_like_the_broker(up: Running, home: Path) -> None:
    kafka = EmbeddedKafka(home)
    until(lambda: published(home) == last_position(home) > 0, up)
    bootstrap, pid = kafka.bootstrap, kafka.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: kafka.pid() not in {None, pid}, up)
    assert kafka.bootstrap == bootstrap

    relay = child(up, "relay")
    assert relay is not None
    relay.kill()
    until(lambda: child(up, "relay") not in {None, relay}, up)
    assert "the relay ended with code -9; starting it again in 0.5 s" in up.output()

    before = last_position(home)
    subprocess.run(
        [sys.executable, "-m", "erp", "tenant", "create", "another"],
        env={**os.environ, "ERP_HOME": str(home)},
        check=True,
        capture_output=True,
        timeout=60,
    )
    until(lambda: published(home) == last_position(home) > before, up)
    assert up.end(signal.SIGTERM) == 0
    assert not kafka.is_alive()
    assert not EmbeddedPostgres(home).is_alive()


@pytest.mark.slow
@pytest.mark.e2e
def test_a_killed_supervisor_leaves_no_relay_and_no_broker(up: Running, home: Path) -> None:
    relay = child(up, "relay")
    assert relay is not None
    up.process.kill()
    up.process.wait(60)
    until(lambda: not relay.is_running() or relay.status() == psutil.STATUS_ZOMBIE)
    until(lambda: not EmbeddedKafka(home).is_alive() and not EmbeddedPostgres(home).is_alive())


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.parametrize("verb", [["relay"], ["worker"], ["worker", "--role", "saga"], ["api"]], ids=" ".join)
def test_a_port_that_is_taken_is_told_in_a_line(home: Path, verb: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        option = "--port" if verb == ["api"] else "--metrics-port"
        running = Running(home, *verb, option, port)
        assert running.process.wait(120) == 1
    assert "Traceback" not in running.output()
    assert "in use" in running.output()


@pytest.mark.slow
@pytest.mark.e2e
def test_alone_it_brings_its_own_servers_and_serves_metrics(home: Path) -> None:
    port = free_port()

    def metrics() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            text: str = answer.read().decode()
            return text

    with Running(home, "relay", "--metrics-port", str(port)) as running:
        until(lambda: "active: publishing after position 0" in running.output(), running)
        until(lambda: "erp_relay_kafka_connected 1.0" in metrics(), running)
        pid = EmbeddedKafka(home).pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: EmbeddedKafka(home).pid() not in {None, pid}, running)
        began = time.monotonic()
        assert running.end(signal.SIGTERM) == 0
        assert time.monotonic() - began < 20
    assert not EmbeddedKafka(home).is_alive()
    assert not EmbeddedPostgres(home).is_alive()


@pytest.mark.slow
@pytest.mark.e2e
def test_a_checkpoint_beyond_the_log_is_one_line_and_starting_over_mends_it(home: Path) -> None:
    from eventstore.migrate import migrate

    with EmbeddedPostgres(home) as server:
        migrate(server.url)
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("UPDATE erp.relay SET position = 7")
        with Running(home, "relay") as refused:
            assert refused.process.wait(60) == 1
        lines = refused.output().splitlines()
        assert lines[-1].startswith("erp: 7 events are published and the log has 0: Postgres was restored")
        assert "Traceback" not in refused.output()

        with Running(home, "relay", "--from-start") as again:
            until(lambda: "active: publishing after position 0" in again.output(), again)
            assert again.end(signal.SIGINT) == 0
        assert published(home) == 0


def test_a_deployed_relay_needs_to_know_where_kafka_is(deployed: pytest.MonkeyPatch) -> None:
    assert kafka_options(load_settings()).bootstrap() == "one:9092,two:9092"
    deployed.delenv("ERP_KAFKA__BOOTSTRAP")
    with pytest.raises(SettingsError, match="ERP_KAFKA__BOOTSTRAP is missing"):
        kafka_options(load_settings())


@pytest.mark.usefixtures("deployed")
def test_a_deployed_relay_needs_a_key_to_sign_with() -> None:
    with pytest.raises(SettingsError, match="ERP_AUDIT__KEYS"):
        create_relay(load_settings())


def test_tree_heads_are_not_signed_with_a_shared_secret(deployed: pytest.MonkeyPatch) -> None:
    deployed.setenv("ERP_AUDIT__KEYS", DEPLOYED["ERP_AUTH__KEYS"])
    with pytest.raises(SettingsError, match="tree heads are signed with EdDSA keys"):
        load_settings()


@pytest.mark.parametrize("wrong", ["localhost", "a:1;b:2", "a:1,", "a:x"])
def test_a_bootstrap_that_is_none_is_refused(deployed: pytest.MonkeyPatch, wrong: str) -> None:
    deployed.setenv("ERP_KAFKA__BOOTSTRAP", wrong)
    with pytest.raises(SettingsError, match="ERP_KAFKA__BOOTSTRAP"):
        load_settings()


def test_an_embedded_home_makes_its_key_for_tree_heads_once(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ERP_HOME", str(home))
    first, second = load_settings(), load_settings()
    assert first.audit.signing_key is not None
    assert first.audit == second.audit
    assert first.audit.signing_key.kid not in {key.kid for key in first.auth.keys}
    assert ((home / "tree-head-keys.json").stat().st_mode & 0o777) == 0o600


def test_ways_into_kafka_are_passed_on(deployed: pytest.MonkeyPatch) -> None:
    deployed.setenv("ERP_KAFKA__SECURITY_PROTOCOL", "SASL_SSL")
    deployed.setenv("ERP_KAFKA__USERNAME", "relay")
    deployed.setenv("ERP_KAFKA__PASSWORD", "correct horse")
    settings = load_settings()
    assert "correct horse" not in repr(settings)
    given: dict[str, Any] = kafka_options(settings).connection()
    assert given["sasl_mechanism"] == "SCRAM-SHA-512"
    assert given["ssl_context"] is not None
    assert given["sasl_plain_password"] == "correct horse"
    deployed.setenv("ERP_KAFKA__CA_FILE", "/nowhere.pem")
    with pytest.raises(SettingsError, match="ERP_KAFKA__CA_FILE"):
        kafka_options(load_settings())
    assert "sasl_mechanism" not in kafka_options(settings.model_copy(update={"kafka": PLAIN})).connection()


PLAIN = KafkaSettings(bootstrap="one:9092")


def test_every_aggregate_has_its_topic(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("ERP_HOME", str(home))
    assert kafka_topics(load_settings()) == {
        "erp.finance.account": 4,
        "erp.finance.fiscal_calendar": 4,
        "erp.finance.account_mapping": 4,
        "erp.finance.approval_policy": 4,
        "erp.finance.journal_entry": 4,
        "erp.payments.payment": 4,
        "erp.inventory.item": 4,
        "erp.inventory.stock": 4,
        "erp.sales.order": 4,
        "erp.sales.pricing_policy": 4,
        "erp.sagas.order_to_cash": 4,
        "erp.sagas.inventory_voucher": 4,
        "erp.sagas.reservation_expiry": 4,
    }


def test_metrics_say_how_far_it_is() -> None:
    registry = CollectorRegistry()
    registry.register(
        RelayMetrics(RelayStatus(active=True, position=7, last_position=9, lag_s=0.5, events=8))
    )
    text = generate_latest(registry).decode()
    for line in (
        "erp_relay_active 1.0",
        "erp_relay_position 7.0",
        "erp_relay_lag_events 2.0",
        "erp_relay_lag_seconds 0.5",
        "erp_relay_events_total 8.0",
    ):
        assert f"\n{line}\n" in text
