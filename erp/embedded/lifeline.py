"""A child that outlives its parent ends itself, so that a kill -9 of the parent leaves nothing running.

Two forms: a pipe whose other end the parent holds, and the sentinel that multiprocessing gives its workers.
Both end the child by SIGTERM to itself: it drains what is in flight, as at any other stop.
"""

import multiprocessing
import os
import signal
import threading


def end_with_pipe(descriptor: int) -> None:
    """End this process when the pipe's writing end, which the parent holds and never writes to, is closed."""

    def wait() -> None:
        os.read(descriptor, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def end_with_parent() -> None:
    """In a process that multiprocessing made: end it when the parent is gone. Elsewhere: nothing."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
