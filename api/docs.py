"""The description of the API, for programs and for people; nothing of it is fetched from elsewhere."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import orjson
from swagger_ui_bundle import swagger_ui_path  # type: ignore[import-untyped]

from api.call import Call
from api.reply import JSON, Header, Reply
from api.routing import Handler

_ASSETS: Final = {
    "swagger-ui.css": b"text/css; charset=utf-8",
    "swagger-ui-bundle.js": b"text/javascript; charset=utf-8",
}
_PAGE: Final = b"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>KILLER ERP: the API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="api"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_START: Final = b"""SwaggerUIBundle({
  url: "/docs/openapi.json", dom_id: "#api", deepLinking: true, validatorUrl: null
});
"""
# Styles in line are how the page hides and shows its parts; scripts come from here only.
_POLICY: Final[Header] = (
    b"content-security-policy",
    (
        b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        b"font-src 'self' data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
)
_NOSNIFF: Final[Header] = (b"x-content-type-options", b"nosniff")


def docs_handlers(document: Mapping[str, Any]) -> Mapping[str, Handler]:
    """The handlers of the description and its page, by path."""
    # The bundled Swagger UI turns away everything but 3.0, so it gets the document in those words.
    handlers = {
        "/openapi.json": _fixed(orjson.dumps(document), JSON),
        "/docs": _fixed(_PAGE, _html("html"), _POLICY),
        "/docs/openapi.json": _fixed(orjson.dumps(_in_3_0({**document, "openapi": "3.0.3"})), JSON),
        "/docs/start.js": _fixed(_START, _html("javascript")),
    }
    return {**handlers, **{f"/docs/{name}": _asset(name, kind) for name, kind in _ASSETS.items()}}


def _html(kind: str) -> Header:
    return b"content-type", f"text/{kind}; charset=utf-8".encode()


def _fixed(body: bytes, *headers: Header) -> Handler:
    async def fixed(_: Call) -> Reply:
        return Reply(200, body, [*headers, _NOSNIFF])

    return fixed


def _asset(name: str, kind: bytes) -> Handler:
    async def asset(_: Call) -> Reply:
        headers = [(b"content-type", kind), _NOSNIFF, (b"cache-control", b"public, max-age=86400")]
        return Reply(200, _read(name), headers)

    return asset


@lru_cache
def _read(name: str) -> bytes:
    path: Path = swagger_ui_path / name
    return path.read_bytes()


def _in_3_0(value: Any) -> Any:
    """3.1 in the words of 3.0: null is a property of the type, a constant an enumeration of one."""
    if isinstance(value, list):
        return [_in_3_0(each) for each in value]
    if not isinstance(value, dict):
        return value
    said = {name: _in_3_0(each) for name, each in value.items()}
    if "const" in said:
        said["enum"] = [said.pop("const")]
    if "patternProperties" in said:
        # 3.0 cannot say what names are allowed, only what they may hold.
        said["additionalProperties"] = next(iter(said.pop("patternProperties").values()))
    branches = said.get("anyOf")
    if isinstance(branches, list) and {"type": "null"} in branches:
        kept = [branch for branch in branches if branch != {"type": "null"}]
        del said["anyOf"]
        return {**said, **(kept[0] if len(kept) == 1 else {"anyOf": kept}), "nullable": True}
    return said
