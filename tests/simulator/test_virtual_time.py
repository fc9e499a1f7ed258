"""Virtual time: waiting costs nothing, and threads cost no virtual time."""

import asyncio
import time

import pytest

from simulator.virtual_time import in_virtual_time


def test_a_month_passes_at_once() -> None:
    async def month() -> float:
        await asyncio.sleep(30 * 86_400)
        return asyncio.get_running_loop().time()

    began_s = time.monotonic()
    assert in_virtual_time(month()) == pytest.approx(30 * 86_400)
    assert time.monotonic() - began_s < 10


def test_after_years_the_shortest_waits_still_end() -> None:
    async def years() -> int:
        await asyncio.sleep(10 * 365.25 * 86_400 + 0.1)
        for number in range(1000):
            await asyncio.sleep(0.001 + number * 1e-7)
        return number

    assert in_virtual_time(years()) == 999


def test_time_stands_still_while_a_thread_works() -> None:
    async def work() -> tuple[float, str]:
        loop = asyncio.get_running_loop()
        ticking = asyncio.create_task(asyncio.sleep(0.01, "tick"))
        async with asyncio.timeout(0.02):
            await asyncio.to_thread(time.sleep, 0.1)
        assert not ticking.done()
        return loop.time(), await ticking

    now_s, said = in_virtual_time(work())
    assert now_s == 0.0
    assert said == "tick"


def test_time_goes_on_after_a_thread_that_failed_or_was_given_up() -> None:
    async def work() -> float:
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(divmod, 1, 0)
        given_up = asyncio.ensure_future(asyncio.to_thread(time.sleep, 0.05))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    assert in_virtual_time(work()) == pytest.approx(3600)


def test_what_can_never_end_is_said() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="nothing is set to happen"):
        in_virtual_time(wait())
