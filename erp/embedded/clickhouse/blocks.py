"""ClickHouse's own compressed blocks: checksum (CityHash 1.0.2, 128 bits), method, two sizes, data.

What the native protocol, `compress=1` and `decompress=1`, and the files of columns on disk have in common.
"""

import struct
import sys
from collections.abc import Iterator

import lz4.block
from clickhouse_cityhash.cityhash import CityHash128

from erp.embedded.clickhouse.faults import Fault

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BLOCK_BYTES_MAX = 1 << 20
_COMPRESSED_BYTES_MAX = 1 << 30
_HEADER = struct.Struct("<BII")
_CHECKSUM_BYTES = 16
_LZ4, _ZSTD, _NONE = 0x82, 0x90, 0x02


class Blocks:
    """Unpacks them, piece by piece."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The blocks that are whole by now."""
        self._rest += data
        while len(self._rest) >= _CHECKSUM_BYTES + _HEADER.size:
            method, size, plain_size = _HEADER.unpack_from(self._rest, _CHECKSUM_BYTES)
            if not _HEADER.size <= size <= _COMPRESSED_BYTES_MAX or plain_size > _COMPRESSED_BYTES_MAX:
                raise Fault.of(
                    271, "CANNOT_DECOMPRESS", "Too large size of a compressed block: corrupted data."
                )
            end = _CHECKSUM_BYTES + size
            if len(self._rest) < end:
                return
            block = bytes(self._rest[_CHECKSUM_BYTES:end])
            if _checksum(block) != self._rest[:_CHECKSUM_BYTES]:
                raise Fault.of(40, "CHECKSUM_DOESNT_MATCH", "Checksum doesn't match: corrupted data.")
            del self._rest[:end]
            yield _unpacked(method, block[_HEADER.size :], plain_size)

    def finish(self) -> None:
        """A block that is not whole is one that the client did not finish."""
        if self._rest:
            raise Fault.of(3, "UNEXPECTED_END_OF_FILE", "The request's compressed body is cut off.")


def _unpacked(method: int, data: bytes, plain_size: int) -> bytes:
    try:
        if method == _LZ4:
            return bytes(lz4.block.decompress(data, uncompressed_size=plain_size))
        if method == _ZSTD:
            return zstd.decompress(data)
        if method == _NONE:
            return data
    except (lz4.block.LZ4BlockError, zstd.ZstdError) as error:
        raise Fault.of(271, "CANNOT_DECOMPRESS", f"Cannot decompress: {error}.") from None
    raise Fault.of(89, "UNKNOWN_COMPRESSION_METHOD", f"Unknown compression method {method:#x}.")


class BlockEncoder:
    """Packs them, with LZ4."""

    def encode(self, data: bytes) -> bytes:
        """Blocks of a megabyte at most."""
        return b"".join(
            _block(data[at : at + BLOCK_BYTES_MAX]) for at in range(0, len(data), BLOCK_BYTES_MAX)
        )

    def finish(self) -> bytes:
        """Blocks need no end."""
        return b""


def _block(data: bytes) -> bytes:
    packed: bytes = lz4.block.compress(data, store_size=False)
    block = _HEADER.pack(_LZ4, _HEADER.size + len(packed), len(data)) + packed
    return _checksum(block) + block


def _checksum(block: bytes) -> bytes:
    low, high = divmod(CityHash128(block), 1 << 64)
    return struct.pack("<QQ", low, high)
