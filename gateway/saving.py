"""Energy saved: what a street took against what it would have taken at full light from sunset to sunrise. Pure.

    reference  every lamp at `lamp_w` from sunset to sunrise, at `standby_w` by day: the schedule without dimming, without
               curfew and without correction for burn hours
    used       what its meter, or its lamps, measured; where they measure nothing, `outage.lamp_w` of what was ordered
    saved      reference less used; never made up where it is negative; CO2 by the site's own factor, with its source

A night is counted from noon to noon, local time. What was not watched, because the gateway was off, is in neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from gateway.condition import Picture
from gateway.outage import lamp_w
from gateway.street import Street, beside
from gateway.sun import Place

J_PER_KWH = 3.6e6
LONGEST_S = 900.0
"""A stretch longer than this without a decision was not watched."""


@dataclass(frozen=True, slots=True)
class Saving:
    """One night of one street, or what is known of it yet. watched_h: hours of it that were counted; co2_kg: None where the
    site gives no factor; method: how, in French."""

    night: date
    watched_h: float
    reference_kwh: float
    used_kwh: float
    co2_kg: float | None
    method: str

    @property
    def saved_kwh(self) -> float:
        return self.reference_kwh - self.used_kwh

    def as_json(self) -> dict[str, Any]:
        """For the status record and for reports."""
        return {
            "night": self.night.isoformat(),
            "watched_h": round(self.watched_h, 2),
            "reference_kwh": round(self.reference_kwh, 3),
            "used_kwh": round(self.used_kwh, 3),
            "saved_kwh": round(self.saved_kwh, 3),
            "saved_co2_kg": None if self.co2_kg is None else round(self.co2_kg, 3),
            "method": self.method,
        }


class Savings:
    """Counts one street. Give it every decision, in order of time, after the street's own."""

    def __init__(self, street: Street, place: Place) -> None:
        self._street, self._place = street, place
        self._last_s: float | None = None
        self._power_w = 0.0
        self._measured = True
        self.current: Saving | None = None
        self.last: Saving | None = None
        """The last night that is over."""
        self.used_kwh_total = 0.0
        """Since the start."""

    def count(self, picture: Picture) -> None:
        """Takes in the stretch since the last decision, then what holds from now on."""
        consumption = self._street.entry.consumption
        if consumption is None:
            return
        before_s, now_s = self._last_s, picture.time_s
        if before_s is not None and 0 < now_s - before_s <= LONGEST_S:
            self._add(before_s, now_s)
        self._last_s = now_s
        measured = self._measured_w(picture)
        self._measured = measured is not None
        percent = self._street.light.percent * self._street.mean_share
        ordered_w = lamp_w(consumption.lamp_w, consumption.standby_w, percent)
        self._power_w = measured if measured is not None else len(self._street.entry.lamps) * ordered_w

    def _add(self, from_s: float, to_s: float) -> None:
        consumption = self._street.entry.consumption
        assert consumption is not None
        night = self._night(to_s)
        if self.current is None or self.current.night != night:
            self.last, self.current = self.current or self.last, Saving(night, 0.0, 0.0, 0.0, None, "")
        so_far, lamps = self.current, len(self._street.entry.lamps)
        dark_s = self._dark_s(from_s, to_s)
        reference_j = lamps * (consumption.lamp_w * dark_s + consumption.standby_w * (to_s - from_s - dark_s))
        reference_kwh = so_far.reference_kwh + reference_j / J_PER_KWH
        took_kwh = self._power_w * (to_s - from_s) / J_PER_KWH
        self.used_kwh_total += took_kwh
        used_kwh = so_far.used_kwh + took_kwh
        factor = consumption.co2_g_per_kwh
        how = "mesuré" if self._measured else "calculé d'après les niveaux commandés"
        method = f"plein feu du coucher au lever ({lamps} x {consumption.lamp_w:g} W) moins la consommation, {how}"
        if factor is not None:
            method += f" ; {factor:g} g CO2/kWh ({consumption.co2_source})"
        co2_kg = None if factor is None else (reference_kwh - used_kwh) * factor / 1000
        watched_h = so_far.watched_h + (to_s - from_s) / 3600
        self.current = Saving(night, watched_h, reference_kwh, used_kwh, co2_kg, method)

    def _dark_s(self, from_s: float, to_s: float) -> float:
        """Seconds of a stretch between sunset and sunrise."""
        dawn_s, dusk_s = self._place.sun_s(self._place.local(from_s).date())
        light_s = max(0.0, min(to_s, dusk_s) - max(from_s, dawn_s))
        return (to_s - from_s) - light_s

    def _night(self, time_s: float) -> date:
        local = self._place.local(time_s)
        return local.date() if local.hour >= 12 else local.date() - timedelta(days=1)

    def _measured_w(self, picture: Picture) -> float | None:
        consumption = self._street.entry.consumption
        assert consumption is not None
        points = consumption.meter or (
            [beside(lamp, consumption.lamp) for lamp in self._street.entry.lamps] if consumption.lamp else []
        )
        values = [picture.values.get(point) for point in points]
        known = [value for value in values if value is not None]
        if not points or len(known) < len(values):
            return None
        return sum(known) - (consumption.other_w if consumption.meter else 0.0)
