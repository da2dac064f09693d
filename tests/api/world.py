"""The HTTP layer around a bus and a store in memory, which remember what they were asked."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import httpx
import orjson

from api.app import create_app
from api.auth import AuthConfig, AuthKey, issue_token
from api.finance import FINANCE
from api.ports import ApiSettings, Check
from api.routing import ContextRoutes
from commands.bus import Answer, Command, Context
from domain.shared.errors import Unavailable
from domain.shared.personal import Personal
from eventstore.cloudevents import LogEvent
from eventstore.leaf import StoredEvent
from projections.declaration import ProjectionQuery
from projections.reading import Answered, Lag

TENANT = UUID("11111111-1111-4111-8111-111111111111")
AUTH = AuthConfig((AuthKey("main", "HS256", "a secret that is only good for tests"),))
ENTRIES = "/v1/finance/journal-entries"
NDJSON = {"Content-Type": "application/x-ndjson"}
Behaviour = Callable[[Command, Context], Awaitable[Answer | None]]


def entry(**changes: Any) -> dict[str, Any]:
    """A journal entry as a client sends it."""
    lines = [{"account": "1122", "debit": "1130.00"}, {"account": "6001", "credit": "1130.00"}]
    return {"posting_date": "2026-01-15", "currency": "EUR", "lines": lines, **changes}


def line(data: dict[str, Any], command: str = "finance.post_journal_entry", **more: Any) -> bytes:
    """A line of a bulk request."""
    return orjson.dumps({"command": command, "data": data, **more}) + b"\n"


@dataclass
class RecordingBus:
    """Answers every command, and remembers it. `behaviour` may refuse, wait or answer otherwise."""

    asked: list[tuple[Command, Context]] = field(default_factory=list)
    finished: int = 0
    running: int = 0
    running_max: int = 0
    behaviour: Behaviour | None = None

    async def execute(self, command: Command, context: Context) -> Answer:
        self.asked.append((command, context))
        position = len(self.asked)
        self.running += 1
        self.running_max = max(self.running_max, self.running)
        try:
            await asyncio.sleep(0)
            answer = await self.behaviour(command, context) if self.behaviour else None
        finally:
            self.running -= 1
        self.finished += 1
        return answer or an_answer(position)


def an_answer(position: int, **more: Any) -> Answer:
    moment = datetime(2026, 1, 15, 12, 0, 0, tzinfo=UTC)
    return Answer(uuid5(TENANT, str(position)), more.pop("version", 1), position, moment, **more)


@dataclass
class MemoryStore:
    """Aggregates and registers, as they were put here."""

    aggregates: dict[UUID, Any] = field(default_factory=dict)
    registers: dict[str, list[tuple[int, UUID]]] = field(default_factory=lambda: defaultdict(list))

    def keep(self, *aggregates: Any, series: str | None = None) -> None:
        for aggregate in aggregates:
            self.aggregates[aggregate.id] = aggregate
            if series is not None:
                self.registers[series].append((len(self.registers[series]) + 1, aggregate.id))

    async def load_current(self, aggregate_class: Any, stream_id: UUID, tenant: UUID) -> Any:
        assert tenant == TENANT
        return self.aggregates.get(stream_id) or aggregate_class.blank(stream_id)

    async def register_page(
        self, tenant: UUID, *, series: str, after_number: int, limit: int
    ) -> list[tuple[int, UUID]]:
        assert tenant == TENANT
        return [each for each in self.registers[series] if each[0] > after_number][:limit]

    event_types = frozenset({"finance.journal_entry.posted", "finance.account.opened"})
    log: list[LogEvent] = field(default_factory=list)
    down: bool = False

    def record(self, type_: str = "finance.account.opened", data: bytes = b"{}") -> LogEvent:
        """One more event in the log of the tenant, which shares it with nobody."""
        seq = len(self.log) + 1
        stream = uuid5(TENANT, str(seq))
        moment = datetime(2026, 1, 15, 12, 0, 0, tzinfo=UTC)
        event = StoredEvent(
            seq * 10, stream, TENANT, seq, stream, 1, 1, None, moment, "s", type_, None, "json", data, b"{}"
        )
        self.log.append(LogEvent(event, b"\0" * 32))
        return self.log[-1]

    async def head(self) -> int:
        return self.log[-1].event.position if self.log else 0

    async def tenant_heads(self, tenants: Collection[UUID]) -> dict[UUID, int]:
        if self.down:
            raise Unavailable
        return {TENANT: len(self.log)} if TENANT in tenants else {}

    async def tenant_seq_at(self, tenant: UUID, position: int) -> int:
        assert tenant == TENANT
        return sum(each.event.position <= position for each in self.log)

    async def tenant_events(
        self, tenant: UUID, after_seq: int, up_to_seq: int, *, types: Sequence[str] | None, bytes_max: int
    ) -> list[LogEvent]:
        assert tenant == TENANT
        return [each for each in self.log[after_seq:up_to_seq] if types is None or each.event.type in types]


class OpenVault:
    """Seals nothing: what it is given stands there to be read, until its key is said to be gone."""

    def __init__(self) -> None:
        self.gone: set[UUID] = set()

    async def seal(self, tenant: UUID, subject: str, value: Mapping[str, str]) -> Personal[Any]:
        return Personal(subject, uuid5(tenant, subject), orjson.dumps(value).decode())

    async def open(self, tenant: UUID, personal: Personal[Any]) -> Mapping[str, str] | None:
        opened: Mapping[str, str] = orjson.loads(personal.sealed)
        return None if personal.key in self.gone else opened


@dataclass
class MemoryReadSide:
    """Answers every question with `answer`, and remembers it. `refusal` is raised instead."""

    answer: Any = None
    position: int = 7
    discarded: list[int] = field(default_factory=list)
    refusal: Exception | None = None
    asked: list[tuple[ProjectionQuery, dict[str, Any]]] = field(default_factory=list)
    found: list[Lag] = field(default_factory=list)

    async def ask(self, query: ProjectionQuery, tenant: UUID, **asked: Any) -> Answered:
        assert tenant == TENANT
        self.asked.append((query, asked))
        if self.refusal is not None:
            raise self.refusal
        return Answered(self.answer, self.position, self.discarded)

    def drain(self) -> None:
        """It waits for nothing."""

    async def lags(self) -> list[Lag]:
        if self.refusal is not None:
            raise self.refusal
        return self.found


async def find_tenant(name: str) -> UUID | None:
    return TENANT if name == "demo" else None


@dataclass
class World:
    """The application, what it stands on, and clients of it."""

    bus: RecordingBus = field(default_factory=RecordingBus)
    store: MemoryStore = field(default_factory=MemoryStore)
    vault: OpenVault = field(default_factory=OpenVault)
    read_side: MemoryReadSide = field(default_factory=MemoryReadSide)
    settings: ApiSettings = field(default_factory=ApiSettings)
    checks: dict[str, Check] = field(default_factory=dict)
    auth: AuthConfig = AUTH
    contexts: Sequence[ContextRoutes] = (FINANCE,)

    def __post_init__(self) -> None:
        self.app = create_app(
            settings=self.settings,
            auth=self.auth,
            bus=self.bus,
            store=self.store,
            vault=self.vault,
            read_side=self.read_side,
            tenants=find_tenant,
            contexts=self.contexts,
            checks=self.checks,
        )

    def client(self, *roles: str, token: str | None = None, tenant: str = "demo") -> httpx.AsyncClient:
        if token is None:
            token = issue_token(self.auth, tenant=tenant, user="alice", roles=roles or ("admin",), ttl_s=60)
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.AsyncClient(transport=transport, base_url="http://erp.test", headers=headers)


@dataclass
class Exchange:
    """One request sent straight to the ASGI application, chunk by chunk, as a server would."""

    app: Any
    method: str
    path: str
    headers: dict[str, str]
    chunks: list[bytes]
    gone_after: bool = False
    """Whether the client hangs up instead of sending an end."""
    breaks: bool = False
    """Whether the connection breaks when the body of the answer is sent."""

    def __post_init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.chunks_taken = 0
        self.hang_up = asyncio.Event()
        self.may_send = asyncio.Event()
        self.may_send.set()

    async def run(self) -> None:
        raw = [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]
        scope = {
            "type": "http",
            "method": self.method,
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": raw,
        }
        await self.app(scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        if self.chunks_taken < len(self.chunks):
            self.chunks_taken += 1
            more = self.chunks_taken < len(self.chunks) or self.gone_after
            return {"type": "http.request", "body": self.chunks[self.chunks_taken - 1], "more_body": more}
        if not self.gone_after:
            await self.hang_up.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        await self.may_send.wait()
        if self.breaks and message["type"] == "http.response.body":
            raise OSError
        self.sent.append(message)

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])


def authorised(auth: AuthConfig = AUTH) -> dict[str, str]:
    token = issue_token(auth, tenant="demo", user="alice", roles=["admin"], ttl_s=60)
    return {"Authorization": f"Bearer {token}"}


async def until(seen: Callable[[], object]) -> None:
    """Let the event loop turn until this is so."""
    for _ in range(10_000):
        if seen():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to that")
