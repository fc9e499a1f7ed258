"""The cost of a wrong alert: from what the alert saw, by the site's prices, defaults said to be defaults."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from zoneinfo import ZoneInfo

import pytest
from astral import Observer
from astral.sun import sunrise, sunset

from gateway.alert import AlertKind, Reason
from gateway.cost import Cost, CostEntry, cost_of, lines, night_h
from gateway.errors import SiteError
from gateway.sun import Place
from tests.gateway.conftest import PRESSURE, Field
from tests.gateway.test_alert import an_alert

PLACE = Place(47.24, 6.02, ZoneInfo("Europe/Paris"))
LEAK = replace(
    an_alert(), kind=AlertKind.LEAK,
    reasons=(
        Reason("aval/pressure", "drop", 0.6, "", 2.6, 3.0, "bar"),
        Reason("entree/flow", "flow", 0.3, "", 5.1, 2.0, "m3/h"),
        Reason("autre/flow", "added", 0.1, "", 9.0, 1.0, "m3/h"),
    ),
)  # fmt: skip


def test_a_leak_costs_the_flow_above_its_usual() -> None:
    cost = cost_of(LEAK, CostEntry(visit_h=2, hour_eur=50, water_eur_per_m3=0.5))
    assert cost == Cost(2, 100, pytest.approx(74.4), "m3/d", pytest.approx(37.2), "entree/flow", ())
    assert cost.even_days == pytest.approx(100 / 37.2)


def test_without_a_flow_nothing_is_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUET_LANG", "fr")
    for reasons in (LEAK.reasons[:1], (replace(LEAK.reasons[1], value=1.0),), (replace(LEAK.reasons[1], usual=None),)):
        alert = replace(LEAK, reasons=reasons)
        cost = cost_of(alert, CostEntry())
        assert (cost.lost, cost.lost_eur, cost.even_days) == (None, None, None)
        assert "rien de ce que l'alerte a vu ne permet de l'estimer" in " ".join(lines(alert, cost))


def test_defaults_are_said_to_be_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUET_LANG", "fr")
    cost = cost_of(LEAK, CostEntry(visit_h=1.5))
    assert cost.assumed == ("hour_eur", "water_eur_per_m3")
    assert list(lines(LEAK, cost)) == [
        "Si elle est fausse : un déplacement, environ 1,5 h, 60 €.",
        "Si on se tait : environ 74 m³ par jour d'eau perdus, soit 74 € par jour (estimé sur entree/flow).",
        "Le déplacement est payé en moins d'un jour de perte.",
        "Valeurs par défaut, que le site ne donne pas : hour_eur, water_eur_per_m3 ([cost]).",
    ]
    monkeypatch.setenv("GUET_LANG", "en")
    assert list(lines(LEAK, cost))[2] == "The visit is paid for by less than a day of loss."


def test_a_lamp_costs_hours_of_night_as_astral_has_them() -> None:
    alert = replace(LEAK, kind=AlertKind.LAMP_FAILURE, reasons=(), raised_s=1_780_000_000.0)  # 2026-05-28
    observer = Observer(PLACE.latitude, PLACE.longitude)
    dark = sunrise(observer, date(2026, 5, 29)) - sunset(observer, date(2026, 5, 28))
    assert night_h(PLACE, alert.raised_s) == pytest.approx(dark.total_seconds() / 3600, abs=0.05)
    assert cost_of(alert, CostEntry(), PLACE).lost == pytest.approx(dark.total_seconds() / 3600, abs=0.05)
    by_day = replace(alert, reasons=(Reason("rue/power", "day_burner", 1.0, ""),))
    assert cost_of(by_day, CostEntry(), PLACE).lost is None, "a lamp that burns by day leaves nobody in the dark"


@pytest.mark.parametrize("kind", list(AlertKind))
@pytest.mark.parametrize("lang", ["fr", "en"])
def test_every_kind_says_both_errors(kind: AlertKind, lang: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUET_LANG", lang)
    told = list(lines(replace(LEAK, kind=kind), cost_of(replace(LEAK, kind=kind), CostEntry(), PLACE)))
    assert len(told) >= 3
    assert told[0].startswith("Si elle est fausse" if lang == "fr" else "If it is false")
    assert told[1].startswith("Si on se tait" if lang == "fr" else "If nobody acts")


def test_a_site_gives_its_prices(on_site: Field) -> None:
    on_site.expect("amont", PRESSURE, 3)
    assert on_site.site().cost == CostEntry()
    site = on_site.site(more="[cost]\nwater_eur_per_m3 = 0.4\n")
    assert (site.cost.water_eur_per_m3, site.cost.model_fields_set) == (0.4, {"water_eur_per_m3"})
    with pytest.raises(SiteError, match=r"cost\.water_eur_per_m3: .*got -1"):
        on_site.site(more="[cost]\nwater_eur_per_m3 = -1\n")
