"""Places orders over HTTP, and tells which, and when each was due.

    python -m bench.order_load '{"port": …, "token": …, "skus": […], "warmup_s": …, "seconds": …,
                                 "rate": 20, "hot": null, "ahead_max": null, "watch_url": null}'

With a rate, orders are placed at random moments, so many a second on average, whether or not those before
them have been answered or confirmed: a system that falls behind cannot hide it. With `ahead_max` instead,
as fast as they are confirmed: never more than so many that are not; which are, `watch_url`, a Postgres URL,
tells.
"""

import asyncio
import random
import time
from typing import Any, Final, NamedTuple

import orjson
import psycopg

from bench import entries, goods
from bench.children import carry_out
from bench.visible import Lines, quantiles

_LAST_ANSWERS_S: Final = 30.0
_LOOK_EVERY_S: Final = 0.01
_HEAD: Final = "SELECT coalesce(max(position), 0) FROM erp.events"
_NEWS: Final = """
    SELECT coalesce(max(position), %(after)s), count(*) FILTER (WHERE type = 'sales.order.confirmed')
      FROM erp.events WHERE position > %(after)s"""


class Plan(NamedTuple):
    """What to do to whom."""

    port: int
    token: str
    skus: list[str]
    warmup_s: float
    seconds: float
    rate: float | None = None
    hot: str | None = None
    ahead_max: int | None = None
    watch_url: str | None = None


class Run:
    """One run: places, remembers."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._lines = Lines(plan.port)
        self._head = (
            f"POST {goods.ORDERS_PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {plan.token}\r\n"
            "Content-Type: application/json\r\n"
        ).encode()
        self._tasks: list[asyncio.Task[None]] = []
        self._ends = 0.0
        self._placed: list[tuple[str, float, float]] = []

    async def run(self) -> dict[str, Any]:
        """Carry out the plan, and tell what was placed: all of it, with the instants between which it counts.

        Raises:
            UnexpectedAnswer: the server did something else than it was asked to.
            TimeoutError: an answer is missing, long after the last order was placed.
        """
        plan = self._plan
        begins = time.time() + plan.warmup_s
        self._ends = begins + plan.seconds
        await (self._at_random(plan.rate) if plan.rate else self._as_confirmed(plan.ahead_max or 1))
        async with asyncio.timeout(_LAST_ANSWERS_S):
            await asyncio.gather(*self._tasks)
        self._lines.close()
        counted = [answered - due for _, due, answered in self._placed if begins <= due < self._ends]
        return {
            "orders": [(order, due) for order, due, _ in self._placed],
            "begins": begins,
            "ends": self._ends,
            "post": quantiles(counted),
        }

    async def _at_random(self, rate: float) -> None:
        due = time.time()
        while due < self._ends:
            await asyncio.sleep(due - time.time())
            self._place(due)
            due += random.expovariate(rate)

    async def _as_confirmed(self, ahead_max: int) -> None:
        assert self._plan.watch_url is not None, "asked for"
        loop = asyncio.get_running_loop()
        with psycopg.connect(self._plan.watch_url, autocommit=True, prepare_threshold=0) as connection:
            row = connection.execute(_HEAD).fetchone()
            assert row is not None, "an aggregate"
            seen, confirmed = row[0], 0
            while (now := time.time()) < self._ends:
                for _ in range(confirmed + ahead_max - len(self._tasks)):
                    self._place(now)
                await asyncio.sleep(_LOOK_EVERY_S)
                seen, news = await loop.run_in_executor(None, _news, connection, seen)
                confirmed += news

    def _place(self, due: float) -> None:
        self._tasks.append(asyncio.create_task(self._post(due)))

    async def _post(self, due: float) -> None:
        body = goods.order(self._plan.skus, self._plan.hot)
        request = b"%bContent-Length: %d\r\nIdempotency-Key: %b\r\n\r\n%b" % (
            self._head,
            len(body),
            entries.key(),
            body,
        )
        answer = orjson.loads(await self._lines.ask(request, b"201"))
        self._placed.append((answer["id"], due, time.time()))


def _news(connection: "psycopg.Connection[Any]", after: int) -> tuple[int, int]:
    """The last position, and how many orders were confirmed after this one."""
    row = connection.execute(_NEWS, {"after": after}).fetchone()
    assert row is not None, "an aggregate"
    last, confirmed = row
    return last, confirmed


async def _run(plan: Plan) -> dict[str, Any]:
    return await Run(plan).run()


if __name__ == "__main__":
    carry_out(Plan, _run)
