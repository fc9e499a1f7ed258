"""The bus budget: what a plan asks of its line, before anything is wired."""

from pathlib import Path

import pytest

from gateway.app import budgets, home, read_site
from gateway.errors import SiteError
from gateway.line import parse_line
from gateway.profile import load_profile
from gateway.site import Site, parse_site

HEAD = """
[gateway]
id = "edge-1"
commune = "Exemple"
timezone = "Europe/Paris"
latitude = 47.2
longitude = 6.0
[[bus]]
name = "rs485-1"
protocol = "modbus-rtu"
port = "/dev/null"
line = "9600 8N1"
"""


def _site(devices: int, every: str) -> str:
    entry = '[[device]]\nname = "p{n}"\nprofile = "water/keller_x_line"\nbus = "rs485-1"\naddress = {n}\nevery = "{every}"\n'
    return HEAD + "".join(entry.format(n=n, every=every) for n in range(1, devices + 1))


def _parsed(text: str) -> Site:
    return parse_site(text, "site.toml", Path(), lambda name: load_profile(home() / "device_profiles", name))


def test_a_character_at_9600_8n1_takes_ten_bits() -> None:
    line = parse_line("9600 8N1")
    assert line.character_s == pytest.approx(10 / 9600)
    assert line.silence_s == pytest.approx(35 / 9600)


def test_above_19200_the_silence_is_fixed_at_1750_microseconds() -> None:
    assert parse_line("115200 8E1").silence_s == 0.00175


def test_a_keller_sensor_costs_what_its_frame_takes_on_the_wire() -> None:
    # 8 registers (2..9): request 8 characters, answer 5 + 16, at 10/9600 s; 5 ms turnaround; two silences.
    (found,) = budgets(_parsed(_site(1, "60s")))
    assert found.cycle_s == pytest.approx(29 * 10 / 9600 + 0.005 + 2 * 35 / 9600)
    assert found.use == pytest.approx(found.cycle_s / 60)


def test_a_meter_costs_a_reset_and_the_longest_telegram_that_there_can_be() -> None:
    meter = '[[device]]\nname = "m"\nprofile = "water/itron_cyble"\nbus = "rs485-1"\naddress = 5\nevery = "1h"\n'
    bus = HEAD.replace("modbus-rtu", "mbus").replace('line = "9600 8N1"', "")
    (found,) = budgets(_parsed(bus + meter))
    # 6 + 5 + 261 characters of 11 bits at 2,400 baud; twice 330 bit times and 50 ms; four silences of 3.5 characters.
    assert found.cycle_s == pytest.approx((272 + 4 * 3.5) * 11 / 2400 + 2 * 0.19)


def test_a_plan_above_eighty_percent_is_refused_with_a_proposal_that_fits(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(_site(30, "1s"))
    with pytest.raises(SiteError, match="expected 80% at most") as refused:
        read_site(path)
    factor = float(str(refused.value).split("by ")[1].split(" ")[0])
    (found,) = budgets(_parsed(_site(30, f"{factor:.2f}s")))
    assert 0.6 < found.use < 0.8


def test_a_plan_that_fits_is_not_refused(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(_site(10, "10s"))
    site, _ = read_site(path)
    assert [not one.refusal() for one in budgets(site)] == [True]
