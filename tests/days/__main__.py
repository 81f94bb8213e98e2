"""Records the days anew: `PYTHONPATH=src python -m tests.days [KIND ...]`.

It has to be done when a field of the publisher or a machine's day has changed, and takes four minutes of CPU.
"""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from .kinds import KINDS
from .recorder import record
from .recording import recording_of, save


def _record(name: str) -> str:
    path = recording_of(name)
    with TemporaryDirectory() as folder:
        arrivals = record(KINDS[name], Path(folder))
    save(arrivals, path)
    return f"{name}: {len(arrivals)} messages, {path.stat().st_size} bytes"


def main() -> int:
    """Record the days of the kinds that are named, or of all."""
    parser = argparse.ArgumentParser(prog="python -m tests.days", description="Record the days of the machines anew.")
    parser.add_argument("kind", nargs="*", choices=[[], *KINDS], help="of machine; without any: all")
    names = parser.parse_args().kind or sorted(KINDS)
    with ProcessPoolExecutor() as executor:
        for text in executor.map(_record, names):
            sys.stdout.write(f"{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
