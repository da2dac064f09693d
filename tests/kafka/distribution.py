"""The jars of an Apache Kafka broker, resolved by Maven once and kept under `.erp/`:

    python -m tests.kafka.distribution

What is there in whole is not asked for again: then neither Maven nor a network is needed.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
POM: Final = Path(__file__).with_name("pom.xml")
DISTRIBUTION: Final = ROOT / ".erp" / "kafka-dist"

_TIMEOUT_S: Final = 600


class NoDistribution(Exception):
    """There is none and none can be had; the text is one line for a person."""


def is_complete(folder: Path = DISTRIBUTION) -> bool:
    """Whether the folder holds what the pom says, all of it."""
    try:
        return (folder / POM.name).read_bytes() == POM.read_bytes()
    except OSError:
        return False


def resolve(folder: Path = DISTRIBUTION, *options: str) -> None:
    """See that the jars are in the folder; quick and without Maven when they are. `options` are Maven's.

    Raises:
        NoDistribution: Maven is not there, or cannot get them.
    """
    if is_complete(folder):
        return
    new = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    _run_maven(new, *options)
    # Last, so that an attempt that broke off is made again from the start.
    shutil.copyfile(POM, new / POM.name)
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)


def _run_maven(folder: Path, *options: str) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise NoDistribution("Maven (mvn) is not installed, and brings Apache Kafka")
    goal = [f"-DoutputDirectory={folder}", "-DincludeScope=runtime", "dependency:copy-dependencies"]
    command = [maven, "--batch-mode", "--quiet", "--strict-checksums", "--file", str(POM), *options, *goal]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise NoDistribution(f"Maven has not brought Apache Kafka within {_TIMEOUT_S} s") from None
    if done.returncode:
        reason = done.stdout.partition("[ERROR] ")[2].partition("\n")[0] or f"exit code {done.returncode}"
        raise NoDistribution(f"Maven cannot bring Apache Kafka; is Maven Central reached? {reason[:500]}")


def main() -> None:
    """Resolve, and say so when it takes a while."""
    if not is_complete():
        sys.stderr.write("Fetching Apache Kafka with Maven (once, about a minute)\n")
    try:
        resolve()
    except NoDistribution as error:
        sys.exit(f"make test-kafka: {error}")


if __name__ == "__main__":
    main()
