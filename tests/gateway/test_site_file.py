"""The site file as text: comments stay, a faulty text is never put in place, the last ten stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.app import home
from gateway.errors import SiteError
from gateway.site_file import KEPT, MAX_BYTES, checked, difference, put, read_text, versions, with_device
from tests.gateway.conftest import METER, PRESSURE, Field

PROFILES = home() / "device_profiles"


@pytest.fixture
def path(on_site: Field) -> Path:
    on_site.expect("amont", PRESSURE, 3)
    on_site.expect("compteur", METER, 4)
    on_site.site()
    path = on_site.folder / "site.toml"
    path.write_text(path.read_text("utf-8").replace("address = 3", "address = 3   # réglée sur les roues"), "utf-8")
    return path


def test_one_key_changes_and_the_comment_stays(path: Path) -> None:
    before = path.read_text("utf-8")
    after = with_device(before, "amont", {"address": 7})
    assert "address = 7   # réglée sur les roues" in after
    assert [line for line in difference(before, after) if line[0] in "+-"][2:] == [
        "-address = 3   # réglée sur les roues", "+address = 7   # réglée sur les roues",
    ]  # fmt: skip
    assert checked(after, path, PROFILES).devices["amont"].address == 7


def test_a_faulty_text_changes_nothing(path: Path) -> None:
    before = path.read_bytes()
    for faulty in ("x", with_device(before.decode(), "amont", {"address": 4}), "#" * (MAX_BYTES + 1)):
        with pytest.raises(SiteError):
            put(path, faulty, PROFILES, 0.0)
    assert path.read_bytes() == before
    assert versions(path) == []


def test_what_is_not_there_cannot_be_changed(path: Path) -> None:
    with pytest.raises(SiteError, match="'aval'"):
        with_device(path.read_text("utf-8"), "aval", {"address": 7})
    with pytest.raises(SiteError, match="not TOML"):
        with_device("a = ", "aval", {})


def test_the_last_ten_are_kept_newest_first(path: Path) -> None:
    first = path.read_text("utf-8")
    for number in range(KEPT + 3):
        put(path, first + f"\n# {number}\n", PROFILES, 1e9 + number)
    kept = versions(path)
    assert len(kept) == KEPT
    assert read_text(kept[0].path).endswith(f"# {KEPT + 1}\n")
    put(path, path.read_text("utf-8"), PROFILES, 2e9)
    assert versions(path) == kept, "the same text is no change"


def test_the_mode_of_the_file_stays(path: Path) -> None:
    path.chmod(0o600)
    put(path, path.read_text("utf-8") + "\n", PROFILES, 0.0)
    assert path.stat().st_mode & 0o777 == 0o600
