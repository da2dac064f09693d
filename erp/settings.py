"""Settings: frozen, built once from the environment (`ERP_…`, nested with `__`) and an optional TOML file.

`load_settings()` either returns settings that can work, or raises SettingsError with one line that names
every variable that is wrong. Secrets never appear in that line. Units come last in names.

Without `ERP_POSTGRES__URL` the system is embedded: its URLs follow from `home`, and its keys are made at
random once and kept there. Anywhere else placeholder and short secrets are refused.
"""

import base64
import difflib
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import (
    SettingsError as SourceError,
)

from erp import secrets
from erp.embedded import address

PREFIX = "ERP_"
CONFIG_VARIABLE = "ERP_CONFIG"

MIB = 1024 * 1024

Port = Annotated[int, Field(ge=1, le=65535)]
Positive = Annotated[int, Field(ge=1)]
PostgresUrl = Annotated[str, Field(pattern=r"^$|^postgres(ql)?://", repr=False)]


class SettingsError(Exception):
    """The configuration cannot work; the text is one line for the person who wrote it."""


class Section(BaseModel):
    """A group of settings: frozen, and strict about names: a misspelt one would be lost in silence."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class PostgresSettings(Section):
    """Six roles of one database; each process is given only the URLs it needs."""

    url: PostgresUrl = ""
    """The application's role (erp_app): row-level security by tenant."""
    owner_url: PostgresUrl = ""
    """The owner's role, for migrations only."""
    reader_url: PostgresUrl = ""
    """The reader's role (erp_reader): reads every tenant, writes nothing."""
    pool_size_max: Positive = 8
    relay_url: PostgresUrl = ""
    """The relay's role (erp_relay): reads the log of every tenant, writes its checkpoint and the Merkle tree.
    """
    worker_url: PostgresUrl = ""
    """The worker's role (erp_worker): reads every tenant's log, writes how far projections are."""
    saga_url: PostgresUrl = ""
    """The saga worker's role (erp_saga): reads every tenant's log, writes positions, timers, dead letters."""

    def need(
        self, name: Literal["url", "owner_url", "reader_url", "relay_url", "worker_url", "saga_url"]
    ) -> str:
        """The URL of that name; SettingsError where a deployment was not given it."""
        found: str = getattr(self, name)
        if not found:
            raise SettingsError(f"{PREFIX}POSTGRES__{name.upper()} is missing and this command needs it")
        return found


class AuthKey(Section):
    """A key that tokens are verified with, found by the `kid` in their header; rotation is a second entry."""

    kid: str = Field(min_length=1, max_length=200)
    alg: Literal["EdDSA", "HS256"]
    key: str = Field(repr=False)
    """EdDSA: the public key, PEM. HS256: the secret, at least 32 bytes."""
    private_key: str | None = Field(default=None, repr=False)
    """EdDSA: the private key, PEM (PKCS 8), only where tokens are issued."""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.alg == "HS256":
            secrets.require_strong(self.key)
        else:
            secrets.require_ed25519(self.key, self.private_key)
        return self

    @property
    def can_sign(self) -> bool:
        """Whether tokens can be issued with it."""
        return self.alg == "HS256" or self.private_key is not None


class AuthSettings(Section):
    """How tokens are verified and issued. The first key that can sign is the one that `erp token` uses."""

    keys: tuple[AuthKey, ...] = ()

    @model_validator(mode="after")
    def _kids_differ(self) -> Self:
        if len({key.kid for key in self.keys}) != len(self.keys):
            raise ValueError("two keys have the same kid")
        return self

    @property
    def signing_key(self) -> AuthKey | None:
        """The key new tokens are signed with; None where this process only verifies."""
        return next((key for key in self.keys if key.can_sign), None)


class HttpSettings(Section):
    """The HTTP server."""

    host: str = Field(default="127.0.0.1", min_length=1)
    port: Port = 8000
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    in_flight_max: Positive = 1024
    body_bytes_max: Positive = 10 * MIB
    drain_timeout_s: Positive = 30


class StoreSettings(Section):
    """The event store's shells."""

    cache_bytes_max: Annotated[int, Field(ge=0)] = 64 * MIB
    snapshot_every: Positive = 100
    batch_requests_max: Positive = 500
    conflict_retries_max: Annotated[int, Field(ge=0)] = 10


class KafkaSettings(Section):
    """Where events are published, and how."""

    bootstrap: Annotated[str, Field(pattern=r"^$|^[^,:\s]+:\d+(,[^,:\s]+:\d+)*$")] = ""
    """`host:port,…`. Where it is not given, an embedded system runs a broker of its own."""
    topic_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = "erp"
    partitions: Annotated[int, Field(ge=1, le=10_000)] = 4
    """Of each topic. Order within a stream holds within one partition, so it is chosen before the first
    event.
    """
    replication: Annotated[int, Field(ge=1, le=100)] = 1
    compression: Literal["none", "gzip", "lz4", "zstd"] = "lz4"
    batch_events_max: Positive = 100
    batch_bytes_max: Annotated[int, Field(ge=10_000)] = 1_000_000
    event_bytes_max: Annotated[int, Field(ge=10_000)] = 4_000_000
    """A larger event is published without its data, which consumers then fetch by position."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    ca_file: Path | None = None
    """PEM; the system's own authorities where it is not given."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: str | None = None
    password: str | None = Field(default=None, repr=False)


