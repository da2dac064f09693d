"""What a home holds of its ClickHouse, and where it listens; readable by every process of the home.

`clickhouse/` the data folder, with the file `instance` · `clickhouse.json` port and password, made once ·
`clickhouse.lock` who uses the server · `clickhouse.start.lock` who starts or stops it ·
`clickhouse.server.lock` held by the server, its pid inside · `clickhouse.log` what it and its engine said.
"""

import json
import os
import secrets
import socket
import uuid
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

HOST = "127.0.0.1"
USER = "default"
DATABASE = "default"
# What the process that starts the server hears of it.
READY = "ready"


class Address(NamedTuple):
    """Where the server of a home listens, and the password that it asks for."""

    port: int
    password: str

    def url(self, database: str = DATABASE) -> str:
        """As `clickhouse_connect.get_client(dsn=…)` takes it."""
        return f"http://{USER}:{self.password}@{HOST}:{self.port}/{quote(database, safe='')}"


def data_dir(home: Path) -> Path:
    """The engine's folder."""
    return home / "clickhouse"


def log(home: Path) -> Path:
    """The server's log."""
    return home / "clickhouse.log"


def address(home: Path) -> Address | None:
    """As it was recorded; None where no server has been started yet."""
    try:
        recorded = json.loads((home / "clickhouse.json").read_text())
        return Address(int(recorded["port"]), str(recorded["password"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def record(home: Path, found: Address) -> None:
    """Write the address down, whole or not at all, for the owner's eyes only."""
    new = home / "clickhouse.json.new"
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        json.dump(found._asdict(), out)
    new.replace(home / "clickhouse.json")


def listen(home: Path) -> tuple[socket.socket, Address]:
    """A socket on the recorded port, so that clients find the server again; on another where it is taken."""
    known = address(home)
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((HOST, known.port if known else 0))
    except OSError:
        found.bind((HOST, 0))
    # From now on connections wait in line instead of being refused, while the engine starts.
    found.listen(128)
    port = found.getsockname()[1]
    now = Address(port, known.password if known else secrets.token_urlsafe(24))
    if now != known:
        record(home, now)
    return found, now


def instance(home: Path) -> str:
    """The id of the data folder, made with it: whoever wipes or replaces the folder has another one."""
    file = data_dir(home) / "instance"
    try:
        return str(uuid.UUID(file.read_text().strip()))
    except (OSError, ValueError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = str(uuid.uuid4())
        new = file.with_name("instance.new")
        with new.open("w") as out:
            out.write(f"{made}\n")
            out.flush()
            os.fsync(out.fileno())
        new.replace(file)
        return made
