"""A gateway that moves no money: what it does follows from the card's token, so it needs no memory.

    tok_ok                    every operation is approved
    tok_declined              the authorisation is declined: card_declined
    tok_insufficient_funds    the same, with that code
    tok_timeout_once          the authorisation is approved, but only who asks about it is told
    tok_timeout_always        nobody is told anything

Any other token is declined: invalid_token. What is held is held for seven days.
"""

from datetime import timedelta
from typing import Final

from commands.payments.gateway import Approved, Declined, GatewayRequest, GatewayTimeout, Outcome
from domain.payments.operation import OperationKind, Standing

HOLD: Final = timedelta(days=7)

_DECLINED: Final = {
    "tok_declined": "card_declined",
    "tok_insufficient_funds": "insufficient_funds",
}
_APPROVED: Final = frozenset({"tok_ok", "tok_timeout_once"})


class SimulatedGateway:
    """Approves, declines or keeps silent, as the token says. The same operation always ends alike."""

    async def perform(self, request: GatewayRequest) -> Outcome:
        """Do as the token says."""
        if request.kind is OperationKind.AUTHORISE and request.token == "tok_timeout_once":  # noqa: S105 - no secret
            raise GatewayTimeout("The simulated gateway did it, and does not say so.")
        return self._outcome(request)

    async def ask(self, request: GatewayRequest) -> Outcome | None:
        """What `perform` has done or would do."""
        return self._outcome(request)

    async def forestall(self, request: GatewayRequest) -> Outcome:
        """What `perform` has done or would do: nothing is held here that could stay so."""
        return self._outcome(request)

    async def standing(self, reference: str, currency: str) -> Standing | None:  # noqa: ARG002 - of the port
        """Nothing happens here without our asking."""
        return None

    def _outcome(self, request: GatewayRequest) -> Outcome:
        if request.token == "tok_timeout_always":  # noqa: S105 - no secret
            raise GatewayTimeout("The simulated gateway says nothing.")
        if request.token in _APPROVED:
            return Approved(f"sim_{request.payment.hex}", request.requested_at + HOLD)
        return Declined(_DECLINED.get(request.token, "invalid_token"))
