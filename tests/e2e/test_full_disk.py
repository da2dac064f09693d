"""A disk that is full: posts are refused and can be tried again, nothing is half stored, and when there is
room again everything goes on.
"""

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from erp.embedded.postgres import EmbeddedPostgres
from eventstore.migrate import migrate
from tests.e2e.load import POSTED, Load
from tests.e2e.system import Api, Books, Home, is_problem
from tests.waiting import until

pytestmark = pytest.mark.e2e

MIB = 1024 * 1024
DISK_BYTES = 200 * MIB

_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of its own, in memory. Only root can mount one, and not in every container."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    options = f"size={DISK_BYTES},mode=0755".encode()
    with TemporaryDirectory(prefix="erp-disk-") as folder:
        if _libc.mount(b"tmpfs", folder.encode(), b"tmpfs", 0, options) != 0:
            pytest.skip(f"no small disk can be mounted here: {os.strerror(ctypes.get_errno())}")
        yield Path(folder)
        assert _libc.umount2(folder.encode(), 0) == 0, os.strerror(ctypes.get_errno())


def fill(disk: Path) -> Path:
    """Take up all that is left."""
    ballast = disk / "ballast"
    piece = bytes(MIB)
    with ballast.open("ab", buffering=0) as out:
        try:
            while True:
                out.write(piece)
        except OSError:
            pass
    return ballast


def test_a_full_disk(small_disk: Path) -> None:
    """503 while it is full, nothing half stored, 201 when there is room again, and the log verifies."""
    path = small_disk / "home"
    with EmbeddedPostgres(path) as server:
        migrate(server.url)
        home = Home(path)
        with Api(path) as api:
            books = Books.new(home, api.url).opened()
            with Load(books, clients=4) as load:
                load.until_acknowledged(50)
                ballast = fill(small_disk)
                # The log of Postgres has room set aside; the tables do not.
                until(lambda: load.refused, "posts are refused")
                ballast.unlink()
                load.until_acknowledged(50)
            assert {told.status for told in load.refused} == {503}
            assert all("retry-after" in told.headers for told in load.refused)
            load.require_exactly_once()
            assert books.events(POSTED)
            assert home.verified().misfit is None
            assert is_problem(books.post(currency="XYZ"), 400)
            books.close()
