"""Every way a request can fail, as RFC 9457 `application/problem+json`.

RequestError                what HTTP itself or the edge refuses; each carries its status
├── InvalidRequest          400, with a JSON pointer (RFC 6901) for each bad field
├── SignatureInvalid        400
├── Unauthenticated         401
├── UnknownTenant           403
├── NotFound                404
├── MethodNotAllowed        405
├── NotAcceptable           406
├── BodyTooLarge            413
├── UnsupportedMediaType    415
├── KnownAtInFuture         422
├── TooManyRequests         429
└── ProjectionLagging       503
ClientGone                  nobody is left to answer

Domain and bus know nothing of HTTP: the one table from their codes to statuses is `STATUS_BY_CODE`.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final

import orjson

from api.reply import Headers, Reply
from commands.errors import CommandError
from domain.shared.errors import DomainError, Unavailable

log = logging.getLogger("erp.api")

ERRORS_SHOWN_MAX: Final = 50

STATUS_BY_CODE: Final[Mapping[str, int]] = {
    # what the bus says
    "permission_denied": 403,
    "version_mismatch": 412,
    "concurrency_conflict": 409,
    "idempotency_key_reused": 422,
    # what the path names is not there
    "finance.account_not_found": 404,
    "finance.period_not_found": 404,
    "finance.entry_not_found": 404,
    "finance.entry_discarded": 404,
    "finance.account_mapping_not_set": 404,
    "payments.payment_not_found": 404,
    "inventory.item_not_found": 404,
    "inventory.reservation_not_found": 404,
    "inventory.delivery_not_found": 404,
    "sales.order_not_found": 404,
    "sales.line_not_found": 404,
    # what was to be created is there already
    "finance.account_exists": 409,
    "finance.year_exists": 409,
    "payments.payment_exists": 409,
    "inventory.item_exists": 409,
    "inventory.reservation_exists": 409,
    # what becomes of something else has to be known first
    "payments.operation_pending": 409,
}
"""Everything else that the domain refuses is 422."""

PROBLEM: Final[tuple[bytes, bytes]] = (b"content-type", b"application/problem+json")
FieldErrors = Sequence[Mapping[str, str]]


class RequestError(Exception):
    """The request cannot be taken as it is. `members` become extension members of the problem."""

    status: ClassVar[int]
    code: ClassVar[str]

    def __init__(self, detail: str, *, headers: Headers = (), **members: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers
        self.members = members


class InvalidRequest(RequestError):
    """The schema does not allow it; `errors` name the fields."""

    status = 400
    code = "invalid_request"

    def __init__(self, detail: str, errors: Iterable[tuple[str, str]] = ()) -> None:
        shown = [{"pointer": at, "detail": why} for at, why in errors][:ERRORS_SHOWN_MAX]
        super().__init__(detail)
        if shown:
            self.members = {"errors": shown}


class SignatureInvalid(RequestError):
    """A message that has to be signed is not, or not by who should have, or too long ago."""

    status = 400
    code = "signature_invalid"


class Unauthenticated(RequestError):
    """Who asks is not proven (RFC 6750)."""

    status = 401
    code = "unauthenticated"

    def __init__(self, detail: str, *, token_given: bool) -> None:
        challenge = b'Bearer realm="erp"' + (b', error="invalid_token"' if token_given else b"")
        super().__init__(detail, headers=((b"www-authenticate", challenge),))


class UnknownTenant(RequestError):
    """The token is good, but for a tenant that does not exist."""

    status = 403
    code = "unknown_tenant"


class NotFound(RequestError):
    """There is nothing at the path."""

    status = 404
    code = "not_found"


class MethodNotAllowed(RequestError):
    """The path has other methods (RFC 9110, 15.5.6)."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, method: str, allow: bytes) -> None:
        super().__init__(f"{method} is not offered here.", headers=((b"allow", allow),))


class NotAcceptable(RequestError):
    """The answer has no form that the client would take (RFC 9110, 15.5.7)."""

    status = 406
    code = "not_acceptable"


class BodyTooLarge(RequestError):
    """The body is beyond the limit."""

    status = 413
    code = "body_too_large"

    def __init__(self, bytes_max: int) -> None:
        super().__init__(f"The body is larger than {bytes_max} bytes.")


class UnsupportedMediaType(RequestError):
    """The body is not of the type that is taken here."""

    status = 415
    code = "unsupported_media_type"


class KnownAtInFuture(RequestError):
    """What will be known at that instant cannot be told yet."""

    status = 422
    code = "known_at_in_future"


class ProjectionLagging(RequestError):
    """The read side has not come to where it is wanted. `position`: where it is, None: nothing answers."""

    status = 503
    code = "projection_lagging"

    def __init__(self, position: int | None) -> None:
        reached = "" if position is None else f" It has come to position {position}."
        headers = [(b"retry-after", b"1")]
        if position is not None:
            headers.append((b"x-projection-position", b"%d" % position))
        super().__init__(
            f"The read side is not there yet.{reached} Try again, or wait for it: Prefer: wait=5.",
            headers=headers,
            position=position,
        )


class TooManyRequests(RequestError):
    """More requests are in flight, or more streams open, than the process takes."""

    status = 429
    code = "too_many_requests"

    def __init__(self, detail: str = "Too many requests are in flight; try again.") -> None:
        super().__init__(detail, headers=((b"retry-after", b"1"),))


class ClientGone(Exception):
    """The client hung up; there is nobody to answer."""


class Fault:
    """What to tell about an exception: status, code, detail, more members, more headers."""

    __slots__ = ("code", "detail", "headers", "members", "status")

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        members: Mapping[str, Any] | None = None,
        headers: Headers = (),
    ) -> None:
        self.status = status
        self.code = code
        self.detail = detail
        self.members = members or {}
        self.headers = headers

    @classmethod
    def of(cls, error: Exception, correlation_id: str) -> "Fault":
        """What `error` means to the client. The unforeseen is logged, and told without its internals."""
        match error:
            case RequestError():
                return cls(
                    error.status, error.code, error.detail, members=error.members, headers=error.headers
                )
            case DomainError() | CommandError():
                status = STATUS_BY_CODE.get(error.code, 422)
                return cls(status, error.code, error.detail, members=error.data)
            case Unavailable():
                detail = (
                    "A dependency cannot be reached right now. Try again, under the same Idempotency-Key."
                )
                return cls(503, "unavailable", detail, headers=((b"retry-after", b"1"),))
            case _:
                log.error("unexpected %s in %s", type(error).__name__, correlation_id, exc_info=error)
                return cls(500, "internal_error", "Something went wrong here, not in your request.")


def problem(fault: Fault, instance: str) -> Reply:
    """The answer for `fault`; `instance` is the path asked for."""
    standard = {
        "type": f"urn:killer-erp:problem:{fault.code}",
        "title": title(fault.code),
        "status": fault.status,
        "detail": fault.detail,
        "instance": instance,
        "code": fault.code,
    }
    # The standard members come first and win: no datum of a rule may pose as the status.
    body = orjson.dumps({**standard, **fault.members, **standard}, default=str)
    return Reply(fault.status, body, [PROBLEM, *fault.headers])


def title(code: str) -> str:
    """A short name of the kind of problem, the same for each occurrence."""
    return code.rpartition(".")[2].replace("_", " ").capitalize()
