"""What gear keeps for itself: levels, and the group of its street."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import SiteError
from gateway.profile import load_profile
from gateway.site import Site, parse_site

PROFILES = Path(__file__).resolve().parents[2] / "device_profiles"
GATEWAY = """
[gateway]
id = "edge"
commune = "Essai"
timezone = "Europe/Paris"
latitude = 47.24
longitude = 6.02
"""


def site(*streets: tuple[str, tuple[int, ...], str], profile: str = "lighting/dali_led_gear") -> Site:
    """Streets by name, with the numbers of their lamps, from 1 on, and more keys. A lamp from 100 on is on a second bus."""
    text = GATEWAY
    for bus in ("rue", "place"):
        text += f'[[bus]]\nname = "{bus}"\nprotocol = "dali-sci"\nport = "/dev/{bus}"\n'
    for number in sorted({number for _, numbers, _ in streets for number in numbers}):
        bus, address = ("rue", number) if number < 100 else ("place", number - 100)
        text += f'[[device]]\nname = "l{number}"\nprofile = "{profile}"\nbus = "{bus}"\naddress = {address}\n'
    for name, numbers, more in streets:
        lamps = ", ".join(f'"l{number}/level"' for number in numbers)
        text += f'[[lighting]]\nname = "{name}"\nlamps = [{lamps}]\nslot = [{{ from = "dusk", level = 70 }}]\n{more}'
    return parse_site(text, "site.toml", Path(), lambda name: load_profile(PROFILES, name))


def groups(found: Site) -> dict[str, tuple[float, int]]:
    """By lamp, the bits of its groups, and those that stay as somebody else set them."""
    return {
        device: (one.value, one.leaves)
        for device, kept in found.kept.items()
        for one in kept
        if one.point.endswith("/groups")
    }


def test_streets_of_a_bus_have_a_group_each_from_the_highest_down() -> None:
    found = groups(site(("haute", (1, 2), ""), ("basse", (3, 4, 101, 102), "")))
    assert found == {
        "l1": (128, 0x3F), "l2": (128, 0x3F), "l3": (64, 0x3F), "l4": (64, 0x3F),
        "l101": (128, 0x7F), "l102": (128, 0x7F),
    }  # fmt: skip


def test_a_lamp_alone_on_its_bus_needs_no_group() -> None:
    assert set(groups(site(("haute", (1, 2, 101), "")))) == {"l1", "l2"}


def test_gear_may_be_told_to_stay_in_the_groups_of_others_and_to_leave_those_of_other_streets() -> None:
    found = site(("haute", (1, 2), ""), ("basse", (3, 4), ""), ("place", (101, 102), "group = 9\n"))
    allowed = found.setups["l1/groups"]
    assert {0x80, 0x81, 0x80 | 0x3F} <= allowed
    assert not allowed & {0x00, 0x01, 0x40, 0xC0, 0x100}, "never out of its own, never into that of the street beside"
    assert found.setups["l101/groups"] == {2.0}, "the site names it: that alone"


def test_a_group_that_the_site_names_is_set_whatever_was_there_and_is_nobody_else_s() -> None:
    found = groups(site(("haute", (1, 2), ""), ("basse", (3, 4), "group = 15\n")))
    assert found == {"l1": (64, 0x3F), "l2": (64, 0x3F), "l3": (128, 0), "l4": (128, 0)}


def test_two_streets_of_a_bus_cannot_name_one_group() -> None:
    with pytest.raises(SiteError, match=r"lighting 'basse'.group: 9 is 'haute'\\?'s on bus 'rue' already"):
        site(("haute", (1, 2), "group = 9\n"), ("basse", (3, 4), "group = 9\n"))
    assert len(groups(site(("haute", (1, 2), "group = 9\n"), ("basse", (101, 102), "group = 9\n")))) == 4


def test_more_streets_than_groups_leave_the_last_ones_without() -> None:
    streets = [(f"rue-{n}", (2 * n + 1, 2 * n + 2), "") for n in range(9)]
    assert len(groups(site(*streets))) == 16
