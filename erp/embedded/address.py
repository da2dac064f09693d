"""Where the embedded Postgres of a home listens: a function of the home alone.

So every process of a home (supervisor, API worker, a command in another shell) knows the URLs without asking
a running server, and Settings can hold them from the start.
"""

import hashlib
import re
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

DATABASE = "erp"
SUPERUSER = "postgres"
PORT = 5432

# sun_path holds 104 bytes on macOS and 108 on Linux; "/.s.PGSQL.5432.lock" and a final NUL belong to it.
_SOCKET_DIR_BYTES_MAX = 80
# libpq splits hosts at commas, and Postgres its list of socket directories.
_PLAIN = re.compile(r"[A-Za-z0-9/._-]+")


def data_dir(home: Path) -> Path:
    """The Postgres data directory of a home."""
    return home.resolve() / "postgres"


def socket_dir(home: Path) -> Path:
    """The folder of the Unix socket: the data directory, or a short one under /tmp where its path is too long
    for a socket or has characters that Postgres reads as separators.
    """
    inside = data_dir(home)
    if len(str(inside).encode()) <= _SOCKET_DIR_BYTES_MAX and _PLAIN.fullmatch(str(inside)):
        return inside
    # Not tempfile.gettempdir(): it follows TMPDIR, and two shells of one user may differ in it.
    return Path("/tmp") / f"killer-erp-{hashlib.sha256(str(inside).encode()).hexdigest()[:16]}"  # noqa: S108


def url(home: Path, user: str = SUPERUSER, database: str = DATABASE) -> str:
    """The psycopg URL of the embedded Postgres of this home, whether it runs or not."""
    return f"postgresql://{user}@/{database}?host={quote(str(socket_dir(home)), safe='/')}&port={PORT}"


def with_user(url: str, user: str, password: str | None = None) -> str:
    """The same URL for another role: `with_user(owner_url, "erp_app")`."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    secret = "" if password is None else f":{quote(password, safe='')}"
    return urlunsplit(parts._replace(netloc=f"{quote(user, safe='')}{secret}@{host}"))
