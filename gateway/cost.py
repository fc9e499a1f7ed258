"""What an alert costs if it is wrong, and what it costs to do nothing if it is right: the two errors side by side. Pure.

A false alert is one visit. What is lost meanwhile is estimated from what the alert itself saw, where that is a quantity that
is lost; where it is not, nothing is made up. Prices are the site's (`[cost]`); those it does not give are our defaults, and
each sentence says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydantic import Field

from gateway.alert import Alert, AlertKind, Reason
from gateway.language import say
from gateway.point import Closed
from gateway.sun import DAY_S, Place

FLOW, POWER = "m3/h", "W"
_DECIMALS = {"m3/d": 0, "h/d": 1, "kWh/d": 1}
_SHOWN = {
    "m3/d": ("m³ par jour", "m³ a day"),
    "h/d": ("h par nuit", "h a night"),
    "kWh/d": ("kWh par jour", "kWh a day"),
}


class CostEntry(Closed):
    """What visits, water and energy cost here. visit_h: working hours of one visit, way included."""

    visit_h: float = Field(default=2.0, gt=0, le=100)
    hour_eur: float = Field(default=40.0, ge=0, le=1000)
    water_eur_per_m3: float = Field(default=1.0, ge=0, le=1000)
    energy_eur_per_kwh: float = Field(default=0.2, ge=0, le=1000)


@dataclass(frozen=True, slots=True)
class Cost:
    """If the alert is false: one visit of visit_h, visit_eur. If it is right and nobody acts: `lost` a day in `unit`, worth
    lost_eur; None where the alert says nothing of a quantity, or it has no price. point: where the quantity was seen.
    assumed: the keys of [cost] that the site does not give."""

    visit_h: float
    visit_eur: float
    lost: float | None
    unit: str
    lost_eur: float | None
    point: str
    assumed: tuple[str, ...]

    @property
    def even_days(self) -> float | None:
        """After so many days what is lost is worth the visit; None where that is not known."""
        return self.visit_eur / self.lost_eur if self.lost_eur else None


def cost_of(alert: Alert, rates: CostEntry, place: Place | None = None) -> Cost:
    """The cost of an alert by a site's prices. place: where it is, for the length of the night."""
    used = ["visit_h", "hour_eur"]
    lost, unit, price_eur, point = None, "", None, ""
    match alert.kind:
        case AlertKind.LEAK if (found := _above(alert, FLOW)) is not None:
            lost, unit, price_eur, point = found[0] * 24, "m3/d", rates.water_eur_per_m3, found[1].point
            used.append("water_eur_per_m3")
        case AlertKind.ENERGY_ANOMALY if (found := _above(alert, POWER)) is not None:
            lost, unit, price_eur, point = found[0] * 24 / 1000, "kWh/d", rates.energy_eur_per_kwh, found[1].point
            used.append("energy_eur_per_kwh")
        case AlertKind.LAMP_FAILURE if place is not None and not _burns_by_day(alert):
            lost, unit = night_h(place, alert.raised_s), "h/d"
    lost_eur = None if lost is None or price_eur is None else lost * price_eur
    assumed = tuple(key for key in used if key not in rates.model_fields_set)
    return Cost(rates.visit_h, rates.visit_h * rates.hour_eur, lost, unit, lost_eur, point, assumed)


def night_h(place: Place, time_s: float) -> float:
    """Hours from the sunset before or after a time to the next sunrise."""
    day = datetime.fromtimestamp(time_s, UTC).date()
    return max(0.0, (place.sun_s(day + timedelta(days=1))[0] - place.sun_s(day)[1]) * 24 / DAY_S)


def _above(alert: Alert, unit: str) -> tuple[float, Reason] | None:
    """By how much the reason that weighs most is above its usual, of those in a unit."""
    found = [
        (reason.value - reason.usual, reason)
        for reason in sorted(alert.reasons, key=lambda reason: -reason.weight)
        if reason.unit == unit and reason.value is not None and reason.usual is not None and reason.value > reason.usual
    ]
    return found[0] if found else None


def _burns_by_day(alert: Alert) -> bool:
    return any(reason.feature == "day_burner" for reason in alert.reasons)


def lines(alert: Alert, cost: Cost) -> Iterator[str]:
    """For people: if it is false, if nobody acts, and what of it is assumed."""
    visit = f"{_number(cost.visit_h, 0 if cost.visit_h.is_integer() else 1)} h, {_number(cost.visit_eur, 0)} €"
    yield say(f"Si elle est fausse : un déplacement, environ {visit}.", f"If it is false: one visit, about {visit}.")
    if cost.lost is not None:
        amount = f"{_number(cost.lost, _DECIMALS[cost.unit])} {say(*_SHOWN[cost.unit])}"
        worth = "" if cost.lost_eur is None else say(f", soit {_number(cost.lost_eur, 0)} € par jour",
                                                       f", worth {_number(cost.lost_eur, 0)} € a day")  # fmt: skip
        what = say(*_LOST.get(alert.kind, ("perdus", "lost")))
        at = say(f" (estimé sur {cost.point})", f" (estimated at {cost.point})") if cost.point else ""
        yield say(f"Si on se tait : environ {amount} {what}{worth}{at}.",
                   f"If nobody acts: about {amount} {what}{worth}{at}.")  # fmt: skip
        if (days := cost.even_days) is not None:
            after = say("moins d'un jour", "less than a day") if days < 1 else say(
                f"{_number(days, 0)} jours", f"{_number(days, 0)} days")  # fmt: skip
            yield say(f"Le déplacement est payé en {after} de perte.", f"The visit is paid for by {after} of loss.")
    else:
        yield say(*_UNKNOWN.get(alert.kind, _NOT_KNOWN))
    if cost.assumed:
        keys = ", ".join(cost.assumed)
        yield say(f"Valeurs par défaut, que le site ne donne pas : {keys} ([cost]).",
                   f"Defaults, which the site does not give: {keys} ([cost]).")  # fmt: skip


def _number(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    return say(text.replace(".", ","), text)


_LOST = {
    AlertKind.LEAK: ("d'eau perdus", "of water lost"),
    AlertKind.LAMP_FAILURE: ("sans lumière, si la lampe s'éteint", "without light, if the lamp goes out"),
    AlertKind.ENERGY_ANOMALY: ("consommés en trop", "too much"),
}
_NOT_KNOWN = (
    "Si on se tait : rien de ce que l'alerte a vu ne permet de l'estimer.",
    "If nobody acts: nothing that the alert saw allows an estimate.",
)
_UNKNOWN = {
    AlertKind.LIFT_FAILURE: (
        "Si on se tait : un arrêt non prévu de l'ascenseur, peut-être avec quelqu'un dedans.",
        "If nobody acts: the lift stops unplanned, perhaps with somebody in it.",
    ),
    AlertKind.BIN_OVERFLOW: (
        "Si on se tait : des déchets à côté du conteneur, à ramasser à la main.",
        "If nobody acts: waste beside the bin, to be picked up by hand.",
    ),
    AlertKind.SENSOR_FAULT: (
        "Si on se tait : ce qui veille sur ce capteur juge avec une valeur fausse.",
        "If nobody acts: what watches this sensor judges by a wrong value.",
    ),
    AlertKind.NO_DATA: (
        "Si on se tait : plus rien ne veille sur cet appareil.",
        "If nobody acts: nothing watches this device any more.",
    ),
}
