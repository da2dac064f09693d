"""Personal data: opened by nobody without its key, and by nobody at all once that is gone."""

import asyncio
import json
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.errors import CheckViolation, InsufficientPrivilege

from domain.shared.aggregate import Aggregate, event
from domain.shared.personal import Personal
from erp.embedded.address import with_user
from eventstore.codec import Codec
from eventstore.migrate import migrate
from eventstore.store import EventStore, StoreOptions
from eventstore.vault import REMEMBERED_S, NotAsSealed, Vault, WrongMasterKey
from tests.eventstore.conftest import MakeTenant, new_tenant
from tests.waiting import WAIT_S

pytestmark = pytest.mark.integration

MASTER, OTHER_MASTER = bytes(range(32)), bytes(range(32, 64))
ADDRESS = {"name": "Erika Mustermann", "line1": "Heidestraße 17", "city": "Köln"}


class Card(Aggregate):
    """Says where somebody lives."""

    TOPIC = "test.card"

    address: Personal[dict[str, str]] | None = None
    moves: int = 0

    class Moved(Aggregate.Event):
        """They live elsewhere now."""

        TOPIC = "test.card.moved"
        address: Personal[dict[str, str]]

    @event(Moved)
    def move(self, address: Personal[dict[str, str]]) -> None:
        """To this address."""
        self.address = address
        self.moves += 1


class Time:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def vault(store: EventStore, time: Time) -> Vault:
    return Vault(store.rows, MASTER, clock=time)


