"""The outermost layer: what is true of every request, whatever it asks for.

It has a correlation id, which comes back with every answer; it is counted and timed; too many at once are
turned away; and whatever goes wrong inside becomes a problem answer.
"""

from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.call import CALL, Call
from api.errors import ClientGone, Fault, TooManyRequests, log, problem
from api.metrics import Metrics

_API = "/v1/"


class Edge:
    """ASGI middleware around the router."""

    def __init__(self, inner: ASGIApp, metrics: Metrics, *, in_flight_max: int) -> None:
        self._inner = inner
        self._metrics = metrics
        self._in_flight_max = in_flight_max
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, whatever happens inside."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        began = perf_counter()
        call = scope[CALL] = Call(scope, receive)
        correlation = (b"x-correlation-id", call.correlation_id.encode())

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                call.status = message["status"]
                message["headers"] = [*message["headers"], correlation]
            try:
                await send(message)
            except OSError:
                raise ClientGone from None

        took_s: float | None = None

        def land() -> None:
            nonlocal took_s
            if took_s is None:
                took_s = perf_counter() - began
                self._in_flight -= 1
                self._metrics.request_landed()

        call.land = land
        self._in_flight += 1
        self._metrics.request_began()
        try:
            await self._admitted(call, scope, receive, answer)
        except ClientGone:
            log.debug("client gone: %s", call.correlation_id)
        finally:
            land()
            self._metrics.request_ended(scope["method"], call.template, call.status, took_s or 0.0)

    async def _admitted(self, call: Call, scope: Scope, receive: Receive, answer: Send) -> None:
        try:
            # Health and metrics answer also, and above all, when there is too much to do.
            if self._in_flight > self._in_flight_max and scope["path"].startswith(_API):
                raise TooManyRequests  # noqa: TRY301 - told like every other failure, just below
            await self._inner(scope, receive, answer)
        except ClientGone:
            raise
        except Exception as error:
            if call.status:
                # The answer has begun and cannot be mended; the server breaks the connection off.
                raise
            fault = Fault.of(error, call.correlation_id)
            await problem(fault, call.path).send(answer, head=scope["method"] == "HEAD")
