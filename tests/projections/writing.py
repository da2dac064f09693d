"""A writer in a process of its own: `python -m tests.projections.writing <owner's url> <tenant>`, until it is
told to end; what it began is written then.
"""

import signal
import sys
import threading
from uuid import UUID, uuid4

import psycopg

from tests.eventstore.requests import call, new_event, new_request

over = threading.Event()


def main(owner_url: str, tenant: UUID) -> None:
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    with psycopg.connect(owner_url, autocommit=True) as connection:
        while not over.wait(0.02):
            stream = uuid4()
            call(connection, new_request(tenant, *(new_event(stream, version) for version in (1, 2))))


if __name__ == "__main__":
    main(sys.argv[1], UUID(sys.argv[2]))
