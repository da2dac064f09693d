"""`python -m erp.embedded.clickhouse HOME` starts the server of a home, and ends once it answers.

0: it serves, in a process of its own. 1: it does not; one line on stderr says why.
"""

import os
import sys
import time
from pathlib import Path

from erp.embedded.clickhouse.place import READY


def main(home: Path) -> int:
    """Part from the server that is about to be, and wait until it is."""
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        with os.fdopen(reading) as told:
            words = told.read()
        if words != READY:
            sys.stderr.write(f"{words or 'it ended at its start'}\n")
        return int(words != READY)
    os.close(reading)
    # The engine's time zone is the one of the process that loads it.
    os.environ["TZ"] = "UTC"
    time.tzset()
    # Half a gigabyte of library, and threads: loaded on the far side of the fork only.
    from erp.embedded.clickhouse import serve  # noqa: PLC0415

    code = serve.run(home, writing)
    # Not through the interpreter's end: a statement that cannot be stopped must not hold the process up.
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
