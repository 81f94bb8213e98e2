"""The publisher as a process of its own: options as JSON on standard input, so that no secret is on a command line.

`hostpulse publish` reads the settings, which takes a library larger than all of the publisher, and then becomes this.
"""

import logging
import signal
import sys

import msgspec

from hostpulse.bus.errors import HostpulseError

from .machine import Machine
from .service import PublisherOptions, PublisherService


def main() -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    options = msgspec.json.decode(sys.stdin.buffer.read(), type=PublisherOptions)
    logging.basicConfig(level=options.log_level.upper(), format="%(levelname)s %(message)s", stream=sys.stderr)
    machine = Machine(proc=options.proc, sys=options.sys, filesystem=options.filesystem)
    try:
        service = PublisherService(options, machine)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: service.stop())
        service.run()
    except HostpulseError as error:
        sys.stderr.write(f"ERROR {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