class RelaySettings(Section):
    """The relay's own."""

    metrics_port: Port | None = None
    """Serves Prometheus metrics on the host of `http`; nothing is served where it is not given."""
    head_interval_s: Annotated[float, Field(ge=0.1)] = 10.0
    """At least so long between two signed tree heads."""


class ClickhouseSettings(Section):
    """Where projections are kept."""

    url: Annotated[str, Field(pattern=r"^$|^(clickhouse|clickhouses|http|https)://", repr=False)] = ""
    """A clickhouse-connect DSN: `http://user:password@host:8123/database`. Where it is not given, an embedded
    system runs a server of its own.
    """


class WorkerSettings(Section):
    """The worker's own."""

    metrics_port: Port | None = None
    """Serves Prometheus metrics on the host of `http`; nothing is served where it is not given."""
    session_timeout_s: Annotated[float, Field(ge=1, le=300)] | None = None
    """Of the consumer group: after so long without a sign of life the others take over. 3 with the embedded
    broker; else 6, below which Kafka refuses it unless its `group.min.session.timeout.ms` says otherwise.
    """


class PaymentsSettings(Section):
    """The gateway that payments go through."""

    gateway: Literal["simulated", "stripe"] = "simulated"
    """`simulated` moves no money: it approves and declines as the card's token says."""
    timeout_s: Annotated[float, Field(gt=0, le=120)] = 10.0
    """Of one call of the gateway."""
    attempts_max: Annotated[int, Field(ge=1, le=10)] = 3
    breaker_failures_max: Positive = 5
    """After so many failures in a row the gateway is left in peace."""
    breaker_pause_s: Annotated[float, Field(gt=0, le=3600)] = 10.0
    stripe_key: str = Field(default="", repr=False)
    """The account's secret key."""
    stripe_url: Annotated[str, Field(pattern=r"^https?://")] = "https://api.stripe.com"
    stripe_webhook_secret: str = Field(default="", repr=False)
    """What Stripe signs its messages with; without it none are taken."""

    @model_validator(mode="after")
    def _a_key_for_stripe(self) -> Self:
        if self.gateway == "stripe" and not self.stripe_key:
            raise ValueError("gateway is stripe, but stripe_key is missing")
        return self


class SagasSettings(Section):
    """How sagas are run."""

    metrics_port: Port | None = None
    """Serves Prometheus metrics on the host of `http`; nothing is served where it is not given."""
    at_once_max: Annotated[int, Field(ge=1, le=1000)] = 64
    """So many sagas of a type take a turn at the same time, in one worker."""
    wait_s: Annotated[float, Field(ge=0.1)] = 30.0
    """Until a step is tried again that waits for what a person or time must mend."""
    retry_s: Annotated[float, Field(ge=0.1)] = 5.0
    """Until one is tried again that failed for what passes by itself."""
    late_s: Annotated[float, Field(ge=0.1)] = 3.0
    """So long an event may take by Kafka; then it is read from Postgres."""


class AuditSettings(Section):
    """Keys that tree heads are signed with. The first that can sign does; the others are kept to verify old
    heads.
    """

    keys: tuple[AuthKey, ...] = ()

    @model_validator(mode="after")
    def _ed25519_with_names_of_their_own(self) -> Self:
        if any(key.alg != "EdDSA" for key in self.keys):
            raise ValueError("tree heads are signed with EdDSA keys")
        if len({key.kid for key in self.keys}) != len(self.keys):
            raise ValueError("two keys have the same kid")
        return self

    @property
    def signing_key(self) -> AuthKey | None:
        """The key that new heads are signed with; None where this process only verifies."""
        return next((key for key in self.keys if key.can_sign), None)


class PersonalSettings(Section):
    """What personal data is sealed under."""

    key: str | None = Field(default=None, repr=False)
    """The master key: 32 bytes at random, in base64. Whoever loses it has lost all personal data."""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.key is not None:
            secrets.require_master_key(self.key)
        return self

    def need_key(self) -> bytes:
        """The master key; SettingsError where a deployment was not given it."""
        if self.key is None:
            raise SettingsError(f"{PREFIX}PERSONAL__KEY is missing and this command needs it")
        return base64.b64decode(self.key)


