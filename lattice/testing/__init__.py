"""Doubles that behave like the real thing, shipped and tested: contract suites run on both."""

from lattice.testing.clock import ManualClock

__all__ = ["ManualClock"]
