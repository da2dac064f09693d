"""Gateways that payments go through; which one, the settings say."""

from commands.payments.gateway import Gateway
from erp.gateways.resilient import Breaker, Patience, Resilient
from erp.gateways.simulated import SimulatedGateway
from erp.settings import PaymentsSettings

__all__ = ["gateway_of"]


def gateway_of(settings: PaymentsSettings) -> Gateway:
    """The gateway that the settings name, patient with its failures."""
    patience = Patience(timeout_s=settings.timeout_s, attempts_max=settings.attempts_max)
    if settings.gateway == "simulated":
        # Its time-outs are a card's, not the gateway's: they say nothing about other payments.
        return Resilient(SimulatedGateway(), patience._replace(pause_s=0.01))
    # Its HTTP client takes a tenth of a second to load, which nobody else has to wait for.
    from erp.gateways.stripe import StripeGateway  # noqa: PLC0415

    stripe = StripeGateway(settings.stripe_key, url=settings.stripe_url, timeout_s=settings.timeout_s)
    return Resilient(stripe, patience, Breaker(settings.breaker_failures_max, settings.breaker_pause_s))
