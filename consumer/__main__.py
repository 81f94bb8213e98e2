"""The consumer as a process of its own: options as JSON on standard input, so that no secret is on a command line."""

import logging
import signal
import sys

import msgspec

from hostpulse.bus.errors import HostpulseError

from .service import ConsumerOptions, StoreService


def main() -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    options = msgspec.json.decode(sys.stdin.buffer.read(), type=ConsumerOptions)
    logging.basicConfig(level=options.log_level.upper(), format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        service = StoreService(options)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: service.stop())
        service.run()
    except HostpulseError as error:
        sys.stderr.write(f"ERROR {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
