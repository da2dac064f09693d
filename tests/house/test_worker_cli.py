"""`erp worker`, alone and under `erp up`: started, watched, told what is wrong, and nothing left behind."""

import base64
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from erp.bootstrap import create_saga_worker, create_worker, kafka_topics
from erp.embedded import address
from erp.embedded.clickhouse import EmbeddedClickhouse
from erp.embedded.kafka import EmbeddedKafka
from erp.embedded.postgres import EmbeddedPostgres
from erp.saga_metrics import SagaMetrics
from erp.settings import Settings, SettingsError, load_settings
from erp.worker_metrics import WorkerMetrics
from tests.house.test_relay_cli import DEPLOYED as RELAY_DEPLOYED
from tests.house.test_relay_cli import child, last_position
from tests.house.test_up import Running, free_port, until

DEPLOYED = {
    **RELAY_DEPLOYED,
    "ERP_POSTGRES__WORKER_URL": "postgresql://erp_worker@db/erp",
    "ERP_POSTGRES__SAGA_URL": "postgresql://erp_saga@db/erp",
    "ERP_PERSONAL__KEY": base64.b64encode(bytes(range(32))).decode(),
    "ERP_CLICKHOUSE__URL": "http://erp:secret@ch:8123/erp",
}


def projected(home: Path) -> int:
    """The position up to which every projection that answers is."""
    with psycopg.connect(address.url(home)) as connection:
        row = connection.execute(
            """SELECT coalesce(min(g.position), 0) FROM erp.projections p
                 JOIN erp.projection_generations g
                   ON (g.projection, g.generation) = (p.projection, p.serving)
                WHERE g.definition->>'step' = '1'"""
        ).fetchone()
    assert row is not None
    return int(row[0])


def add_a_company(home: Path, name: str) -> None:
    """Some thirty events."""
    subprocess.run(
        [sys.executable, "-m", "erp", "tenant", "create", name],
        env={**os.environ, "ERP_HOME": str(home)},
        check=True,
        capture_output=True,
        timeout=60,
    )


def metrics(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        lines: list[str] = answer.read().decode().splitlines()
    return {line.split()[0]: float(line.split()[1]) for line in lines if not line.startswith("#")}


@pytest.fixture
def up(home: Path) -> Iterator[Running]:
    with Running(home, "up", "--port", str(free_port())) as running:
        until(lambda: "Try it" in running.output(), running)
        yield running


@pytest.mark.slow
@pytest.mark.e2e
def test_under_up_projections_follow_the_log_whatever_is_killed(up: Running, home: Path) -> None:
    clickhouse = EmbeddedClickhouse(home)
    until(lambda: projected(home) == last_position(home) > 0, up)

    worker, pid = child(up, "worker"), clickhouse.pid()
    assert worker is not None
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    worker.kill()
    until(lambda: clickhouse.pid() not in {None, pid} and child(up, "worker") not in {None, worker}, up)
    assert "the worker ended with code -9; starting it again in 0.5 s" in up.output()
    add_a_company(home, "another")
    until(lambda: projected(home) == last_position(home), up)

    began = time.monotonic()
    assert up.end(signal.SIGTERM) == 0
    assert time.monotonic() - began < 30
    assert not clickhouse.is_alive()
    assert not EmbeddedKafka(home).is_alive()
    assert not EmbeddedPostgres(home).is_alive()
    assert "Traceback" not in up.output()


@pytest.mark.slow
@pytest.mark.e2e
def test_a_killed_supervisor_leaves_no_worker_and_no_clickhouse(up: Running, home: Path) -> None:
    worker = child(up, "worker")
    assert worker is not None
    up.process.kill()
    up.process.wait(60)
    until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    until(lambda: not EmbeddedClickhouse(home).is_alive() and not EmbeddedPostgres(home).is_alive())


@pytest.mark.slow
@pytest.mark.e2e
def test_under_up_a_killed_saga_worker_comes_back(up: Running) -> None:
    saga = child(up, "saga")
    assert saga is not None
    saga.kill()
    until(lambda: child(up, "saga") not in {None, saga}, up)
    until(lambda: "the saga worker ended with code -9; starting it again in 0.5 s" in up.output(), up)


@pytest.mark.slow
@pytest.mark.e2e
def test_alone_it_brings_its_own_servers_serves_metrics_and_ends_quickly(home: Path) -> None:
    port = free_port()
    with Running(home, "worker", "--metrics-port", str(port)) as running:
        partitions = sum(kafka_topics(Settings()).values())
        until(lambda: f"has {partitions} partitions of Kafka's topics" in running.output(), running)
        add_a_company(home, "someone")
        # No relay runs: what does not come by Kafka is fetched from the store.
        until(lambda: projected(home) == last_position(home) > 0, running)
        last = last_position(home)
        until(lambda: metrics(port)["erp_worker_position"] == last, running)
        until(lambda: metrics(port)['erp_projection_position{projection="finance_lines"}'] == last, running)
        found = metrics(port)
        assert found["erp_worker_kafka_connected"] == found["erp_worker_projector"] == 1
        assert found["erp_worker_healed_events_total"] == last

        pid = EmbeddedClickhouse(home).pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: EmbeddedClickhouse(home).pid() not in {None, pid}, running)
        assert running.end(signal.SIGTERM) == 0
    assert not EmbeddedClickhouse(home).is_alive()
    assert not EmbeddedKafka(home).is_alive()
    assert not EmbeddedPostgres(home).is_alive()
    assert "Traceback" not in running.output()


