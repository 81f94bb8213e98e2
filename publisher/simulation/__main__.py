"""The simulation as a process of its own, as `hostpulse simulate` becomes it."""

import sys

from hostpulse.bus.service import run_service

from .service import SimulationOptions, SimulationService

if __name__ == "__main__":
    sys.exit(run_service(SimulationOptions, SimulationService))
