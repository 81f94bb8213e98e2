"""The consumer as a process of its own; `hostpulse consume` becomes this."""

import sys

from hostpulse.bus.service import run_service

from .service import ConsumerOptions, StoreService


def main() -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    return run_service(ConsumerOptions, StoreService)


if __name__ == "__main__":
    sys.exit(main())
