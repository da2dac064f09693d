"""How bodies are packed on the wire: the encodings of HTTP, and ClickHouse's own compressed blocks.

Every decoder takes pieces of any size and any number of frames behind one another, as clients send them, and
says so when the last one is cut off. Output is never larger than its input allows: a piece at a time.
"""

import re
import sys
import zlib
from collections.abc import Iterator
from typing import Protocol

import lz4.frame

from erp.embedded.clickhouse.blocks import BlockEncoder, Blocks
from erp.embedded.clickhouse.faults import Fault

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_PIECE_BYTES_MAX = 1 << 20
# In the order in which this server prefers them.
_OFFERED = ("lz4", "zstd", "gzip", "deflate")


class Decoder(Protocol):
    """Unpacks a body piece by piece."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What can be unpacked so far."""

    def finish(self) -> None:
        """Nothing may be missing now, else Fault."""


class Encoder(Protocol):
    """Packs a body piece by piece."""

    def encode(self, data: bytes) -> bytes:
        """As much as there is to send."""

    def finish(self) -> bytes:
        """The rest."""


def decoder(content_encoding: str, *, blocks: bool) -> Decoder:
    """For a request with this Content-Encoding; with `blocks` ClickHouse's own blocks are inside.

    Raises:
        Fault: the encoding is not known.
    """
    outer: Decoder
    match content_encoding.strip().lower():
        case "" | "identity":
            outer = Plain()
        case "gzip" | "x-gzip" | "deflate" as name:
            outer = _Frames(lambda: _Inflate(zlib.MAX_WBITS if name == "deflate" else 16 + zlib.MAX_WBITS))
        case "zstd":
            outer = _Frames(zstd.ZstdDecompressor)
        case "lz4":
            outer = _Frames(lz4.frame.LZ4FrameDecompressor)
        case unknown:
            raise Fault.of(48, "NOT_IMPLEMENTED", f"Unknown compression method: {unknown}")
    return _Nested(outer, Blocks()) if blocks else outer


def chosen(accept_encoding: str) -> str:
    """The encoding of an answer to a client that accepts these; empty for none."""
    accepted = {
        name.strip()
        for name, _, quality in (part.partition(";") for part in accept_encoding.lower().split(","))
        if not re.fullmatch(r"\s*q=0(\.0*)?\s*", quality)
    }
    return next((name for name in _OFFERED if name in accepted), "")


def encoder(content_encoding: str, *, blocks: bool) -> Encoder:
    """For an answer with this Content-Encoding, of those that `chosen` knows."""
    outer: Encoder
    match content_encoding:
        case "lz4":
            outer = _Lz4()
        case "zstd":
            outer = _Zstd()
        case "gzip":
            outer = _Deflate(16 + zlib.MAX_WBITS)
        case "deflate":
            outer = _Deflate(zlib.MAX_WBITS)
        case _:
            outer = _Identity()
    return _Inside(BlockEncoder(), outer) if blocks else outer


# --- requests -----------------------------------------------------------------------------------


class Plain:
    """Not packed."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The data as they are."""
        if data:
            yield data

    def finish(self) -> None:
        """Any end is an end."""


class _Stream(Protocol):
    """What zlib, zstd and lz4 have in common: one frame, and what lies behind it."""

    eof: bool
    unused_data: bytes | None

    def decompress(self, data: bytes, /, max_length: int) -> bytes: ...


class _Inflate:
    """zlib's decompressor with the manners of the others."""

    def __init__(self, wbits: int) -> None:
        self._zlib = zlib.decompressobj(wbits)
        self._full = False

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._full and not self._zlib.unconsumed_tail

    def decompress(self, data: bytes, /, max_length: int) -> bytes:
        out = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self._full = len(out) == max_length
        return out


class _Frames:
    """Frames behind one another, each unpacked by a decompressor of its own."""

    def __init__(self, make: "type[_Stream] | object") -> None:
        self._make = make
        self._stream: _Stream | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Unpack at most a block at a time: a small piece may hold gigabytes."""
        while data or (self._stream is not None and not getattr(self._stream, "needs_input", True)):
            if self._stream is None:
                self._stream = self._make()  # type: ignore[operator]
            try:
                out = self._stream.decompress(data, max_length=_PIECE_BYTES_MAX)
            except (zlib.error, zstd.ZstdError, RuntimeError, EOFError) as error:
                raise Fault.of(
                    354, "ZLIB_INFLATE_FAILED", f"Cannot unpack the request's body: {error}."
                ) from None
            data = b""
            if self._stream.eof:
                data = self._stream.unused_data or b""
                self._stream = None
            if out:
                yield out

    def finish(self) -> None:
        """A frame that is not whole is one that the client did not finish."""
        if self._stream is not None:
            raise Fault.of(3, "UNEXPECTED_END_OF_FILE", "The request's compressed body is cut off.")


class _Nested:
    """One packing inside another."""

    def __init__(self, outer: Decoder, inner: Decoder) -> None:
        self._outer, self._inner = outer, inner

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Through both."""
        for piece in self._outer.feed(data):
            yield from self._inner.feed(piece)

    def finish(self) -> None:
        """Both must be whole."""
        self._outer.finish()
        self._inner.finish()


# --- answers ------------------------------------------------------------------------------------


class _Identity:
    def encode(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


class _Lz4:
    """One frame."""

    def __init__(self) -> None:
        self._lz4 = lz4.frame.LZ4FrameCompressor()
        self._begun = False

    def encode(self, data: bytes) -> bytes:
        begin = b"" if self._begun else self._lz4.begin()
        self._begun = True
        return bytes(begin + self._lz4.compress(data))

    def finish(self) -> bytes:
        return self.encode(b"") + bytes(self._lz4.flush())


class _Zstd:
    """One frame."""

    def __init__(self) -> None:
        self._zstd = zstd.ZstdCompressor(level=1)

    def encode(self, data: bytes) -> bytes:
        return self._zstd.compress(data)

    def finish(self) -> bytes:
        return self._zstd.flush()


class _Deflate:
    """gzip or zlib, by the window bits."""

    def __init__(self, wbits: int) -> None:
        self._zlib = zlib.compressobj(level=3, wbits=wbits)  # 3: ClickHouse's default

    def encode(self, data: bytes) -> bytes:
        return self._zlib.compress(data)

    def finish(self) -> bytes:
        return self._zlib.flush()


class _Inside:
    """One packing inside another."""

    def __init__(self, inner: Encoder, outer: Encoder) -> None:
        self._inner, self._outer = inner, outer

    def encode(self, data: bytes) -> bytes:
        return self._outer.encode(self._inner.encode(data))

    def finish(self) -> bytes:
        return self._outer.encode(self._inner.finish()) + self._outer.finish()
