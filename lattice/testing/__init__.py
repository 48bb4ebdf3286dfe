"""Doubles that behave like the real thing, shipped and tested: contract suites run on both."""

from lattice.testing.clock import ManualClock
from lattice.testing.runtime import FakeRuntime

__all__ = ["FakeRuntime", "ManualClock"]
