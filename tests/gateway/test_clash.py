"""Rules that cannot do what they say are refused at load, all at once; those that can are not."""

from __future__ import annotations

import re
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.clash import rule_faults
from gateway.condition import Picture
from gateway.errors import SiteError
from gateway.fault_words import in_french
from gateway.permit import Origin, Permit
from gateway.profile import Profile, load_profile, parse_profile
from gateway.rulebook import Rulebook, RuleEntry, RuleState
from gateway.site import Site, parse_site
from gateway.sun import Place

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
    rule(compared("equals = 1.5", "salle/illuminance")),  # in steps of 0.01
    rule(compared("above = 18, until = -30")),  # that is where the sensor ends
    rule(hours("20:00", "23:00", ', for = "2h"') + ", " + hours("20:00", "22:30")),
    rule(compared("above = 18"), unless=f"unless = [{compared('above = 17, below = 25')}, {compared('above = 25')}]"),
    rule(compared("above = 18"), unless='unless = [{ lost = "cta/extract_temperature" }]'),
    rule(hours("08:00", "12:00"), unless=f"unless = [{hours('07:00', '10:00')}, {hours('10:01', '13:00')}]"),
    # one of both is always set, but for when the temperature is lost
    rule(compared("above = 20"), "a")
    + rule(compared("below = 21"), "b", SET.replace("16", "18"))
    + rule(compared("equals = 0", MOTION), "c", SET.replace("16", "17")),
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
        (rule(compared("above = 25, below = 12")), "below: expected more than above = 25, got 12; no value is both"),
        (rule(compared("above = 18, until = 20")), "until: expected less than above = 18, got 20"),
        (rule(compared("above = 18, until = -60")), "can never end: cta/extract_temperature above 18 (until -60)"),
        (rule(compared("equals = 1.5", "cta/mode")), "the point gives 0 to 65535 1 in steps of 1"),
        (rule(compared("above = 0.2, below = 0.8", MOTION)), "can never fire: salle/motion"),
        (rule(hours("20:00", "23:59", ', for = "3h"') + ", " + hours("20:00", "22:00")), "its hours never come together"),
        (rule('{ lost = "salle/motion" }', unless=f"unless = [{compared('equals = 1', MOTION)}]"),
         "cannot be known while salle/motion is lost"),
        (rule(compared("above = 18"), unless=f"unless = [{compared('above = 17, below = 25')}, {compared('above = 24')}]"),
         "its own unless"),
        (rule(compared("above = 18"),
              unless=f"unless = [{compared('equals = 0', MOTION)}, {compared('equals = 1', MOTION)}]"),
         "its own unless"),
        (rule(compared("above = 18"), unless=f"unless = [{hours('06:00', '18:00')}, {hours('17:00', '07:00')}]"),
         "its own unless"),
        (rule(hours("08:00", "12:00"), unless=f"unless = [{hours('07:00', '10:00')}, {hours('09:30', '13:00')}]"),
         "its own unless"),
        (rule(compared("above = 20"), "a") + rule(compared("below = 21"), "b", SET.replace("16", "18"))
         + rule(compared("below = 30"), "c", SET.replace("16", "17")),
         "rule 'c': contradicts the earlier rules 'a' and 'b' together"),
        (rule(hours("19:00", "00:30"), "a") + rule(hours("00:00", "07:00"), "b", SET.replace("16", "18"))
         + rule(hours("22:00", "05:00"), "c", SET.replace("16", "17")),
         "rule 'c': contradicts the earlier rules 'a' and 'b' together"),
        (rule(compared("above = 18"), "a") + rule(compared("above = 18"), "b", SET.replace("16", "20")),
         "rule 'b': contradicts the earlier rule 'a'"),
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
        (
            'fail_safe = 20\nunless = [{ point = "salle/motion", equals = 2 }]',
            "unless: can never forbid: salle/motion is 2",
        ),
        ('fail_safe = 20\nread_back = "5min"', "read_back: expected a minute at most"),
    ],
)
def test_a_permit_that_cannot_be(text: str, said: str) -> None:
    site = SITE[: SITE.index("[[permit]]")] + '[[permit]]\npoint = "cta/setpoint"\n' + text
    with pytest.raises(SiteError) as caught:
        parse_site(site, "site.toml", Path(), lambda name: load_profile(PROFILES, name))
    assert any(said in fault for fault in caught.value.faults), caught.value.faults


def test_a_rule_that_the_permit_of_what_it_sets_always_forbids_is_refused() -> None:
    site = SITE + f"unless = [{compared('equals = 1', MOTION)}]\n"
    with pytest.raises(SiteError, match="forbids it whenever this rule fires"):
        parse_site(site + rule(compared("equals = 1", MOTION)), "s", Path(), lambda name: load_profile(PROFILES, name))
    assert parse_site(site + rule(compared("above = 18")), "s", Path(), lambda name: load_profile(PROFILES, name)).rules


def test_what_a_rule_reads_wrongly_does_not_hide_what_it_may_not_write() -> None:
    told = faults(rule(compared("above = 1", "cta/none"), then='set = [{ point = "cta/setpoint", value = 99 }]'))
    assert any("has no point 'none'" in fault for fault in told)
    assert any("value: expected 14 to 22, as the [[permit]] says, got 99" in fault for fault in told)