@pytest.fixture
def owner(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """Who may delete keys."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


def forget(owner: psycopg.Connection[Any], tenant: UUID, subject: str) -> None:
    deleted = owner.execute(
        "DELETE FROM erp.subject_keys WHERE tenant = %s AND subject = %s", [tenant, subject]
    )
    assert deleted.rowcount == 1


async def test_what_is_sealed_opens_again(store: EventStore, vault: Vault, tenant: UUID) -> None:
    """In any process that has the master key; and says whom it is about, and nothing else."""
    sealed = await vault.seal(tenant, "c-1", ADDRESS)
    assert sealed.subject == "c-1"
    for opener in (vault, Vault(store.rows, MASTER)):
        assert await opener.open(tenant, sealed) == ADDRESS
    shown = repr(sealed).encode() + b64decode(sealed.sealed)
    assert not any(value.encode() in shown for value in ADDRESS.values())


async def test_a_person_has_one_key_and_two_have_two(vault: Vault, tenant: UUID) -> None:
    first, again, other = [await vault.seal(tenant, who, ADDRESS) for who in ("c-1", "c-1", "c-2")]
    assert first.key == again.key != other.key


async def test_no_nonce_is_used_twice(vault: Vault, tenant: UUID, owner: psycopg.Connection[Any]) -> None:
    """Neither for the same data nor for keys."""
    sealed = [b64decode((await vault.seal(tenant, "c-1", ADDRESS)).sealed) for _ in range(500)]
    for n in range(20):
        await vault.seal(tenant, f"c-{n}", ADDRESS)
    rows = owner.execute("SELECT wrapped FROM erp.subject_keys WHERE tenant = %s", [tenant]).fetchall()
    for found in (sealed, [wrapped for (wrapped,) in rows]):
        assert len({each[:12] for each in found}) == len(found)


async def test_without_its_key_it_is_gone(
    vault: Vault, tenant: UUID, owner: psycopg.Connection[Any], time: Time
) -> None:
    """A process that remembers the key goes on for `REMEMBERED_S` seconds; a new key opens nothing older."""
    sealed = await vault.seal(tenant, "c-1", ADDRESS)
    forget(owner, tenant, "c-1")
    time.s = REMEMBERED_S - 0.1
    assert await vault.open(tenant, sealed) == ADDRESS
    time.s = REMEMBERED_S
    assert await vault.open(tenant, sealed) is None
    newer = await vault.seal(tenant, "c-1", ADDRESS)
    assert newer.key != sealed.key
    assert await vault.open(tenant, sealed) is None
    assert await vault.open(tenant, newer) == ADDRESS


async def test_another_tenant_opens_nothing(
    vault: Vault, tenant: UUID, make_tenant: MakeTenant, owner: psycopg.Connection[Any], time: Time
) -> None:
    """Not with a key of their own for the same subject, and not with the very row of the other's key."""
    other = make_tenant()
    sealed = await vault.seal(tenant, "c-1", ADDRESS)
    assert await vault.open(other, sealed) is None
    await vault.seal(other, "c-1", ADDRESS)
    assert await vault.open(other, sealed) is None
    forget(owner, other, "c-1")
    owner.execute(
        "INSERT INTO erp.subject_keys SELECT %s, subject, key, wrapped, master FROM erp.subject_keys"
        " WHERE tenant = %s",
        [other, tenant],
    )
    time.s = REMEMBERED_S
    with pytest.raises(WrongMasterKey):
        await vault.open(other, sealed)


async def test_nobody_elses_data_can_be_put_in_its_place(vault: Vault, tenant: UUID) -> None:
    """It is bound to its subject and its key; and a changed bit is noticed."""
    one, other = await vault.seal(tenant, "c-1", ADDRESS), await vault.seal(tenant, "c-2", ADDRESS)
    raw = bytearray(b64decode(one.sealed))
    raw[20] ^= 1
    changed = [other.sealed, b64encode(bytes(raw)).decode(), "", "no base64!", one.sealed[:8]]
    for sealed in changed:
        with pytest.raises(NotAsSealed):
            await vault.open(tenant, replace(one, sealed=sealed))
    assert await vault.open(tenant, replace(one, subject="c-2")) is None
    assert await vault.open(tenant, replace(one, key=uuid4())) is None


async def test_a_vault_remembers_so_many_keys_and_no_more(
    vault: Vault, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest are asked for again."""
    monkeypatch.setattr("eventstore.vault._REMEMBERED_MAX", 3)
    sealed = [await vault.seal(tenant, f"c-{n}", ADDRESS) for n in range(5)]
    assert [subject for _, subject in vault._remembered] == ["c-2", "c-3", "c-4"]
    assert await vault.open(tenant, sealed[0]) == ADDRESS


RACER = """
import asyncio, json, sys
from uuid import UUID
from eventstore.codec import Codec
from eventstore.store import EventStore
from eventstore.vault import Vault

async def main(url, tenant):
    async with EventStore(url, Codec([])) as store:
        vault = Vault(store.rows, bytes(range(32)))
        await store.ping()
        print("ready", flush=True)
        sys.stdin.readline()
        sealed = await asyncio.gather(*(vault.seal(UUID(tenant), f"c-{n}", {"n": str(n)}) for n in range(40)))
        print(json.dumps([[each.subject, str(each.key), each.sealed] for each in sealed]))

asyncio.run(main(*sys.argv[1:]))
"""


@contextmanager
def racer(url: str, tenant: UUID) -> "Iterator[subprocess.Popen[str]]":
    """One that is gone after the block."""
    with subprocess.Popen(
        [sys.executable, "-c", RACER, url, str(tenant)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def test_processes_that_race_make_one_key(vault: Vault, tenant: UUID, app_url: str) -> None:
    """Of each person: whatever either has sealed opens."""
    with racer(app_url, tenant) as one, racer(app_url, tenant) as other:
        racers = (one, other)
        for each in racers:
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        for each in racers:
            assert each.stdin is not None
            each.stdin.write("go\n")
            each.stdin.flush()
        told = [json.loads(each.communicate(timeout=WAIT_S)[0]) for each in racers]
    assert [each.returncode for each in racers] == [0, 0]
    keys = [{subject: key for subject, key, _ in each} for each in told]
    assert keys[0] == keys[1]
    assert len(set(keys[0].values())) == 40
    for subject, key, sealed in told[0] + told[1]:
        opened = await vault.open(tenant, Personal(subject, UUID(key), sealed))
        assert opened == {"n": subject.removeprefix("c-")}


async def test_within_a_process_a_race_makes_one_key_too(vault: Vault, tenant: UUID) -> None:
    sealed = await asyncio.gather(*(vault.seal(tenant, "c-1", ADDRESS) for _ in range(20)))
    assert len({each.key for each in sealed}) == 1


async def test_events_and_snapshots_hold_only_what_is_sealed(
    app_url: str, tenant: UUID, owner: psycopg.Connection[Any]
) -> None:
    """And come back as they went in, from either."""
    options = StoreOptions(snapshot_every_events=2)
    card = Card.blank(uuid4())
    async with EventStore(app_url, Codec([Card]), options) as store:
        vault = Vault(store.rows, MASTER)
        for _ in range(3):
            card.move(await vault.seal(tenant, "c-1", ADDRESS))
        await store.append(
            tenant=tenant,
            changed=[card],
            reads=[],
            idempotency_key="k",
            request_hash=b"request",
            answer={"id": str(card.id), "version": card.version},
            metadata={},
        )
    kept = owner.execute(
        "SELECT data FROM erp.events WHERE tenant = %s"
        " UNION ALL SELECT state FROM erp.snapshots WHERE tenant = %s",
        [tenant, tenant],
    ).fetchall()
    assert len(kept) == 4
    for (data,) in kept:
        assert b"c-1" in data
        assert not any(value.encode() in data for value in ADDRESS.values())
        assert b"Erika" not in b64decode(json.loads(data)["address"]["sealed"])
    async with EventStore(app_url, Codec([Card]), options) as store:
        assert (await store.load(Card, card.id, tenant)).address == card.address
        *_, last = await store.history(Card, card.id, tenant, 3)
        assert isinstance(last, Card.Moved)
        assert await Vault(store.rows, MASTER).open(tenant, last.address) == ADDRESS


async def test_a_wrong_master_key_is_noticed(own_url: str) -> None:
    """While nothing was sealed any will do; then only that one, also where several were used."""
    tenant = new_tenant(own_url)
    async with EventStore(with_user(own_url, "erp_app"), Codec([])) as store:
        right, wrong = Vault(store.rows, MASTER), Vault(store.rows, OTHER_MASTER)
        await wrong.require_master_key()
        sealed = await right.seal(tenant, "c-1", ADDRESS)
        await right.require_master_key()
        with pytest.raises(WrongMasterKey, match="another master key"):
            await wrong.require_master_key()
        for attempt in (wrong.open(tenant, sealed), wrong.seal(tenant, "c-1", ADDRESS)):
            with pytest.raises(WrongMasterKey):
                await attempt
        await wrong.seal(tenant, "c-2", ADDRESS)
        with pytest.raises(WrongMasterKey):
            await right.require_master_key()


def test_the_application_sees_the_keys_of_the_tenant_it_names(
    app_url: str, make_tenant: MakeTenant, owner: psycopg.Connection[Any]
) -> None:
    """It can neither change nor delete one; readers and auditors see none."""
    one, other = make_tenant(), make_tenant()
    with psycopg.connect(app_url, autocommit=True) as application:
        for tenant in (one, other):
            key = application.execute(
                "SELECT key FROM erp.subject_key(%s, 'c-1', %s, %s, %s)",
                [tenant, uuid4(), bytes(60), bytes(16)],
            ).fetchone()
            assert key is not None
        assert application.execute("SELECT tenant FROM erp.subject_keys").fetchall() == []
        with application.transaction():
            application.execute("SELECT set_config('erp.tenant', %s, true)", [str(one)])
            assert application.execute("SELECT tenant FROM erp.subject_keys").fetchall() == [(one,)]
        for change in ("DELETE FROM erp.subject_keys", "UPDATE erp.subject_keys SET subject = 'x'"):
            with pytest.raises(InsufficientPrivilege):
                application.execute(change.encode())
        with pytest.raises(CheckViolation):
            application.execute(
                "SELECT erp.subject_key(%s, '', %s, %s, %s)", [one, uuid4(), bytes(60), bytes(16)]
            )
    for role in ("erp_reader", "erp_auditor", "erp_relay", "erp_worker", "erp_saga"):
        with psycopg.connect(with_user(app_url, role), autocommit=True) as connection:
            with pytest.raises(InsufficientPrivilege):
                connection.execute("SELECT * FROM erp.subject_keys")
            with pytest.raises(InsufficientPrivilege):
                connection.execute("SELECT erp.master_keys()")
    owner.execute("DELETE FROM erp.subject_keys WHERE tenant IN (%s, %s)", [one, other])


def test_a_database_from_before_gets_the_table(empty_url: str) -> None:
    assert "0006_personal_data" in migrate(empty_url)
