"""A world for each test."""

from collections.abc import AsyncIterator

import pytest

from tests.sagas.world import World, world


@pytest.fixture
async def parcels(own_url: str) -> AsyncIterator[World]:
    """A log of the test's own."""
    async with world(own_url) as made:
        yield made
