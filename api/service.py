"""What operators and their tools ask: is it alive, is it ready, what has it counted, how far has it come."""

import asyncio
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any, Final

from api.call import Call
from api.errors import log
from api.metrics import CONTENT_TYPE, Metrics, read_side_exposition
from api.ports import ApiSettings, Check, Checks, ReadSide
from api.reply import NO_STORE, Reply, json_reply
from api.routing import Handler
from projections.reading import Lag

_LAGS_TIMEOUT_S: Final = 0.5


def service_handlers(
    checks: Checks, metrics: Metrics, read_side: ReadSide, settings: ApiSettings
) -> Mapping[str, Handler]:
    """The handlers of the service endpoints, by path."""

    async def live(_: Call) -> Reply:
        return json_reply(200, {"status": "live"}, NO_STORE)

    async def ready(_: Call) -> Reply:
        found = await asyncio.gather(
            *(_checked(name, check, settings.check_timeout_s) for name, check in checks.items())
        )
        down = [each for each in found if not each["ok"]]
        is_ready = not any(each["required"] for each in down)
        told = {
            "status": "not_ready" if not is_ready else "degraded" if down else "ready",
            "dependencies": dict(zip(checks, found, strict=True)),
        }
        return json_reply(
            200 if is_ready else 503, told, NO_STORE, *([] if is_ready else [(b"retry-after", b"1")])
        )

    async def counted(_: Call) -> Reply:
        # With several workers this reads files.
        body = await asyncio.to_thread(metrics.exposition) + read_side_exposition(await lags())
        return Reply(200, body, [(b"content-type", CONTENT_TYPE), NO_STORE])

    async def lags() -> Sequence[Lag]:
        try:
            async with asyncio.timeout(_LAGS_TIMEOUT_S):
                return await read_side.lags()
        except Exception as error:  # noqa: BLE001 - what is counted here is told, whatever else is wrong
            log.warning("how far the read side is cannot be told: %s", str(error) or type(error).__name__)
            return []

    return {"/health/live": live, "/health/ready": ready, "/metrics": counted}


async def _checked(name: str, check: Check, timeout_s: float) -> dict[str, Any]:
    began = perf_counter()
    try:
        async with asyncio.timeout(timeout_s):
            await check.ask()
        ok = True
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it gives no sign of life
        log.warning("%s gives no sign of life: %s", name, str(error) or type(error).__name__)
        ok = False
    return {"ok": ok, "required": check.required, "latency_ms": round((perf_counter() - began) * 1000, 3)}
