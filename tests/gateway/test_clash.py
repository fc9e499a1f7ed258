"""Rules that cannot do what they say are refused at load, all at once; those that can are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import SiteError
from gateway.profile import load_profile
from gateway.site import Site, parse_site

PROFILES = Path(__file__).resolve().parents[2] / "device_profiles"
SITE = """
[gateway]
id = "edge"
commune = "Essai"
timezone = "Europe/Paris"
latitude = 47.24
longitude = 6.02
[[bus]]
name = "b"
protocol = "modbus-tcp"
host = "127.0.0.1"
[[bus]]
name = "radio"
protocol = "ble"
[[device]]
name = "cta"
profile = "ventilation/systemair_save"
bus = "b"
address = 1
[[device]]
name = "salle"
profile = "occupancy/shelly_blu_motion"
bus = "radio"
address = "A4:C1:38:00:00:01"
[[permit]]
point = "cta/setpoint"
fail_safe = 20
max = 22
"""
MOTION, SET = "salle/motion", 'set = [{ point = "cta/setpoint", value = 16 }]'


def parsed(text: str) -> Site:
    return parse_site(SITE + text, "site.toml", Path(), lambda name: load_profile(PROFILES, name))


def faults(text: str) -> list[str]:
    with pytest.raises(SiteError) as caught:
        parsed(text)
    return list(caught.value.faults)


def rule(when: str, name: str = "r", then: str = SET, unless: str = "") -> str:
    return f'[[rule]]\nname = "{name}"\nwhen = [{when}]\n{then}\n{unless}\n'


def compared(limits: str, point: str = "cta/extract_temperature") -> str:
    return f'{{ point = "{point}", {limits} }}'


def hours(first: str, last: str, more: str = "") -> str:
    return f'{{ between = ["{first}", "{last}"]{more} }}'


SOUND = [
    rule(compared("above = 18")),
    rule(f"{compared('above = 18, until = 15')}, {compared('below = 16')}"),  # between 15 and 16 it still holds
    rule(f"{hours('19:00', '07:00')}, {hours('dusk', 'dawn')}"),
    rule(f"{hours('18:00', '21:00')}, {hours('dusk', '19:00')}"),  # in winter
    rule(hours("19:00", "07:00"), unless=f"unless = [{compared('equals = 1', 'cta/alarm')}]"),
    rule(compared("equals = 0", MOTION), "a") + rule(compared("above = 18"), "b", SET.replace("16", "17")),
    rule(compared('equals = 0, for = "1h"', MOTION), "a")
    + rule(compared("equals = 0", MOTION), "b", SET.replace("16", "17")),
    rule(hours("22:00", "05:00"), "a") + rule(hours("19:00", "07:00"), "b", SET.replace("16", "17")),
    rule(compared("above = 18", "cta/setpoint"), then='set = [{ point = "cta/setpoint", value = 19 }]'),
    rule('{ days = ["sat", "sun"] }'),
    rule('{ lost = "salle/motion", for = "1h" }'),
]


@pytest.mark.parametrize("text", SOUND)
def test_a_rule_that_can_do_what_it_says_is_taken(text: str) -> None:
    assert parsed(text).rules


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (rule(compared("above = 90")), "can never fire: cta/extract_temperature above 90: the point gives -30 to 90 Cel"),
        (rule(compared("equals = 2", MOTION)), "can never fire: salle/motion is 2: the point gives 0 to 1"),
        (rule(compared("below = -30")), "can never fire"),
        (rule(f"{compared('above = 18')}, {compared('below = 18')}"), "exclude each other"),
        (rule(f"{compared('equals = 0', MOTION)}, {compared('equals = 1', MOTION)}"), "exclude each other"),
        (rule(f"{compared('equals = 0', MOTION)}, {{ lost = \"{MOTION}\" }}"), "cannot be lost and be compared"),
        (rule(f"{hours('08:00', '12:00')}, {hours('13:00', '18:00')}"), "its hours never come together"),
        (rule(f"{hours('dusk', 'dawn')}, {hours('11:00', '15:00')}"), "its hours never come together"),
        (rule(f"{hours('dusk', '20:00')}, {hours('20:30', '21:00')}"), "its hours never come together"),
        (rule('{ days = ["sat"] }, ' + hours("08:00", "12:00", ', days = ["mon"]')), "its hours never come together"),
        (rule(hours("08:00", "12:00", ', for = "5h"')), "the hours are shorter than that"),
        (rule(compared("above = 18"), unless=f"unless = [{compared('above = 15')}]"), "its own unless"),
        (rule(hours("22:00", "05:00"), unless=f"unless = [{hours('21:00', '06:00')}]"), "its own unless"),
        (rule(compared("above = 18"), "a") + rule(compared("above = 20"), "b", SET.replace("16", "17")),
         "rule 'b': contradicts the earlier rule 'a'"),
        (rule(compared("above = 18"), "a") + rule(compared("above = 20"), "b"), "rule 'b': repeats the earlier rule 'a'"),
        (rule(hours("19:00", "07:00"), "a") + rule(hours("22:00", "05:00"), "b", SET.replace("16", "17")),
         "rule 'b': contradicts the earlier rule 'a'"),
        (rule(compared("above = 18", "cta/setpoint")), "contradicts itself"),
        (rule(compared("above = 18"), then='set = [{ point = "cta/setpoint", value = 23 }]'), "expected 14 to 22"),
        (rule(compared("above = 18"), then='set = [{ point = "cta/setpoint", value = 16, lost = 5 }]'), "lost: expected 14"),
        (rule(compared("above = 18"), then='set = [{ point = "cta/mode", value = 5 }]'), "no [[permit]] allows a rule"),
        (rule(compared("above = 18", "cta/none")), "has no point 'none'"),
        (rule(compared("above = 18", "other/x")), "there is no device 'other'"),
        (rule('{ verdict = "leak" }'), "there is no such watch"),
        (rule(compared("above = 18")) * 2, "there are 2 of that name"),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_do_what_it_says_is_refused(text: str, said: str) -> None:
    told = faults(text)
    assert any(said in fault for fault in told), told


def test_all_faults_are_told_at_once() -> None:
    told = faults(
        rule(compared("above = 90"), "nie")
        + rule(compared("above = 18", "cta/none"), "fremd")
        + rule(compared("above = 18"), "a")
        + rule(compared("above = 20"), "b", SET.replace("16", "17"))
        + rule(hours("19:00", "07:00"), "frei", 'set = [{ point = "cta/mode", value = 5 }]')
        + '[[permit]]\npoint = "cta/mode"\nfail_safe = 0\n[[permit]]\npoint = "salle/motion"\nfail_safe = 0\n'
    )
    for name in ("rule 'nie'", "rule 'fremd'", "rule 'b'", "rule 'frei'", "permit 'cta/mode'", "permit 'salle/motion'"):
        assert sum(name in fault for fault in told) == 1, (name, told)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("min = 13", "min: expected within the profile's 14 to 24"),
        ("fail_safe = 30", "fail_safe: expected 14 to 24"),
        ("", "fail_safe: missing"),
        ('fail_safe = 20\nlease = "2d"', "lease: expected a day at most"),
        ('fail_safe = 20\nby = ["setup"]', "setup and fail_safe need no permit"),
        ('fail_safe = 20\nunless = [{ point = "cta/none", equals = 1 }]', "has no point 'none'"),
        ('fail_safe = 20\nread_back = "5min"', "read_back: expected a minute at most"),
    ],
)
def test_a_permit_that_cannot_be(text: str, said: str) -> None:
    site = SITE[: SITE.index("[[permit]]")] + '[[permit]]\npoint = "cta/setpoint"\n' + text
    with pytest.raises(SiteError) as caught:
        parse_site(site, "site.toml", Path(), lambda name: load_profile(PROFILES, name))
    assert any(said in fault for fault in caught.value.faults), caught.value.faults


def test_a_lamp_falls_back_to_its_schedule_and_to_nothing_else() -> None:
    lamp = """
[[bus]]
name = "rue"
protocol = "dali-sci"
port = "/dev/null"
[[device]]
name = "l1"
profile = "lighting/dali_led_gear"
bus = "rue"
address = 1
[[lighting]]
name = "rue"
lamps = ["l1/level"]
slot = [{ from = "dusk", level = 100 }]
[[permit]]
point = "l1/level"
by = ["remote"]
"""
    permits = {permit.point: permit for permit in parsed(lamp).permits}
    assert permits["l1/level"].by == {"remote", "lighting"}
    assert any("falls back to its schedule" in fault for fault in faults(lamp + "fail_safe = 0\n"))
