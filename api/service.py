"""What operators and their tools ask: is it alive, is it ready, what has it counted."""

import asyncio
from collections.abc import Mapping
from time import perf_counter
from typing import Any

from api.call import Call
from api.errors import log
from api.metrics import CONTENT_TYPE, Metrics
from api.ports import ApiSettings, Check, Checks
from api.reply import NO_STORE, Reply, json_reply
from api.routing import Handler


def service_handlers(checks: Checks, metrics: Metrics, settings: ApiSettings) -> Mapping[str, Handler]:
    """The handlers of the service endpoints, by path."""

    async def live(_: Call) -> Reply:
        return json_reply(200, {"status": "live"}, NO_STORE)

    async def ready(_: Call) -> Reply:
        found = await asyncio.gather(
            *(_checked(name, check, settings.check_timeout_s) for name, check in checks.items())
        )
        is_ready = all(each["ok"] for each in found)
        told = {
            "status": "ready" if is_ready else "not_ready",
            "dependencies": dict(zip(checks, found, strict=True)),
        }
        return json_reply(
            200 if is_ready else 503, told, NO_STORE, *([] if is_ready else [(b"retry-after", b"1")])
        )

    async def counted(_: Call) -> Reply:
        # With several workers this reads files.
        body = await asyncio.to_thread(metrics.exposition)
        return Reply(200, body, [(b"content-type", CONTENT_TYPE), NO_STORE])

    return {"/health/live": live, "/health/ready": ready, "/metrics": counted}


async def _checked(name: str, check: Check, timeout_s: float) -> dict[str, Any]:
    began = perf_counter()
    try:
        async with asyncio.timeout(timeout_s):
            await check()
        ok = True
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it is not ready
        log.warning("%s is not ready: %s", name, str(error) or type(error).__name__)
        ok = False
    return {"ok": ok, "latency_ms": round((perf_counter() - began) * 1000, 3)}