@pytest.mark.e2e
def test_the_saga_worker_needs_no_clickhouse_serves_metrics_and_ends_quickly(home: Path) -> None:
    port = free_port()
    with Running(home, "worker", "--role", "saga", "--metrics-port", str(port)) as running:
        until(lambda: metrics_are_there(port), running)
        until(lambda: metrics(port)["erp_saga_healer"] == 1, running)
        assert not EmbeddedClickhouse(home).is_alive()
        assert metrics(port)["erp_saga_dead_letters"] == 0
        assert running.end(signal.SIGTERM) == 0
    assert not EmbeddedKafka(home).is_alive()
    assert not EmbeddedPostgres(home).is_alive()
    assert "Traceback" not in running.output()


def metrics_are_there(port: int) -> bool:
    try:
        return bool(metrics(port))
    except OSError:
        return False


@pytest.mark.parametrize("missing", ["ERP_POSTGRES__SAGA_URL", "ERP_KAFKA__BOOTSTRAP", "ERP_PERSONAL__KEY"])
def test_a_deployed_saga_worker_needs_to_know_more(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    for name, value in DEPLOYED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(missing)
    with pytest.raises(SettingsError, match=missing):
        create_saga_worker(load_settings())


@pytest.mark.parametrize(
    "missing", ["ERP_POSTGRES__WORKER_URL", "ERP_CLICKHOUSE__URL", "ERP_KAFKA__BOOTSTRAP"]
)
def test_a_deployed_one_needs_to_know_where_things_are(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    for name, value in DEPLOYED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(missing)
    with pytest.raises(SettingsError, match=missing):
        create_worker(load_settings())


async def test_the_group_settles_as_fast_as_the_broker_lets_it(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setenv("ERP_HOME", str(home))
    assert create_worker(load_settings()).stream.session_timeout_s == 3
    for name, value in DEPLOYED.items():
        monkeypatch.setenv(name, value)
    assert create_worker(load_settings()).stream.session_timeout_s == 6
    monkeypatch.setenv("ERP_WORKER__SESSION_TIMEOUT_S", "10")
    monkeypatch.setenv("ERP_KAFKA__TOPIC_PREFIX", "other")
    stream = create_worker(load_settings()).stream
    assert stream.session_timeout_s == 10
    assert stream.group == "other-read"
    assert "other.finance.journal_entry" in stream.topics


async def test_metrics_say_how_far_it_is(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("ERP_HOME", str(home))
    worker = create_worker(load_settings())
    worker.status.partitions = 4
    worker.ingest.status.events = 8
    worker.projector.status.position, worker.projector.status.head = 7, 9
    registry = CollectorRegistry()
    registry.register(WorkerMetrics(worker))
    text = generate_latest(registry).decode()
    for line in (
        "erp_worker_partitions 4.0",
        "erp_worker_position 7.0",
        "erp_worker_lag_events 2.0",
        "erp_worker_events_total 8.0",
    ):
        assert f"\n{line}\n" in text


async def test_metrics_say_what_sagas_do(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("ERP_HOME", str(home))
    worker = create_saga_worker(load_settings())
    worker.status.heard, worker.status.letters = 5, 2
    for seconds in (0.004, 0.004, 0.02, 60.0):
        worker.status.turn.note(seconds)
    registry = CollectorRegistry()
    registry.register(SagaMetrics(worker))
    text = generate_latest(registry).decode()
    for line in (
        "erp_saga_heard_events_total 5.0",
        "erp_saga_dead_letters 2.0",
        'erp_saga_turn_seconds_bucket{le="0.005"} 2.0',
        'erp_saga_turn_seconds_bucket{le="0.025"} 3.0',
        'erp_saga_turn_seconds_bucket{le="+Inf"} 4.0',
        "erp_saga_turn_seconds_count 4.0",
    ):
        assert f"\n{line}\n" in text
