"""The site file as text: comments stay, a faulty text is never put in place, the last ten stay; a trial ends well whatever
happens meanwhile."""

from __future__ import annotations

import os
import resource
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.app import home
from gateway.errors import SiteError, WishError
from gateway.site import digest
from gateway.site_file import (
    KEPT,
    MAX_BYTES,
    InPlace,
    Trial,
    Undone,
    checked,
    difference,
    go_back,
    history_of,
    in_place,
    keep,
    put,
    put_on_trial,
    read_text,
    taken_up,
    versions,
    with_device,
)
from tests.gateway.conftest import METER, PRESSURE, Field

PROFILES = home() / "device_profiles"


@pytest.fixture(autouse=True)
def _french(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUET_LANG", "fr")


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


# -- on trial ----------------------------------------------------------------------------------------------------------

TRIAL = Trial("", "", "mine", 1.0, 1.0)


def on_trial(path: Path, text: str, trial: Trial = TRIAL, now_s: float = 1e9, running: str | None = None) -> InPlace:
    return put_on_trial(path, text, digest(read_text(path)), trial, now_s, "Jeanne", running)


def test_a_trial_is_kept_or_gone_back_from(path: Path) -> None:
    before, after = read_text(path), read_text(path) + "# neuf\n"
    put(path, before + "#\n", PROFILES, 1e9 - 2, "Paul")
    put(path, before, PROFILES, 1e9 - 1, "Paul")
    assert on_trial(path, after).trial is not None
    with pytest.raises(WishError, match="déjà à l'essai"):
        on_trial(path, before)
    undone = go_back(path, "essai", 1e9 + 1)
    assert (read_text(path), undone.by, undone.trial) == (before, "Paul", None)
    assert undone.undone == Undone(1e9 + 1, "essai", "Jeanne", versions(path)[0].name)
    assert (read_text(versions(path)[0].path), versions(path)[0].why) == (after, "essai")
    on_trial(path, after)
    assert keep(path).by == "Jeanne"
    for nothing in (lambda: keep(path), lambda: go_back(path, "", 0.0)):
        with pytest.raises(WishError, match="rien n'est à l'essai"):
            nothing()
    assert read_text(path) == after


def test_a_text_that_changed_under_the_editor_is_not_overwritten(path: Path) -> None:
    base = digest(read_text(path))
    put(path, read_text(path) + "# Paul\n", PROFILES, 1e9, "Paul")
    with pytest.raises(WishError, match="par Paul"):
        put_on_trial(path, "# Jeanne\n", base, TRIAL, 1e9)
    assert read_text(path).endswith("# Paul\n")


def test_a_file_written_by_hand_takes_what_is_noted_away(path: Path) -> None:
    on_trial(path, read_text(path) + "# neuf\n")
    path.write_text(read_text(path) + "# à la main\n", "utf-8")
    assert in_place(path) == InPlace(digest(read_text(path)))
    assert taken_up(path, "another", 1e9).trial is None, "whoever writes by hand means it"


def test_what_ran_comes_back_and_not_what_never_did(path: Path) -> None:
    ran = read_text(path)
    path.write_text("never = ", "utf-8")
    on_trial(path, ran + "# neuf\n", running=ran)
    go_back(path, "", 1e9)
    assert read_text(path) == ran
    assert "never = " in [read_text(version.path) for version in versions(path)]


def test_a_trial_belongs_to_one_process(path: Path) -> None:
    before, after = read_text(path), read_text(path) + "# neuf\n"
    on_trial(path, after, replace(TRIAL, process=""))
    assert taken_up(path, "first", 1e9).trial == replace(in_place(path).trial or TRIAL, process="first")
    assert taken_up(path, "first", 1e9).trial is not None
    assert read_text(path) == after
    assert taken_up(path, "second", 1e9).undone is not None
    assert read_text(path) == before


def test_a_clock_that_was_put_back_takes_no_text_away(path: Path) -> None:
    first = read_text(path)
    for number in range(KEPT + 2):
        put(path, first + f"# {number}\n", PROFILES, 1e9 + number)
    before = read_text(path)
    on_trial(path, first + "# neuf\n", now_s=0.0)
    go_back(path, "", 1.0)
    assert read_text(path) == before
    assert len(versions(path)) == KEPT - 1, "one of them is in place again"


def test_without_the_text_before_what_is_there_stays_and_it_is_said(path: Path) -> None:
    on_trial(path, after := read_text(path) + "# neuf\n")
    versions(path)[0].path.write_text("# abîmé\n", "utf-8")
    with pytest.raises(SiteError, match="got another"):
        go_back(path, "", 1e9)
    assert taken_up(path, "another", 1e9).trial is not None
    assert read_text(path) == after


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"sha256": 3}', b"\xff", b'{"trial": {"before": 1}}'])
def test_what_the_disk_has_garbled_beside_the_file_is_as_if_it_were_not_there(path: Path, content: bytes) -> None:
    on_trial(path, after := read_text(path) + "# neuf\n")
    (history_of(path) / "in-place.json").write_bytes(content)
    versions(path)[0].path.with_suffix(".json").write_bytes(content)
    assert in_place(path) == InPlace(digest(after))
    assert [version.by for version in versions(path)] == [""]


