"""Patience with a gateway: time-outs, retries with jitter, and a circuit breaker.

What was certainly not done is asked for again. What may have been done is asked about, until the gateway says
that it was, or was not; only then is it asked for again, under the same operation. When patience ends, the
outcome stays unknown: that is the caller's to hear, and never made up.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Final, NamedTuple, TypeVar

from commands.payments.gateway import Gateway, GatewayRequest, GatewayTimeout, GatewayUnavailable, Outcome
from domain.payments.operation import Standing
from domain.shared.errors import Unavailable

log = logging.getLogger("erp.gateways")

T = TypeVar("T")

_PAUSE_S_MAX: Final = 2.0


class Patience(NamedTuple):
    """How long to wait for one call, and how often to try. Pauses double from `pause_s`, with jitter."""

    timeout_s: float = 10.0
    attempts_max: int = 3
    pause_s: float = 0.1


class Breaker:
    """Leaves a gateway in peace that has failed too often in a row.

    Open for `pause_s`; then one call is let through, and closes it or opens it anew.
    """

    def __init__(
        self, failures_max: int = 5, pause_s: float = 10.0, *, clock: Callable[[], float] = monotonic
    ) -> None:
        self._failures_max = failures_max
        self._pause_s = pause_s
        self._clock = clock
        self._failures = 0
        self._open_until: float | None = None

    def require_closed(self) -> None:
        """Return if a call may be made.

        Raises:
            GatewayUnavailable: the gateway is left in peace.
        """
        if self._open_until is None:
            return
        if self._clock() < self._open_until:
            raise GatewayUnavailable("The gateway has failed too often, and is left in peace for a while.")
        # This one may try; others wait until it has come back.
        self._open_until = self._clock() + self._pause_s

    def succeeded(self) -> None:
        """The gateway answered."""
        self._failures = 0
        self._open_until = None

    def failed(self) -> None:
        """It did not."""
        self._failures += 1
        if self._failures >= self._failures_max:
            if self._open_until is None:
                log.warning("the payment gateway failed %s times in a row", self._failures)
            self._open_until = self._clock() + self._pause_s


class Resilient:
    """A gateway with patience around it. Without a breaker it is tried every time."""

    def __init__(self, gateway: Gateway, patience: Patience, breaker: Breaker | None = None) -> None:
        self._gateway = gateway
        self._patience = patience
        self._breaker = breaker

    async def perform(self, request: GatewayRequest) -> Outcome:
        """Have it done, and know what became of it.

        Raises:
            GatewayUnavailable: it was certainly not done.
            GatewayTimeout: it may have been done.
        """
        for attempt in range(1, self._patience.attempts_max + 1):
            try:
                return await self._once(self._gateway.perform, request)
            except GatewayUnavailable:
                if attempt == self._patience.attempts_max:
                    raise
                await self._pause(attempt)
            except GatewayTimeout as unknown:
                outcome = await self._asked_about(request, unknown)
                if outcome is not None:
                    return outcome
        raise GatewayTimeout("The gateway was asked again and again, and did not say what became of it.")

    async def ask(self, request: GatewayRequest) -> Outcome | None:
        """What became of it; see `Gateway.ask`."""
        return await self._again(self._gateway.ask, request)

    async def forestall(self, request: GatewayRequest) -> Outcome:
        """See that it is never had; see `Gateway.forestall`."""
        return await self._again(self._gateway.forestall, request)

    async def standing(self, reference: str, currency: str) -> Standing | None:
        """How the payment stands; see `Gateway.standing`."""
        return await self._again(self._gateway.standing, reference, currency)

    async def _asked_about(self, request: GatewayRequest, unknown: GatewayTimeout) -> Outcome | None:
        try:
            return await self.ask(request)
        except GatewayUnavailable:
            # That the question did not get through says nothing about the operation.
            raise unknown from None

    async def _again(self, call: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """What does no harm twice may be tried again after any failure."""
        for attempt in range(1, self._patience.attempts_max):
            try:
                return await self._once(call, *arguments)
            except Unavailable:
                await self._pause(attempt)
        return await self._once(call, *arguments)

    async def _once(self, call: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        if self._breaker is not None:
            self._breaker.require_closed()
        try:
            async with asyncio.timeout(self._patience.timeout_s):
                answer = await call(*arguments)
        except TimeoutError:
            self._note(succeeded=False)
            raise GatewayTimeout("The gateway did not answer in time.") from None
        except Unavailable:
            self._note(succeeded=False)
            raise
        self._note(succeeded=True)
        return answer

    def _note(self, *, succeeded: bool) -> None:
        if self._breaker is not None:
            (self._breaker.succeeded if succeeded else self._breaker.failed)()

    async def _pause(self, attempt: int) -> None:
        longest_s = min(self._patience.pause_s * 2 ** (attempt - 1), _PAUSE_S_MAX)
        await asyncio.sleep(random.uniform(longest_s / 2, longest_s))  # noqa: S311 - spreads retries, no secret
