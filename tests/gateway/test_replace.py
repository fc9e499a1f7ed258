"""Other hardware in a role: name, history and thresholds stay; serial numbers are kept; what was learnt is learnt again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gateway.alert import Alert, AlertKind, Baseline, Severity, alert_id
from gateway.app import Gateway, build_watches, history_of
from gateway.clock import SystemClock
from gateway.errors import WishError
from gateway.jobs import JOBS, REPLACE
from gateway.plan import Refusals
from gateway.replace import Replaced, ReplaceWish, changes, hardware, replace
from gateway.site import load_site
from gateway.site_file import in_place, versions
from gateway.store import Store
from gateway.summary import Aggregate, Summary
from tests.gateway.conftest import METER, PRESSURE, Field, built, guet, home, running, told

DOOR = """
[[watch]]
name = "porte"
model = "lift_door"
[watch.inputs]
door_current = ["porte/door_current"]
door_speed = ["porte/door_speed"]
"""


@pytest.fixture(autouse=True)
def _french(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUET_LANG", "fr")


@pytest.fixture
def one(on_site: Field) -> Field:
    on_site.model(PRESSURE, 3)
    on_site.expect("amont", PRESSURE, 3)
    return on_site


async def test_the_old_number_is_kept_and_the_change_is_marked(one: Field) -> None:
    site = one.site()
    async with one.powered():
        (done,) = await told(site, REPLACE, ReplaceWish("amont", "B-2", "A-1", reason="foudre", by="AM"))
        assert isinstance(done, Replaced)
        assert (done.answers, done.changes_file) == (True, False)
        (again,) = await told(site, REPLACE, ReplaceWish("amont", "C-3"))
        assert again.old.serial == "B-2", "known from the last time"
    async with built(site) as gateway:
        kept = hardware(gateway.store, "amont")
        assert [h.serial for h in kept] == ["A-1", "B-2", "C-3"]
        assert (kept[0].reason, kept[0].by, kept[0].until_s) == ("foudre", "AM", kept[1].since_s)
        marks = changes(gateway.store, "amont")
        assert [words for _, words in marks] == ["appareil remplacé n° B-2", "appareil remplacé n° C-3"]
        bodies = [json.loads(body) for (body,) in gateway.store.rows("select body from outbox where kind = 'audit'")]
        assert [body["what"] for body in bodies] == ["device replaced"] * 2


async def test_history_stays_and_watches_learn_from_the_new_hardware_only(on_site: Field) -> None:
    on_site.model("lift/gros_sdk500", 24)
    on_site.expect("porte", "lift/gros_sdk500", 24)
    site = on_site.site(more="")
    path = on_site.folder / "site.toml"
    path.write_text(path.read_text("utf-8") + DOOR, "utf-8")
    site = load_site(path, home() / "device_profiles")
    clock = SystemClock()
    now_s = clock.now() // 900 * 900
    aggregate = Aggregate(10, 0, 100.0, 90.0, 110.0, 100.0)
    points = {"door_current": aggregate, "door_speed": aggregate}
    alert = Alert(
        id=alert_id(AlertKind.LIFT_FAILURE, "porte", now_s), kind=AlertKind.LIFT_FAILURE, subject="porte",
        onset_s=now_s - 900, raised_s=now_s, severity=Severity.MAJOR, score=3.0, threshold=1.0, model="lift_door",
        model_sha256="0" * 64, reasons=(), baseline=Baseline("rule", False, 0.0),
    )  # fmt: skip
    async with on_site.powered(), Store.open(site.data, clock) as store:
        store.import_summaries(Summary("porte", now_s - 900 * k, 900.0, points) for k in range(1, 50))
        await store.decide({"refusals/porte": Refusals(frozenset({"door_state"})).as_json()}, [alert])
        gateway = Gateway(site, build_watches(site), store, clock)
        running_it = asyncio.create_task(gateway.run())
        watch = gateway.judge.watches["porte"]
        await asyncio.sleep(0.1)
        watch.open, old_window = alert, watch.window
        (done,) = [row async for row in replace(gateway, ReplaceWish("porte", "B-2"))]
        assert done.relearning == ("porte",)
        assert watch.open is None
        assert watch.window is not old_window
        assert store.open_alerts() == [], "an alert on the old hardware is over"
        assert gateway.buses["ligne"].refusals["porte"] == Refusals()  # type: ignore[union-attr]
        assert len(store.summaries("porte", 0.0, now_s)) == 49, "the history stays"
        assert await history_of(store, site.watches.values(), clock.now()) == []
        gateway.stop.set()
        await running_it
    async with Store.open(site.data, clock) as store:
        assert store.state("learns_since/porte") == done.new.since_s
        assert store.state("watch/porte") is None


async def test_new_hardware_that_does_not_answer_changes_nothing(one: Field) -> None:
    site = one.site()
    one.units.clear()
    async with one.powered():
        with pytest.raises(WishError, match="ne répond pas"):
            await told(site, REPLACE, ReplaceWish("amont", "B-2"))
        async with built(site) as gateway:
            assert hardware(gateway.store, "amont") == []
        (done,) = await told(site, REPLACE, ReplaceWish("amont", "B-2", anyway=True))
        assert done.answers is False


@pytest.mark.parametrize(
    "wish",
    [
        ReplaceWish("nulle"),
        ReplaceWish("amont", serial="x" * 65),
        ReplaceWish("amont", serial="\x1b[2J"),
        ReplaceWish("amont", address="4"),
        ReplaceWish("amont", address="-1"),
        ReplaceWish("amont", profile="water/none"),
        ReplaceWish("amont", profile="../../etc/passwd"),
        ReplaceWish("amont", profile="lighting/dali_led_gear"),
    ],
)
async def test_what_cannot_be_is_refused(one: Field, wish: ReplaceWish) -> None:
    one.model(METER, 4)
    one.expect("compteur", METER, 4)
    site = one.site()
    async with one.powered(), running(site, dict(JOBS)) as gateway:
        with pytest.raises(WishError):
            await told(site, REPLACE, wish)
        assert hardware(gateway.store, "amont") == []


async def test_another_address_changes_the_file_and_says_so(one: Field) -> None:
    one.model(PRESSURE, 7)
    one.site()
    path = one.folder / "site.toml"
    async with one.powered():
        code, out, err = await guet("replace", "amont", "--address", "7", "--serial", "B-2", folder=one.folder)
    assert (code, err) == (0, "")
    assert "-address = 3" in out
    assert "site.toml : " in out
    assert load_site(path, home() / "device_profiles").devices["amont"].address == 7
    assert len(versions(path)) == 1
    assert in_place(path).trial is None, "nobody need keep what a technician has seen answer"


@pytest.mark.parametrize(
    ("lang", "said"), [("fr", "nom, historique et seuils gardés"), ("en", "name, history and thresholds are kept")]
)
async def test_what_is_printed(one: Field, lang: str, said: str, tmp_path: Path) -> None:
    one.site()
    async with one.powered():
        code, out, _ = await guet("replace", "amont", "--serial", "B-2", folder=one.folder, lang=lang)
    assert code == 0
    assert said in out
    assert "guet check amont" in out
