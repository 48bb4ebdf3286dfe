"""Doubles that behave like the real thing, shipped and tested: contract suites run on both."""

from lattice.testing.broker import MemoryBroker
from lattice.testing.bus import MemoryBus
from lattice.testing.clock import ManualClock
from lattice.testing.runtime import FakeRuntime
from lattice.testing.store import MemoryDatabase, MemoryStore

__all__ = ["FakeRuntime", "ManualClock", "MemoryBroker", "MemoryBus", "MemoryDatabase", "MemoryStore"]