def test_mode_and_owner_stay_under_a_tight_umask(path: Path) -> None:
    path.chmod(0o660)
    before = os.umask(0o077)
    try:
        on_trial(path, read_text(path) + "# neuf\n")
        assert path.stat().st_mode & 0o777 == 0o660
        assert {version.path.stat().st_mode & 0o777 for version in versions(path)} == {0o660}
        go_back(path, "", 1e9)
        assert path.stat().st_mode & 0o777 == 0o660
    finally:
        os.umask(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TRIED: only root gives files away")
def test_what_root_writes_the_service_can_read_and_go_on_with(path: Path) -> None:
    path.parent.chmod(0o770)
    os.chown(path.parent, 0, 4242)
    text = read_text(path)
    path.unlink()
    put(path, text, PROFILES, 1e9)
    on_trial(path, text + "# neuf\n")
    assert (path.stat().st_gid, path.stat().st_mode & 0o777) == (4242, 0o640)
    assert (history_of(path).stat().st_gid, history_of(path).stat().st_mode & 0o777) == (4242, 0o770)
    assert {found.stat().st_gid for found in history_of(path).iterdir()} == {4242}


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """What a full disk does, done by the kernel."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("size", [0, 100, 350])
def test_a_disk_without_room_changes_nothing_and_can_still_be_gone_back_on(path: Path, size: int) -> None:
    before, known = read_text(path), in_place(path)
    after = before + "# neuf\n" * 100
    with no_file_longer_than(size), pytest.raises(SiteError, match="expected a file that can be written"):
        on_trial(path, after)
    assert (read_text(path), in_place(path)) == (before, known)
    assert not [found for found in (*path.parent.iterdir(), *history_of(path).iterdir()) if found.name.endswith(".new")]
    on_trial(path, after)
    with no_file_longer_than(size):
        go_back(path, "", 1e9)
    assert read_text(path) == before
    assert in_place(path).trial is None


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Does something in a process that dies before its `step`-th change of a name; whether it came to its end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        left = [step]

        def hook(event: str, _: object) -> None:
            if event in ("os.rename", "os.remove"):
                left[0] -= 1
                if left[0] == 0:
                    os._exit(9)

        sys.addaudithook(hook)
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_process_that_is_killed_at_any_step_leaves_the_text_before_to_the_next(path: Path) -> None:
    before, after = read_text(path), read_text(path) + "# neuf\n"
    texts, step = set(), 0
    while True:
        step += 1
        whole = killed_at(step, lambda: on_trial(path, after))
        texts.add(read_text(path))
        if whole:
            break
        assert read_text(path) in (before, after)
        taken_up(path, "another", 1e9)
        assert read_text(path) == before
    assert texts == {before, after}
    assert step > 4
    for step in range(1, 30):
        whole = killed_at(step, lambda: go_back(path, "", 1e9))
        taken_up(path, "another", 1e9)
        assert read_text(path) == before
        assert in_place(path).trial is None
        if whole:
            return
        on_trial(path, after)
    raise AssertionError("it never came to its end")
