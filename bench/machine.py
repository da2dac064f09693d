"""On what a bench ran: figures without it say nothing."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import psutil

_PACKAGES: Final = (
    "aiokafka",
    "chdb",
    "clickhouse-connect",
    "confluent-kafka",
    "eventsourcing",
    "faust-streaming",
    "httptools",
    "orjson",
    "psycopg",
    "pydantic",
    "starlette",
    "uvicorn",
    "uvloop",
)


def facts() -> dict[str, Any]:
    """Processor, memory, system, interpreter and the libraries on a command's path."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        # Above the number of cores that the bench itself keeps busy, others worked on the machine too.
        "load_average": [round(each, 2) for each in os.getloadavg()],
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
