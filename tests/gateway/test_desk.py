"""The one table of jobs: bounded, and who must be alone is."""

import pytest

from gateway.desk import Desk, Taken


@pytest.fixture(autouse=True)
def _french(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUET_LANG", "fr")


def test_a_desk_has_so_many_places_and_one_for_who_must_be_alone() -> None:
    desk = Desk()
    alone = desk.begin("scan", "AM", True, 0.0, lambda: None)
    with pytest.raises(Taken, match="AM occupe la passerelle"):
        desk.begin("leave", "BP", True, 5.0, lambda: None)
    others = [desk.begin("why", "", False, 1.0, lambda: None) for _ in range(3)]
    with pytest.raises(Taken, match="trop de demandes"):
        desk.begin("why", "", False, 1.0, lambda: None)
    desk.end(alone)
    desk.end(alone)
    assert [work.number for work in desk.works()] == [work.number for work in others]
