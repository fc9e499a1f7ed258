"""What docs/rules.md shows can be done as it stands, and its tables are those that the gateway goes by."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from gateway.curfew import RULES
from gateway.profile import load_profile
from gateway.site import Site, parse_site
from gateway.street import CLASSES
from gateway.trial import explained, rules
from simulator.demo import demo

DEVICES = """
[gateway]
id = "exemple-0001"
commune = "Exemple-le-Bourg"
timezone = "Europe/Paris"
latitude = 47.24
longitude = 6.02
[[bus]]
name = "rue"
protocol = "dali-sci"
port = "/dev/ttyUSB0"
[[bus]]
name = "radio"
protocol = "ble"
[[device]]
name = "bac-1"
profile = "waste/bthome_bin"
bus = "radio"
address = "A4:C1:38:00:00:01"
[[device]]
name = "radar"
profile = "occupancy/shelly_blu_motion"
bus = "radio"
address = "A4:C1:38:00:00:02"
[[bus]]
name = "rs485"
protocol = "modbus-rtu"
port = "/dev/ttyUSB1"
line = "9600 8N1"
[[device]]
name = "capteur"
profile = "occupancy/wirenboard_wb_msw_v3"
bus = "rs485"
address = 11
[[device]]
name = "thermostat"
profile = "heating/beca_bht006"
bus = "rs485"
address = 12
"""
LAMPS = "".join(
    f'[[device]]\nname = "lampe-{n}"\nprofile = "lighting/d4i_driver"\nbus = "rue"\naddress = {n}\n' for n in (1, 2)
)


@pytest.fixture
def text(root: Path) -> str:
    return (root / "docs/rules.md").read_text("utf-8")


@pytest.fixture
def site(text: str, root: Path) -> Site:
    shown = "\n".join(re.findall(r"```toml\n(.*?)```", text, re.DOTALL))
    return parse_site(
        DEVICES + LAMPS + shown, "site.toml", root, lambda name: load_profile(root / "device_profiles", name)
    )


def test_the_rule_the_permit_and_the_street_that_are_shown_are_taken(site: Site) -> None:
    told = "\n".join(explained(site))
    assert "bac-1/temperature au-dessus de 60 (jusqu'à 45) depuis 2min" in told
    assert "à 23:00 : 50 % (P2 → P4)" in told
    assert "écrire 17 °C à thermostat/setpoint ; ensuite 20 °C" in told


def test_every_command_that_is_shown_is_one(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = re.findall(r"^    \./run\.sh (\w+) ([^#\n]*)", text, re.MULTILINE)
    assert [verb for verb, _ in shown] == ["demo", "rules", "rules"]
    for verb, rest in shown:
        words = shlex.split(rest)
        command = demo if verb == "demo" else rules
        with pytest.raises(SystemExit):
            command([*(words[:1] if verb == "rules" else []), "--help"])
        told = capsys.readouterr().out
        assert all(word in told for word in words if word.startswith("--")), words


def test_its_tables_are_those_of_the_gateway(text: str) -> None:
    rows = {
        row[0].strip(): row for row in (line.strip("|\n").split("|") for line in text.splitlines() if line[:1] == "|")
    }
    for category, rule in RULES.items():
        row = next(cells for name, cells in rows.items() if f"`{category}`" in name)
        _, _, lit, off, again, seen = (cell.strip() for cell in row)
        if rule is None:
            assert {lit, off, again, seen} == {"—"}
            continue
        assert (lit == "au coucher") is not rule.by_day
        assert ("1 h" in off) is (rule.at == "01:00" or rule.after_h == 1)
        assert ("+ 2 h" in off) is (rule.after_h == 2)
        assert (again == "au coucher") is (rule.again == "dusk")
        assert (seen == "oui") is rule.presence
    for family in ("M1 à M6", "C0 à C5", "P1 à P6"):
        values = re.search(rf"{family} ([^cl]*?) (?:cd|lx)", re.sub(r"\s+", " ", text))
        assert values is not None
        numbers = [float(one.replace(",", ".")) for one in values[1].split(" · ")]
        assert numbers == [value for name, value in CLASSES.items() if name[0] == family[0]]
