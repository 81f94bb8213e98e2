"""`python -m hostpulse.cli` is `hostpulse`."""

import sys

from .main import main

if __name__ == "__main__":
    sys.exit(main())
