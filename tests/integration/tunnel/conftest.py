"""Tests of this folder run on both loops."""

from tests.fixtures.loops import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]
