"""What people found out about alerts: kept, told to the platform, counted over 90 days, and never a change of a model."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gateway.alert import Alert, AlertKind
from gateway.clock import SystemClock
from gateway.errors import WishError
from gateway.jobs import JOBS, OUTCOME
from gateway.outcome import Outcome, OutcomeWish, TrackRecord, outcome_words, outcomes, standing, track_record
from gateway.store import Store
from tests.gateway.conftest import PRESSURE, Field, built, guet, running, told
from tests.gateway.test_alert import an_alert

DAY_S = 86_400.0
NOW_S = 1_790_000_000.0


def raised(id: str, days_ago: float, over: bool = True, **more: object) -> Alert:  # noqa: A002 - the contract's word
    at_s = NOW_S - days_ago * DAY_S
    return replace(an_alert(), id=id, raised_s=at_s, cleared_s=at_s + 60 if over else None, **more)  # type: ignore[arg-type]


def said(id: str, confirmed: bool) -> Outcome:  # noqa: A002
    return Outcome(id, confirmed, "vu sur place", "Jeanne", NOW_S)


def test_the_record_counts_this_model_and_kind_within_ninety_days() -> None:
    alerts = [
        raised("A-1", 1), raised("A-2", 89), raised("A-3", 2, over=False), raised("A-4", 3), raised("A-5", 4, over=False),
        raised("A-6", 91), raised("A-7", 1, model="other"), raised("A-8", 1, kind=AlertKind.SENSOR_FAULT),
    ]  # fmt: skip
    found = {"A-1": said("A-1", True), "A-2": said("A-2", False), "A-3": said("A-3", True), "A-7": said("A-7", True)}
    assert track_record(alerts[0], alerts, found, NOW_S) == TrackRecord(90, confirmed=2, refuted=1, open=1, cleared=1)


@given(st.lists(st.tuples(st.floats(0, 200), st.booleans(), st.sampled_from([None, True, False]))))
def test_every_alert_of_the_ninety_days_is_counted_once(drawn: list[tuple[float, bool, bool | None]]) -> None:
    alerts = [raised(f"A-{i}", days, over) for i, (days, over, _) in enumerate(drawn)]
    found = {f"A-{i}": said(f"A-{i}", known) for i, (_, _, known) in enumerate(drawn) if known is not None}
    record = track_record(an_alert(), alerts, found, NOW_S)
    assert record.total == sum(one.raised_s >= NOW_S - 90 * DAY_S for one in alerts)


async def test_what_is_found_out_is_kept_and_told_to_the_platform(on_site: Field, root: Path) -> None:
    on_site.expect("amont", PRESSURE, 3)
    site = on_site.site()
    one = replace(an_alert(), raised_s=SystemClock().now() - 60)
    async with running(site, dict(JOBS)) as gateway:
        await gateway.store.decide({}, [one])
        with pytest.raises(WishError, match="--reason"):
            await told(site, OUTCOME, OutcomeWish(one.id, False))
        with pytest.raises(WishError, match="A-none"):
            await told(site, OUTCOME, OutcomeWish("A-none", True))
        with pytest.raises(WishError, match="--reason"):
            await told(site, OUTCOME, OutcomeWish(one.id, True, "\x1b[2J"))
        assert standing(gateway, one).outcome is None
        await told(site, OUTCOME, OutcomeWish(one.id, True, "fuite rue du Moulin", "Jeanne"))
        (last,) = await told(site, OUTCOME, OutcomeWish(one.id, False, "remplissage du réservoir", "Paul"))
        beside = standing(gateway, one)
        assert beside.outcome == last, "the later one counts"
        assert beside.record == TrackRecord(90, refuted=1)
        rows = gateway.store.rows("select body from outbox where kind = 'audit' order by seq")
    schema = json.loads((root / "central/contract/audit.schema.json").read_text("utf-8"))
    audits = [body for (text,) in rows if (body := json.loads(text))["what"].startswith("alert ")]
    assert [body["what"] for body in audits] == ["alert confirmed", "alert refuted"], "both stay in the audit"
    for seq, body in enumerate(audits, 1):
        envelope = {
            "gateway": "edge-0042",
            "epoch": "0" * 12,
            "seq": seq,
            "kind": "audit",
            "time": "2026-11-26T08:00:00Z",
        }
        Draft202012Validator(schema).validate(envelope | body)
    async with built(site) as gateway:
        assert outcomes(gateway.store) == {one.id: last}, "over a restart"


async def test_what_the_disk_has_garbled_is_passed_over(on_site: Field) -> None:
    on_site.expect("amont", PRESSURE, 3)
    site = on_site.site()
    async with Store.open(site.data, SystemClock()) as store:
        await store.decide({"outcome/A-1": {"alert": "A-1"}, "outcome/A-2": None, "outcomes": 1})
    with closing(sqlite3.connect(site.data / "store.db")) as disk:
        disk.execute("insert into state values('outcome/A-3', '{')")
        disk.commit()
    async with built(site) as gateway:
        assert outcomes(gateway.store) == {}


async def test_on_the_command_line(on_site: Field) -> None:
    on_site.expect("amont", PRESSURE, 3)
    site = on_site.site()
    one = replace(an_alert(), raised_s=SystemClock().now() - 60, cleared_s=None)
    async with Store.open(site.data, SystemClock()) as store:
        await store.decide({}, [one])
    code, out, err = await guet(
        "alert", "confirm", one.id, "--reason", "fuite trouvée", "--by", "Jeanne", folder=on_site.folder
    )
    assert (code, err) == (0, "")
    assert "confirmée : fuite trouvée (Jeanne)" in out
    code, out, _ = await guet("alert", "list", folder=on_site.folder)
    assert (code, f"{one.id}  " in out, "dure encore" in out, "confirmée" in out) == (0, True, True, True)
    code, out, _ = await guet("explain", one.id, folder=on_site.folder, lang="en")
    assert code == 0
    assert "confirmed: fuite trouvée (Jeanne)" in out
    assert "1 in 90 days: 1 confirmed, 0 false, 0 without an answer yet, 0 over by themselves" in out
    assert (await guet("alert", "refute", one.id, folder=on_site.folder))[0] == 2, "without a reason"


def test_nobody_has_said_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUET_LANG", "en")
    assert outcome_words(None) == "nobody has said yet whether it was right"
