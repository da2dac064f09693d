"""A visit to a running system: asks over HTTP, shows question and answer, holds it against the promise."""

import http.client
import json
import os
import signal
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import click

Token = Callable[[str, str], str]
"""Makes a token for a tenant and a user of it."""
Run = Callable[..., tuple[int, str]]
"""Runs `erp` with these arguments; gives back its exit code and what it said."""
Find = Callable[[str], int | None]
"""The process of a part of the system, by the verb that runs it; None while there is none."""

_HEADERS: Final = ("ETag", "Idempotency-Replayed", "X-Projection-Position")
_ITEMS_SHOWN_MAX: Final = 3
_WIDTH: Final = 110
_BACK_S: Final = 30.0
_WAIT_S: Final = 30.0
_LOOK_EVERY_S: Final = 0.05


class BrokenPromise(Exception):
    """An answer was not as promised."""


@dataclass(frozen=True)
class Answer:
    """What came back. `body` is parsed JSON, for NDJSON a list of its lines."""

    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass
class Tour:
    """A visit to one system: asks, tells, and compares."""

    host: str
    port: int
    tenant: str
    token: Token
    run: Run
    find: Find
    asked: int = 0
    killed: int | None = None

    def take(self, chapters: "Sequence[Callable[[Self], None]]") -> None:
        """All chapters, in order; the docstring of each is what it is about.

        Raises:
            BrokenPromise: an answer is not as promised.
        """
        for number, chapter in enumerate(chapters, start=1):
            click.echo(f"\n{number:2}. {' '.join((chapter.__doc__ or '').split())}\n")
            chapter(self)

    def ask(
        self,
        who: str | None,
        method: str,
        path: str,
        body: Any = None,
        *,
        expect: int,
        code: str | None = None,
        **headers: str,
    ) -> Answer:
        """Send a request as that user, show it and its answer, and insist on the status (and the code).

        `Idempotency_Key="k"` becomes the header `Idempotency-Key: k`. A list as body goes out as NDJSON.

        Raises:
            BrokenPromise: the status or the code is another.
        """
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        noted = "".join(f"   {name}: {value}" for name, value in given.items())
        say(f"{who or 'nobody'}: {method} {path}{noted}")
        for line in _lines(body):
            say(f"  {json.dumps(line, ensure_ascii=False)}")
        answer = self.send(who, method, path, body, given)
        told = "".join(f"   {name}: {value}" for name, value in answer.headers.items() if value)
        say(f"  → {answer.status}{told}")
        for line in _lines(answer.body):
            say(f"    {_brief(line)}")
        if answer.status != expect:
            raise BrokenPromise(f"{method} {path}: {expect} was promised, not {answer.status}")
        if code is not None and answer.body.get("code") != code:
            raise BrokenPromise(f"{method} {path}: {code} was promised, not {answer.body.get('code')}")
        return answer

    def wait(
        self,
        who: str,
        path: str,
        holds: Callable[[Any], bool],
        *,
        claim: str,
        show: Sequence[str] = (),
    ) -> Any:
        """Ask again and again, without a word, until the answer holds; tell the last one, or some of it.

        Raises:
            BrokenPromise: it does not within half a minute, or the status is not 200.
        """
        began = time.monotonic()
        while True:
            answer = self.send(who, "GET", path)
            if answer.status != http.client.OK:
                raise BrokenPromise(f"GET {path}: 200 was promised, not {answer.status}")
            waited_s = time.monotonic() - began
            if holds(answer.body) or waited_s > _WAIT_S:
                break
            time.sleep(_LOOK_EVERY_S)
        say(f"{who}: GET {path}")
        shown = {name: answer.body[name] for name in show} if show else answer.body
        say(f"  → {answer.status}, looked for {waited_s:.1f} s: {_brief(shown)}")
        self.expect(claim, holds(answer.body))
        return answer.body

    def command(self, *arguments: str) -> None:
        """Run `erp` with these arguments, and insist on success.

        Raises:
            BrokenPromise: it ends with another exit code than 0.
        """
        say(f"$ erp {' '.join(arguments)}")
        code, said = self.run(*arguments)
        for line in said.splitlines():
            say(f"  → {line}")
        self.expect("its exit code is 0", code == 0)

    def kill(self, part: str) -> None:
        """Kill -9 of that part of the system.

        Raises:
            BrokenPromise: there is none.
        """
        self.killed = self.find(part)
        if self.killed is None:
            raise BrokenPromise(f"there is no {part} to be killed")
        say(f"$ kill -9 {self.killed}   (the {part})")
        os.kill(self.killed, signal.SIGKILL)

    def is_back(self, part: str) -> bool:
        """Whether another process has taken the place of the one that was killed, within half a minute."""
        deadline = time.monotonic() + _BACK_S
        while self.find(part) in {None, self.killed}:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def send(
        self,
        who: str | None,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request as that user and say nothing."""
        self.asked += 1
        given = dict(headers or {})
        if who is not None:
            given["Authorization"] = f"Bearer {self.token(self.tenant, who)}"
        if body is not None:
            given["Content-Type"] = "application/x-ndjson" if isinstance(body, list) else "application/json"
        raw = None if body is None else "\n".join(json.dumps(line) for line in _lines(body)).encode()
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        try:
            connection.request(method, path, raw, given)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        is_lines = answer.headers.get_content_type() == "application/x-ndjson"
        parsed = [json.loads(line) for line in text.splitlines()] if is_lines else json.loads(text or "null")
        return Answer(answer.status, {name: answer.headers[name] for name in _HEADERS}, parsed)

    def expect(self, claim: str, holds: bool) -> None:  # noqa: FBT001 - reads as a sentence
        """Tell what was promised; end the tour if it does not hold."""
        if not holds:
            raise BrokenPromise(f"this was promised and is not so: {claim}")
        say(f"  ok: {claim}")


def _lines(body: Any) -> list[Any]:
    """What is sent or came, line by line; NDJSON has several."""
    if body is None:
        return []
    return body if isinstance(body, list) else [body]


def _brief(body: Any) -> str:
    """An answer as a person reads it: a refusal by its code and sentence, all else without what is empty."""
    if {"code", "detail"} <= body.keys():
        line = f"line {body['line']}, {body['status']}: " if "line" in body else ""
        return f"{line}{body['code']}: {body['detail']}"
    if "items" in body:
        shown = [_brief(item) for item in body["items"][:_ITEMS_SHOWN_MAX]]
        more = len(body["items"]) - len(shown)
        return "; ".join(shown) + (f"; and {more} more" if more else "")
    return json.dumps(_without_empty(body), ensure_ascii=False)


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_empty(each) for name, each in value.items() if each not in (None, "", {})}
    return [_without_empty(each) for each in value] if isinstance(value, list) else value


def say(text: str) -> None:
    """A line, wrapped under its own beginning."""
    indent = " " * (4 + len(text) - len(text.lstrip()))
    wrapped = textwrap.wrap(
        text.lstrip(), _WIDTH - len(indent), break_long_words=False, break_on_hyphens=False
    )
    click.echo(textwrap.indent("\n".join(wrapped), indent))
