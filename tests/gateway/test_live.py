"""What is known right now: the latest reading, a short curve, and each device's state in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.clock import ScaledClock
from gateway.codec.modbus import Tcp
from gateway.link.tcp import TcpLink
from gateway.live import Live
from gateway.poll import PolledBus
from gateway.profile import load_profile
from gateway.reading import Flaw, Quality, Snapshot
from gateway.site import parse_site

PROFILES = Path(__file__).resolve().parents[2] / "device_profiles"
SITE = """
[gateway]
id = "edge"
commune = "Essai"
timezone = "Europe/Paris"
latitude = 47.0
longitude = 6.0
[[bus]]
name = "b"
protocol = "modbus-tcp"
host = "127.0.0.1"
[[device]]
name = "p"
profile = "water/keller_x_line"
bus = "b"
address = 1
[[device]]
name = "rejoue"
profile = "recorded"
[[watch]]
name = "w"
model = "leak"
[watch.inputs]
flow = ["rejoue/flow"]
"""


class Fixed(ScaledClock):
    """A clock that is set by hand."""

    def __init__(self) -> None:
        super().__init__(0.0, 0.0, 1.0)
        self.time_s = 1e9

    def now(self) -> float:
        return self.time_s


@pytest.fixture
def clock() -> Fixed:
    return Fixed()


@pytest.fixture
async def live(clock: Fixed) -> Live:
    site = parse_site(SITE, "site.toml", Path(), lambda name: load_profile(PROFILES, name))
    codec = Tcp()
    bus = PolledBus("b", TcpLink("127.0.0.1", 1), codec, [site.devices["p"]], clock, lambda snapshot: None)
    return Live(site, clock, {"b": bus})


def words_of(live: Live, name: str = "p") -> str:
    return {state.device.name: state.words for state in live.states()}[name]


def said(clock: Fixed, **values: float | None) -> Snapshot:
    flaws = {name: Flaw(Quality.BAD, "aucune réponse") for name, value in values.items() if value is None}
    return Snapshot("p", clock.time_s, values, flaws)


async def test_before_the_first_answer_it_waits_and_says_what_it_knows(live: Live, clock: Fixed) -> None:
    assert words_of(live) == "en attente de la première réponse"
    assert all(reading.reason == "pas encore lu" for state in live.states() for reading in state.readings)
    health = live._buses["b"].health["p"]
    health.failed("127.0.0.1:1: cannot connect", clock.time_s, 60.0, clock.time_s)
    assert words_of(live) == "en attente de la première réponse : 127.0.0.1:1: cannot connect"


async def test_a_device_that_answers_works(live: Live, clock: Fixed) -> None:
    live._buses["b"].health["p"].answered(clock.time_s)
    live.take(said(clock, pressure=3.0, temperature=9.0))
    (state, _) = live.states()
    assert (state.words, state.ok, state.last_answer_s) == ("fonctionne", True, 1e9)
    assert [(reading.point, reading.value, reading.unit) for reading in state.readings] == [
        ("p/pressure", 3.0, "bar"),
        ("p/temperature", 9.0, "Cel"),
    ]
    assert live.readings == {"b": 2}


async def test_one_bad_value_is_a_degraded_device_with_its_reason(live: Live, clock: Fixed) -> None:
    live._buses["b"].health["p"].answered(clock.time_s)
    live.take(said(clock, pressure=None, temperature=9.0))
    assert words_of(live) == "dégradé : pressure, aucune réponse"
    assert live.readings == {"b": 1}


async def test_a_lost_device_is_silent_since_it_was_last_heard(live: Live, clock: Fixed) -> None:
    health = live._buses["b"].health["p"]
    health.answered(clock.time_s)
    live.take(said(clock, pressure=3.0, temperature=9.0))
    clock.time_s += 200
    for _ in range(5):
        health.failed("no answer", clock.time_s, 60.0, 0.0)
    assert words_of(live) == (
        "muet depuis 2001-09-09T01:46:40Z, dernière valeur pressure = 3 bar, essais depuis : 2 ; no answer"
    )


async def test_a_device_that_only_speaks_is_silent_after_three_periods(live: Live, clock: Fixed) -> None:
    live._buses["b"].health["p"].answered(clock.time_s)
    live.take(said(clock, pressure=3.0, temperature=9.0))
    clock.time_s += 181
    assert words_of(live) == "muet depuis 2001-09-09T01:46:40Z"


async def test_a_recorded_device_needs_no_bus(live: Live, clock: Fixed) -> None:
    live.take(Snapshot("rejoue", clock.time_s, {"flow": 4.0}))
    assert words_of(live, "rejoue") == "fonctionne"


async def test_requests_are_those_of_the_port(live: Live) -> None:
    assert live.requests("b") == 0