class Settings(BaseSettings):
    """Everything a process needs to know. Environment before TOML file before defaults."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid", hide_input_in_errors=True
    )

    postgres: PostgresSettings = PostgresSettings()
    auth: AuthSettings = AuthSettings()
    http: HttpSettings = HttpSettings()
    store: StoreSettings = StoreSettings()
    kafka: KafkaSettings = KafkaSettings()
    relay: RelaySettings = RelaySettings()
    clickhouse: ClickhouseSettings = ClickhouseSettings()
    worker: WorkerSettings = WorkerSettings()
    sagas: SagasSettings = SagasSettings()
    audit: AuditSettings = AuditSettings()
    personal: PersonalSettings = PersonalSettings()
    payments: PaymentsSettings = PaymentsSettings()
    home: Path = Path(".erp")
    """Data, keys and locks of the embedded servers; where benches leave their figures."""
    embedded: bool = True
    """Postgres is run here. True when no ERP_POSTGRES__URL is given; `false` insists on one."""

    @model_validator(mode="before")
    @classmethod
    def _embedded_without_a_url(cls, data: dict[str, Any]) -> dict[str, Any]:
        postgres = data.get("postgres") or {}
        given = bool(postgres.get("url") if isinstance(postgres, dict) else postgres.url)
        return {"embedded": not given, **data}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # nothing is read from the working directory
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # nor from a folder of secrets
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then environment, then the TOML file named by ERP_CONFIG."""
        sources = (init_settings, env_settings)
        config = os.environ.get(CONFIG_VARIABLE)
        return (*sources, TomlConfigSettingsSource(settings_cls, toml_file=config)) if config else sources


def load_settings() -> Settings:
    """Settings that can work, from the environment; embedded ones with their URLs and keys filled in.

    Raises:
        SettingsError: with one line that names every variable that is wrong.
    """
    _refuse_unknown_variables()
    _require_the_named_file()
    try:
        settings = Settings()
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(dict(each)) for each in error.errors())) from None
    except (SourceError, tomllib.TOMLDecodeError, OSError) as error:
        raise SettingsError(" ".join(str(error).split())) from None
    settings = settings.model_copy(update={"home": settings.home.expanduser().resolve()})
    return _embedded(settings) if settings.embedded else _deployed(settings)


def _embedded(settings: Settings) -> Settings:
    given = [
        name
        for name in ("url", "owner_url", "reader_url", "relay_url", "worker_url", "saga_url")
        if getattr(settings.postgres, name)
    ]
    if given:
        wrong = ", ".join(f"{PREFIX}POSTGRES__{name.upper()}" for name in given)
        raise SettingsError(
            f"{wrong}: given, but the system is embedded; give ERP_POSTGRES__URL and no ERP_EMBEDDED"
        )
    urls = {
        "url": address.url(settings.home, "erp_app"),
        "owner_url": address.url(settings.home),
        "reader_url": address.url(settings.home, "erp_reader"),
        "relay_url": address.url(settings.home, "erp_relay"),
        "worker_url": address.url(settings.home, "erp_worker"),
        "saga_url": address.url(settings.home, "erp_saga"),
    }
    update: dict[str, Section] = {"postgres": settings.postgres.model_copy(update=urls)}
    if not settings.auth.keys:
        kept = _kept(settings.home / secrets.FILE, secrets.kept_keys)
        update["auth"] = settings.auth.model_copy(update={"keys": kept})
    if not settings.audit.keys:
        kept = _kept(settings.home / secrets.HEADS_FILE, secrets.kept_head_keys)
        update["audit"] = settings.audit.model_copy(update={"keys": kept})
    if settings.personal.key is None:
        update["personal"] = _kept_personal(settings.home)
    return settings.model_copy(update=update)


def _kept(file: Path, keys_of: Callable[[Path], list[dict[str, Any]]]) -> tuple[AuthKey, ...]:
    try:
        return tuple(AuthKey(**key) for key in keys_of(file.parent))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{file}: {error}") from None


def _kept_personal(home: Path) -> PersonalSettings:
    try:
        return PersonalSettings(key=secrets.kept_master_key(home))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{home / secrets.PERSONAL_FILE}: {error}") from None


def _deployed(settings: Settings) -> Settings:
    if not settings.postgres.url:
        raise SettingsError(
            "ERP_POSTGRES__URL is missing, and ERP_EMBEDDED=false forbids an embedded Postgres"
        )
    if not settings.auth.keys:
        raise SettingsError("ERP_AUTH__KEYS is missing: give at least one key to verify tokens with")
    return settings


def _require_the_named_file() -> None:
    config = os.environ.get(CONFIG_VARIABLE)
    if config and not Path(config).is_file():  # the source would pass over it in silence
        raise SettingsError(f"{CONFIG_VARIABLE}: there is no file {config}")


def _refuse_unknown_variables() -> None:
    known = {CONFIG_VARIABLE} | {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for name in sorted(os.environ):
        if not name.upper().startswith(PREFIX) or name.upper().split("__")[0] in known:
            continue
        near = difflib.get_close_matches(name.upper().split("__")[0], known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise SettingsError(f"{name}: there is no such setting{hint}")


def _sentence(error: dict[str, Any]) -> str:
    """`ERP_HTTP__PORT: input should be …`, without the input, which may be a secret."""
    name = PREFIX + "__".join(str(part) for part in error["loc"]).upper() if error["loc"] else "settings"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{name}: {message[:1].lower()}{message[1:]}"