@pytest.mark.parametrize("text", [
    rule(compared("above = 18, until = -60")), rule(compared("equals = 1.5", "cta/mode")),
    rule('{ lost = "salle/motion" }', unless=f"unless = [{compared('equals = 1', MOTION)}]"),
    rule(compared("above = 18"), unless=f"unless = [{compared('above = 17')}]"),
    rule(f"{hours('08:00', '12:00')}, {hours('13:00', '18:00')}"), rule(compared("above = 25, below = 12")),
    rule(compared("above = 18"), "a") + rule(compared("above = 20"), "b"),
    rule(compared("above = 20"), "a") + rule(compared("below = 21"), "b", SET.replace("16", "18"))
    + rule(compared("below = 30"), "c", SET.replace("16", "17")),
])  # fmt: skip
def test_what_rules_do_together_is_told_in_french_too(text: str) -> None:
    for fault in faults(text):
        said = in_french(fault)
        assert said
        assert not re.search(r"\b(the|its|whenever|earlier|contradicts|repeats|never|expected)\b", said), said


def test_faults_of_one_rule_s_keys_do_not_hide_those_of_what_others_do() -> None:
    told = faults(
        rule(compared("above = 18, until = 20"), "verkehrt") + rule(compared("above = 18", "cta/none"), "fremd")
    )
    assert len(told) == 2
    assert "until: expected less than" in told[0]
    assert "has no point 'none'" in told[1]


def test_nobody_can_wait_for_what_can_only_be_written() -> None:
    profile = (PROFILES / "ventilation/systemair_save.toml").read_text("utf-8")
    written = profile.replace('name = "setpoint"\n', 'name = "setpoint"\nwrite_only = true\n')
    assert written != profile

    def load(name: str) -> Profile:
        return parse_profile(written, name) if name.startswith("ventilation") else load_profile(PROFILES, name)

    with pytest.raises(SiteError, match="can only be written"):
        parse_site(SITE + rule(compared("above = 18", "cta/setpoint")), "site.toml", Path(), load)


VALUES = st.sampled_from([None, 0.0, 1.0, 2.0, 3.0])
LIMITS = st.one_of(
    st.builds(lambda value: {"equals": value}, st.integers(0, 3)),
    st.builds(lambda value: {"above": value}, st.integers(-1, 3)),
    st.builds(lambda value: {"below": value}, st.integers(0, 4)),
    st.builds(lambda value: {"above": value, "until": value - 1.5}, st.integers(0, 2)),
    st.builds(lambda value: {"above": value, "below": value + 2}, st.integers(0, 2)),
)
CONDITIONS = st.one_of(
    st.builds(lambda name, limits: {"point": name, **limits}, st.sampled_from(["d/a", "d/b"]), LIMITS),
    st.builds(lambda name: {"lost": name}, st.sampled_from(["d/a", "d/b"])),
    st.builds(
        lambda pair: {"between": pair}, st.sampled_from([("08:00", "12:00"), ("10:00", "20:00"), ("dusk", "dawn")])
    ),
)
RULES = st.lists(
    st.tuples(st.lists(CONDITIONS, min_size=1, max_size=3), st.lists(CONDITIONS, max_size=2)), min_size=1, max_size=3
)
NUMBERS = """
maker = "Essai"
model = "E-1"
kind = "pump"
protocol = "modbus"
source = "invented for a test"
evidence = "own"
"""
for number, name in enumerate("abc"):
    NUMBERS += (
        f'[[point]]\nname = "{name}"\nunit = "1"\npersonal = "no"\nregister = "holding"\naddress = {number}\n'
        'type = "u16"\nrange = [0, 3]\n'
    )
NUMBERS += '[[example]]\nsource = "worked out by hand"\npoint = "a"\nraw = "00 02"\nvalue = 2\n'
PLACE = Place(47.24, 6.02, ZoneInfo("Europe/Paris"))


@settings(max_examples=300, deadline=None)
@given(RULES, st.lists(st.tuples(VALUES, VALUES, st.integers(0, 60)), min_size=1, max_size=30))
def test_what_is_said_to_be_impossible_never_comes_whatever_the_points_do(
    made: list[tuple[list[dict[str, object]], list[dict[str, object]]]],
    steps: list[tuple[float | None, float | None, int]],
) -> None:
    entries = [
        RuleEntry.model_validate(
            {"name": f"r{n}", "when": when, "unless": unless, "set": [{"point": "d/c", "value": n, "lost": n}]}
        )
        for n, (when, unless) in enumerate(made)
    ]
    points = {f"d/{point.name}": point for point in parse_profile(NUMBERS, "test/numbers").point}
    permits = {"d/c": Permit("d/c", frozenset({Origin.RULE}), 0, 10, 0.0)}
    told = list(rule_faults(entries, points, permits, PLACE))
    never = {fault.split("'")[1] for fault in told if "can never fire" in fault}
    overruled = {fault.split("'")[1] for fault in told if "earlier rule" in fault}
    book = Rulebook(entries, permits, PLACE)
    time_s = 1.8e9
    for a, b, minutes in steps:
        time_s += 600 + minutes * 60
        ruling = book.decide(Picture(time_s, {"d/a": a, "d/b": b}))
        active = {name for name, state in ruling.states.items() if state is RuleState.ACTIVE}
        assert not active & never
        if active & overruled:
            assert ruling.claims["d/c"].rule not in overruled


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
