"""Synthetic hosts: real publishers, each with a session and an outbox of its own, whose values are made up."""

from .collector import SIMULATED
from .service import SimulationOptions, SimulationService

__all__ = ["SIMULATED", "SimulationOptions", "SimulationService"]
