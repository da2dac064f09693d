"""What goes wrong, as ClickHouse says it: a code, a sentence with the code's name, and a status of HTTP."""

import re
from http import HTTPStatus

_CODE = re.compile(r"Code: (\d+)\. ")
_VERSION = re.compile(r" \(version [^()]*(?:\([^()]*\))?\)\s*$")

STD_EXCEPTION = 1001

# ClickHouse's own table of statuses; every other code is a 500. One line is ours: 202, too many queries, is
# a 503, which clients wait out and repeat.
_STATUSES: dict[HTTPStatus, tuple[int, ...]] = {
    HTTPStatus.BAD_REQUEST: (
        *(6, 8, 15, 25, 26, 27, 36, 37, 38, 41, 44, 53, 62, 72, 117, 123, 167, 168, 223, 321),
        *(376, 427, 441, 675, 676),
    ),
    HTTPStatus.UNAUTHORIZED: (194,),
    HTTPStatus.FORBIDDEN: (192, 193, 497, 512, 516),
    HTTPStatus.NOT_FOUND: (46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511),
    HTTPStatus.REQUEST_TIMEOUT: (159,),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: (229,),
    HTTPStatus.NOT_IMPLEMENTED: (48,),
    HTTPStatus.SERVICE_UNAVAILABLE: (76, 202, 209, 439),
}
_STATUS_OF = {code: status for status, codes in _STATUSES.items() for code in codes}


class Fault(Exception):
    """A refusal of the engine or of this server; `str()` is the sentence that the client reads."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code

    @classmethod
    def of(cls, code: int, name: str, sentence: str) -> "Fault":
        """A refusal of this server's own, worded as the engine words its refusals."""
        return cls(code, f"Code: {code}. DB::Exception: {sentence} ({name})")

    @classmethod
    def from_engine(cls, text: str) -> "Fault":
        """What the engine said, without what it sometimes adds about its version."""
        text = _VERSION.sub("", text.strip())
        found = _CODE.search(text)
        if found is None:
            return cls(STD_EXCEPTION, f"Code: {STD_EXCEPTION}. DB::Exception: {text} (STD_EXCEPTION)")
        return cls(int(found[1]), text[found.start() :])

    @property
    def status(self) -> HTTPStatus:
        """The status of an answer that has not begun yet."""
        return _STATUS_OF.get(self.code, HTTPStatus.INTERNAL_SERVER_ERROR)
