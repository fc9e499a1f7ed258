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


def groups(found: Site) -> dict[str, tuple[float, bool]]:
    """By lamp, the bits of its groups, and whether it takes the place of what somebody else set."""
    return {
        device: (one.value, one.instead_of is None)
        for device, kept in found.kept.items()
        for one in kept
        if one.point.endswith("/groups")
    }


def test_streets_of_a_bus_have_a_group_each_from_the_highest_down() -> None:
    found = groups(site(("haute", (1, 2), ""), ("basse", (3, 4, 101, 102), "")))
    assert found == {
        "l1": (128, False), "l2": (128, False), "l3": (64, False), "l4": (64, False),
        "l101": (128, False), "l102": (128, False),
    }  # fmt: skip


def test_a_lamp_alone_on_its_bus_needs_no_group() -> None:
    assert set(groups(site(("haute", (1, 2, 101), "")))) == {"l1", "l2"}


def test_a_group_that_the_site_names_is_set_whatever_was_there_and_is_nobody_else_s() -> None:
    found = groups(site(("haute", (1, 2), ""), ("basse", (3, 4), "group = 15\n")))
    assert found == {"l1": (64, False), "l2": (64, False), "l3": (128, True), "l4": (128, True)}


def test_two_streets_of_a_bus_cannot_name_one_group() -> None:
    with pytest.raises(SiteError, match=r"lighting 'basse'.group: 9 is 'haute'\\?'s on bus 'rue' already"):
        site(("haute", (1, 2), "group = 9\n"), ("basse", (3, 4), "group = 9\n"))
    assert len(groups(site(("haute", (1, 2), "group = 9\n"), ("basse", (101, 102), "group = 9\n")))) == 4


def test_more_streets_than_groups_leave_the_last_ones_without() -> None:
    streets = [(f"rue-{n}", (2 * n + 1, 2 * n + 2), "") for n in range(9)]
    assert len(groups(site(*streets))) == 16
