"""The role `alerts` as a process of its own; `hostpulse consume --role alerts` becomes this."""

import sys

from hostpulse.bus.service import run_service

from .service import AlertOptions, AlertService


def main() -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    return run_service(AlertOptions, AlertService)


if __name__ == "__main__":
    sys.exit(main())
