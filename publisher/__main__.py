"""The publisher as a process of its own.

`hostpulse publish` reads the settings, which takes a library larger than all of the publisher, and then becomes this.
"""

import sys

from hostpulse.bus.service import run_service

from .machine import Machine
from .service import PublisherOptions, PublisherService


def _make(options: PublisherOptions) -> PublisherService:
    return PublisherService(options, Machine(proc=options.proc, sys=options.sys, filesystem=options.filesystem))


def main() -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    return run_service(PublisherOptions, _make)


if __name__ == "__main__":
    sys.exit(main())
