"""What all tests share: event loops, and the folder of the repository."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("guet", deadline=None, max_examples=60)
settings.load_profile("guet")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "virtual_time: the event loop skips its waiting, so that hours take milliseconds"
    )


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that a test runs in: the real one, or with the mark `virtual_time` one whose time is its own."""
    if item.get_closest_marker("virtual_time"):
        from simulator.virtual_time import VirtualLoop

        return {"virtual": VirtualLoop}
    return {"real": asyncio.new_event_loop}


@pytest.fixture(autouse=True)
def _language_ends_with_its_test() -> Iterator[None]:
    """`guet --lang en` chooses for the process, which here is that of many tests."""
    before = os.environ.get("GUET_LANG")
    yield
    if before is None:
        os.environ.pop("GUET_LANG", None)
    else:
        os.environ["GUET_LANG"] = before


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return Path(__file__).resolve().parents[1]
