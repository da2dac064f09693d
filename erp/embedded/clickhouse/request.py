"""A request of ClickHouse's HTTP protocol, read out of its URL, its headers and, for a form, its body."""

import base64
import binascii
import email.parser
import email.policy
import hmac
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl

from erp.embedded.clickhouse.faults import Fault

SESSION_TIMEOUT_S = 60
SESSION_TIMEOUT_MAX_S = 3600
HOLD_BYTES = 1 << 20

# Parameters of the protocol: they are no settings of the engine.
_RESERVED = frozenset(
    [
        "query",
        "database",
        "default_format",
        "session_id",
        "session_timeout",
        "session_check",
        "close_session",
        "query_id",
        "user",
        "password",
        "quota_key",
        "role",
        "compress",
        "decompress",
        "buffer_size",
        "wait_end_of_query",
        "stacktrace",
        "client_protocol_version",
        "send_progress_in_http_headers",
        "http_headers_progress_interval_ms",
    ]
)
# The engine's connections carry their own, by which a statement is found and killed.
_OURS = frozenset({"log_comment"})
_TRUE = frozenset({"1", "true"})


@dataclass(frozen=True)
class External:
    """A table that comes with the request and goes with it."""

    name: str
    structure: str
    format: str
    data: bytes


@dataclass(frozen=True)
class Request:
    """What the client asks for; `query` still lacks what the body says."""

    query: bytes = b""
    database: str | None = None
    default_format: str = "TabSeparated"
    params: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    query_id: str = ""
    session_id: str | None = None
    session_timeout_s: int = SESSION_TIMEOUT_S
    session_must_exist: bool = False
    session_ends: bool = False
    block_answer: bool = False
    block_body: bool = False
    body_encoding: str = ""
    accept_encoding: str = ""
    hold_bytes: int = HOLD_BYTES
    """How much of an answer is held back, so that a fault still gets a status of its own."""
    hold_all: bool = False
    form_type: str | None = None
    """The Content-Type of a body that is a form."""
    externals: tuple[External, ...] = ()
    may_write: bool = True
    method: str = "POST"


def read(method: str, query_string: bytes, headers: Mapping[str, str]) -> Request:
    """The request but for its body; header names are in small letters.

    Raises:
        Fault: a parameter makes no sense.
    """
    given = dict(_pairs(query_string))
    content_type = headers.get("content-type", "")
    is_form = content_type.lower().startswith("multipart/form-data")
    return Request(
        query=_bytes(given.get("query", "")),
        database=given.get("database") or headers.get("x-clickhouse-database") or None,
        default_format=given.get("default_format") or headers.get("x-clickhouse-format") or "TabSeparated",
        params=_params(given),
        settings=_settings(given),
        query_id=given.get("query_id") or str(uuid.uuid4()),
        session_id=given.get("session_id") or None,
        session_timeout_s=_session_timeout_s(given.get("session_timeout")),
        session_must_exist=given.get("session_check") in _TRUE,
        session_ends=given.get("close_session") in _TRUE,
        block_answer=given.get("compress") in _TRUE,
        block_body=given.get("decompress") in _TRUE,
        body_encoding=headers.get("content-encoding", ""),
        accept_encoding=""
        if given.get("enable_http_compression") == "0"
        else headers.get("accept-encoding", ""),
        hold_bytes=_number(given.get("buffer_size"), HOLD_BYTES),
        hold_all=given.get("wait_end_of_query") in _TRUE,
        form_type=content_type if is_form and method == "POST" else None,
        may_write=method == "POST",
        method=method,
    )


def with_form(request: Request, query_string: bytes, body: bytes) -> Request:
    """The request with its form's fields: `query`, parameters and settings, and external tables as files."""
    assert request.form_type is not None
    head = f"Content-Type: {request.form_type}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    fields: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        data = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(data, bytes):
            raise Fault.of(36, "BAD_ARGUMENTS", "The form has a field without a name.")
        if part.get_filename() is None:
            fields[name] = data.decode("utf-8", "surrogateescape")
        else:
            files[name] = data
    about = dict(_pairs(query_string)) | fields
    ours = {f"{name}_{what}" for name in files for what in ("structure", "types", "format")}
    return replace(
        request,
        query=request.query + _bytes(fields.get("query", "")),
        params={**request.params, **_params(fields)},
        settings={
            name: value
            for name, value in {**request.settings, **_settings(fields)}.items()
            if name not in ours
        },
        externals=tuple(_external(name, data, about) for name, data in files.items()),
    )


def authenticate(password: str, query_string: bytes, headers: Mapping[str, str]) -> None:
    """Let the request in if it knows the password, by any of the three ways of the protocol.

    Raises:
        Fault: it does not.
    """
    given = dict(_pairs(query_string))
    if "x-clickhouse-user" in headers or "x-clickhouse-key" in headers:
        user, secret = headers.get("x-clickhouse-user", ""), headers.get("x-clickhouse-key", "")
    elif "authorization" in headers:
        user, secret = _basic(headers["authorization"])
    else:
        user, secret = given.get("user", "default"), given.get("password", "")
    right = hmac.compare_digest(secret.encode("utf-8", "replace"), password.encode())
    if user != "default" or not right:
        sentence = (
            f"{user}: Authentication failed: password is incorrect, or there is no user with such name."
        )
        raise Fault.of(516, "AUTHENTICATION_FAILED", sentence)


def _basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        decoded = ""
    if scheme.lower() != "basic":
        sentence = f"Invalid authentication: '{scheme}' HTTP Authorization scheme is not supported"
        raise Fault.of(516, "AUTHENTICATION_FAILED", sentence)
    user, _, secret = decoded.partition(":")
    return user, secret


def _pairs(query_string: bytes) -> Iterable[tuple[str, str]]:
    return parse_qsl(query_string.decode("latin-1"), keep_blank_values=True, errors="surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _params(given: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix("param_"): value for name, value in given.items() if name.startswith("param_")}


def _settings(given: Mapping[str, str]) -> dict[str, str]:
    kept = _RESERVED | _OURS
    return {
        name: value for name, value in given.items() if name not in kept and not name.startswith("param_")
    }


def _external(name: str, data: bytes, about: Mapping[str, str]) -> External:
    structure = about.get(f"{name}_structure", "")
    if not structure:
        types = [kind.strip() for kind in _split(about.get(f"{name}_types", "")) if kind.strip()]
        structure = ", ".join(f"_{index} {kind}" for index, kind in enumerate(types, 1))
    if not structure:
        sentence = f"Neither structure nor types have not been provided for external table {name}."
        raise Fault.of(
            36, "BAD_ARGUMENTS", f"{sentence} Use fields {name}_structure or {name}_types to do so."
        )
    return External(name, structure, about.get(f"{name}_format", "TabSeparated"), data)


def _split(types: str) -> list[str]:
    """At the commas outside of brackets: `Decimal(38, 4)` is one type."""
    return re.split(r",(?![^(]*\))", types)


def _session_timeout_s(text: str | None) -> int:
    seconds = SESSION_TIMEOUT_S if text is None else int(text) if text.isdecimal() else -1
    if not 0 <= seconds <= SESSION_TIMEOUT_MAX_S:
        raise Fault.of(374, "INVALID_SESSION_TIMEOUT", f"Invalid session timeout: '{text}'.")
    return seconds


def _number(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.isdecimal() else default
