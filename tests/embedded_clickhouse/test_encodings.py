"""Bodies packed in every way: pieces of any size, several frames, cut off, and broken."""

import gzip
import zlib
from pathlib import Path
from typing import Any

import lz4.frame
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from erp.embedded.clickhouse.blocks import BlockEncoder, Blocks
from erp.embedded.clickhouse.encodings import chosen, decoder, encoder
from erp.embedded.clickhouse.faults import Fault

PACK = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress, "lz4": lz4.frame.compress}


def unpack(found: Any, data: bytes, step: int) -> bytes:
    out = b"".join(b"".join(found.feed(data[at : at + step])) for at in range(0, len(data), step))
    found.finish()
    return out


@pytest.mark.parametrize("name", PACK)
@given(frames=st.lists(st.binary(max_size=300), min_size=1, max_size=4), step=st.integers(1, 400))
def test_frames_behind_one_another(name: str, frames: list[bytes], step: int) -> None:
    packed = b"".join(PACK[name](frame) for frame in frames)
    assert unpack(decoder(name, blocks=False), packed, step) == b"".join(frames)


@pytest.mark.parametrize("name", ["", *PACK])
@pytest.mark.parametrize("blocks", [False, True])
@given(pieces=st.lists(st.binary(max_size=300), max_size=4), step=st.integers(1, 400))
def test_what_is_packed_is_unpacked(name: str, blocks: bool, pieces: list[bytes], step: int) -> None:
    packing = encoder(name, blocks=blocks)
    packed = b"".join(packing.encode(piece) for piece in pieces) + packing.finish()
    assert unpack(decoder(name, blocks=blocks), packed, step) == b"".join(pieces)


@pytest.mark.parametrize("name", PACK)
def test_a_small_piece_never_becomes_a_large_one(name: str) -> None:
    """A megabyte of zeros packed a hundredfold comes out in pieces."""
    packed = PACK[name](bytes(20_000_000))
    found = decoder(name, blocks=False)
    sizes = [len(piece) for piece in found.feed(packed)]
    found.finish()
    assert (sum(sizes), max(sizes) <= 1 << 20) == (20_000_000, True)


@pytest.mark.parametrize("name", PACK)
def test_a_body_that_is_cut_off_is_told(name: str) -> None:
    with pytest.raises(Fault, match="cut off"):
        unpack(decoder(name, blocks=False), PACK[name](b"x" * 5000)[:-3], 100)
    with pytest.raises(Fault, match="Cannot unpack"):
        unpack(decoder(name, blocks=False), b"this is not packed at all", 100)


def test_blocks_that_were_altered_or_cut_off_are_told() -> None:
    packed = BlockEncoder().encode(b"some rows " * 100)
    with pytest.raises(Fault, match="cut off"):
        unpack(Blocks(), packed[:-1], 50)
    for at in (0, 20, len(packed) - 1):
        altered = bytes([*packed[:at], packed[at] ^ 1, *packed[at + 1 :]])
        with pytest.raises(Fault, match=r"Checksum|Too large|cut off"):
            unpack(Blocks(), altered, 50)


def test_the_engines_own_files_are_read_as_blocks(client: Any, clickhouse_home: Path) -> None:
    """Columns lie on disk in the same blocks: what this code reads is what ClickHouse writes."""
    for codec in ("LZ4", "ZSTD(1)", "NONE"):
        client.command(
            f"CREATE OR REPLACE TABLE t (n UInt64 CODEC({codec})) ENGINE = MergeTree ORDER BY n"
            " SETTINGS min_bytes_for_wide_part = 0, compress_marks = 0"
        )
        client.command("INSERT INTO t SELECT number FROM numbers(100000)")
        path = client.command(
            "SELECT path FROM system.parts WHERE table = 't' AND database = 'test' AND active"
        )
        column = (clickhouse_home / "clickhouse" / path / "n.bin").read_bytes()
        numbers = unpack(Blocks(), column, 4096)
        assert numbers == b"".join(n.to_bytes(8, "little") for n in range(100_000))


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        ("gzip, deflate", "gzip"),
        ("lz4,zstd,gzip,deflate", "lz4"),
        ("br, zstd;q=0.5", "zstd"),
        ("gzip;q=0, deflate", "deflate"),
        ("identity", ""),
        ("", ""),
    ],
)
def test_the_encoding_of_an_answer(accepted: str, expected: str) -> None:
    assert chosen(accepted) == expected
