"""Whether a value is believable: range, coherence, life, provocation, each with its reason; what is accepted says why."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.check import Checked, CheckWish, check, number, remembered
from gateway.errors import WishError
from gateway.jobs import CHECK, JOBS
from gateway.language import speaking
from gateway.progress import Progress
from simulator.modbus import Area, Device
from tests.gateway.conftest import METER, PRESSURE, Field, built, f32, guet, running, told


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUET_LANG", "fr")
    monkeypatch.setattr("gateway.check.PACE_S", 0.01)
    monkeypatch.setattr("gateway.check.PROVOKE_S", 1.0)


class Moving:
    """A Keller sensor (pressure at 2, temperature at 4 to 11) whose pressure moves by what is set."""

    def __init__(self, bar: float, step: float = 0.01) -> None:
        self.bar, self.step, self.reads, self.each = bar, step, 0, 1

    def read(self, area: Area, address: int, count: int) -> list[int]:
        cells = f32(12.0, self.bar + self.step * (self.reads // self.each % 3), 12.0, 12.0, 12.0, 12.0)
        self.reads += 1
        return [cells.get(at, 0) for at in range(address, address + count)]

    def write(self, area: Area, address: int, values: object) -> None:
        raise NotImplementedError


def sensor(on_site: Field, name: str, address: int, bar: float, step: float = 0.01, asset: str = "") -> Moving:
    moving = Moving(bar, step)
    on_site.units.append(Device(address, moving, turnaround_s=0.001))
    on_site.expect(name, PRESSURE, address, asset)
    return moving


async def verdicts(on_site: Field, **wish: object) -> dict[str, Checked]:
    async with on_site.powered():
        rows = await told(on_site.site(), CHECK, CheckWish(**wish))  # type: ignore[arg-type]
    return {row.point: row for row in rows if isinstance(row, Checked)}


def outcome(checked: Checked, test: str) -> str:
    return next(found.outcome for found in checked.tests if found.name == test)


async def test_a_value_that_moves_within_its_range_is_plausible(on_site: Field) -> None:
    sensor(on_site, "amont", 3, 3.2)
    found = await verdicts(on_site, point="amont/pressure", by="AM")
    checked = found["amont/pressure"]
    assert (checked.verdict, checked.by, checked.reads) == ("plausible", "AM", 18)
    assert [outcome(checked, test) for test in ("range", "coherence", "life")] == ["ok", "skipped", "ok"]


async def test_a_lively_quantity_that_stands_still_is_doubted_and_a_slow_one_is_not(on_site: Field) -> None:
    sensor(on_site, "amont", 3, 3.2, step=0.0)
    found = await verdicts(on_site)
    assert found["amont/pressure"].verdict == "doubtful"
    assert "n'a pas bougé en 18 lectures" in found["amont/pressure"].tests[2].said
    assert found["amont/temperature"].verdict == "plausible", "a temperature may stand still for ten minutes"


async def test_few_readings_do_not_make_a_constant(on_site: Field) -> None:
    sensor(on_site, "amont", 3, 3.2, step=0.0)
    found = await verdicts(on_site, point="amont/pressure", reads=5)
    assert found["amont/pressure"].verdict == "plausible"
    assert outcome(found["amont/pressure"], "life") == "skipped"


async def test_water_does_not_flow_uphill(on_site: Field) -> None:
    sensor(on_site, "pression-amont", 3, 2.0, asset="PRV-12")
    sensor(on_site, "pression-aval", 4, 5.0, asset="PRV-12")
    found = await verdicts(on_site)
    assert {found[f"{name}/pressure"].verdict for name in ("pression-amont", "pression-aval")} == {"wrong"}
    on_site.units.reverse()
    on_site.units[0].address, on_site.units[1].address = 3, 4
    found = await verdicts(on_site)
    assert {found[f"{name}/pressure"].verdict for name in ("pression-amont", "pression-aval")} == {"plausible"}


async def test_unusual_is_doubtful_and_impossible_is_wrong(on_site: Field) -> None:
    sensor(on_site, "haute", 3, 40.0)
    sensor(on_site, "folle", 4, 5000.0)
    found = await verdicts(on_site)
    assert found["haute/pressure"].verdict == "doubtful"
    assert found["folle/pressure"].verdict == "wrong"
    assert "hors de la plage" in found["folle/pressure"].reason


async def test_a_difference_of_temperatures_is_not_held_against_what_is_usual_for_one(on_site: Field) -> None:
    on_site.model("heating/kampmann_148943", 3)
    on_site.expect("salle", "heating/kampmann_148943", 3)
    found = await verdicts(on_site)
    (told,) = [test.said for test in found["salle/setpoint_offset"].tests if test.name == "range"]
    assert "d'habitude" not in told
    (told,) = [test.said for test in found["salle/temperature"].tests if test.name == "range"]
    assert "-30 à 110 °C d'habitude" in told


async def test_impossible_is_wrong_in_english_too(on_site: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUET_LANG", "en")
    sensor(on_site, "folle", 4, 5000.0)
    found = (await verdicts(on_site, point="folle/pressure", reads=3))["folle/pressure"]
    assert (found.verdict, "outside the sensor's range" in found.reason) == ("wrong", True)


async def test_a_silent_device_has_no_value_and_does_not_keep_the_others(on_site: Field) -> None:
    sensor(on_site, "amont", 3, 3.2)
    on_site.expect("muette", PRESSURE, 9)
    found = await verdicts(on_site)
    assert found["muette/pressure"].verdict == "no_value"
    assert found["amont/pressure"].reads == 18


async def test_one_meter_read_twice_is_noticed(on_site: Field) -> None:
    moving = sensor(on_site, "un", 3, 3.2)
    moving.each = 2  # both roles see the same value, then the next
    on_site.units.append(Device(4, moving, turnaround_s=0.001))
    on_site.expect("deux", PRESSURE, 4)
    found = await verdicts(on_site, reads=10)
    assert "lu deux fois" in found["un/pressure"].tests[1].said
    assert found["deux/pressure"].verdict == "doubtful"


async def test_a_power_of_the_wrong_sign(on_site: Field) -> None:
    cells = dict.fromkeys(range(400), 0) | dict(enumerate(f32(230.0, 230.0, 230.0, 1.0, 1.0, 1.0).values()))
    on_site.fixed(4, "input", cells | dict(enumerate(f32(-400.0).values(), 52)))
    on_site.expect("compteur", METER, 4)
    found = await verdicts(on_site, reads=2)
    assert found["compteur/power"].verdict == "doubtful"
    assert "tore" in found["compteur/power"].tests[1].said


@pytest.mark.parametrize(("watts", "verdict"), [(450, "ok"), (9000, "bad")])
async def test_power_is_no_more_than_volts_times_amperes(on_site: Field, watts: int, verdict: str) -> None:
    cells = dict.fromkeys(range(0x120, 0x180), 0) | {0x131: 23_000, 0x13A: 2_000, 0x141: watts}
    on_site.fixed(4, "holding", cells)
    on_site.expect("compteur", "energy/orno_we514", 4)
    found = await verdicts(on_site, reads=2)
    assert outcome(found["compteur/power"], "coherence") == verdict
    assert "460 VA" in found["compteur/power"].tests[1].said


async def test_a_provocation_that_is_seen_clears_the_doubt(on_site: Field) -> None:
    moving = sensor(on_site, "amont", 3, 3.2, step=0.0)
    site = on_site.site()
    asked = []
    async with on_site.powered(), built(site) as gateway:
        async for row in check(gateway, CheckWish("amont/pressure", provoke=True)):
            if isinstance(row, Progress) and row.ask:
                asked.append(row.said)
                moving.bar = 3.5
            checked = row
    assert asked == ["Fermez le robinet pendant dix secondes, puis rouvrez."]
    assert isinstance(checked, Checked)
    assert checked.verdict == "plausible"
    assert checked.tests[3].said == "vu : +0,3 bar"


async def test_a_provocation_that_nothing_shows_is_a_doubt(on_site: Field) -> None:
    sensor(on_site, "amont", 3, 3.2)
    found = await verdicts(on_site, point="amont/pressure", provoke=True)
    assert found["amont/pressure"].verdict == "doubtful"
    assert "rien vu" in found["amont/pressure"].tests[3].said


async def test_what_is_accepted_says_why_is_kept_and_goes_to_the_platform(on_site: Field) -> None:
    sensor(on_site, "amont", 3, 3.2, step=0.0)
    site = on_site.site()
    async with on_site.powered(), built(site) as gateway:
        wish = CheckWish("amont/pressure", accept="vanne fermée", by="AM")
        rows = [row async for row in check(gateway, wish) if isinstance(row, Checked)]
        assert (rows[0].verdict, rows[0].reason, rows[0].fine) == ("accepted", "vanne fermée", True)
        assert outcome(rows[0], "life") == "doubt", "the doubt stays in the report"
        assert remembered(gateway, "amont/pressure") == rows[0]
        bodies = [json.loads(body) for (body,) in gateway.store.rows("select body from outbox where kind = 'audit'")]
    assert [(body["what"], body["point"], body["reason"]) for body in bodies] == [
        ("check accepted", "amont/pressure", "vanne fermée")
    ]


@pytest.mark.parametrize(
    "wish", [{"accept": "parce que"}, {"provoke": True}, {"point": "nulle"}, {"point": "amont/x"}, {"reads": 0}]
)
async def test_what_cannot_be_asked_is_refused_and_nothing_is_kept(on_site: Field, wish: dict[str, object]) -> None:
    sensor(on_site, "amont", 3, 3.2)
    site = on_site.site()
    async with on_site.powered(), built(site) as gateway:
        with pytest.raises(WishError):
            async for _ in check(gateway, CheckWish(**wish)):  # type: ignore[arg-type]
                pass
        assert remembered(gateway, "amont/pressure") is None


async def test_a_running_gateway_goes_on_polling_meanwhile(on_site: Field) -> None:
    sensor(on_site, "amont", 3, 3.2)
    sensor(on_site, "autre", 4, 3.2)
    site = on_site.site()
    async with on_site.powered(), running(site, dict(JOBS)) as gateway:
        await asyncio.sleep(0.2)
        before = len(gateway.live.recent["autre"].curve("pressure"))
        rows = await told(site, CHECK, CheckWish("amont", reads=120))
        assert len([row for row in rows if isinstance(row, Checked)]) == 2
        assert len(gateway.live.recent["autre"].curve("pressure")) > before


SNAPSHOT = {
    "fr": "amont/pressure                 3,2 bar  PLAUSIBLE\n"
    "  plage        bon        -1 à 1000 bar capteur, 0,3 à 16 bar d'habitude\n"
    "  cohérence    non jugé   aucun autre point pour comparer\n"
    "  vie          non jugé   2 lectures, trop peu pour juger\n",
    "en": "amont/pressure                 3.2 bar  PLAUSIBLE\n"
    "  range        good       -1 to 1000 bar sensor, 0.3 to 16 bar usual\n"
    "  coherence    not judged no other point to compare with\n"
    "  life         not judged 2 readings, too few to judge\n",
}


@pytest.mark.parametrize("lang", ["fr", "en"])
async def test_what_is_printed(on_site: Field, lang: str) -> None:
    sensor(on_site, "amont", 3, 3.2, step=0.0)
    on_site.site()
    async with on_site.powered():
        code, out, _ = await guet("check", "amont/pressure", "--reads", "2", folder=on_site.folder, lang=lang)
    assert out == SNAPSHOT[lang]
    assert code == 0


def test_numbers_are_written_as_people_do() -> None:
    with speaking("fr"):
        assert [number(v) for v in (3.2, 0.02, 4217.4, -0.5, 1.5e-5, 1e-9)] == [
            "3,2",
            "0,02",
            "4217",
            "-0,5",
            "0,000015",
            "0",
        ]
    with speaking("en"):
        assert number(3.25) == "3.25"
