"""What a street's power says against what its lamps were told: a lamp lit by day, lamps that stay dark, a photocell that is
wrong. Rules, no model; pure.

Nothing is judged before the street has been lit, or off, for so long that the power was surely read since: half an hour and
two of its periods. Each suspicion must then last SURE_S. Where each lamp's power is known each is judged by itself; where
only a meter is, how many lamps must be out for it is said, and that one of two hundred cannot be seen.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from gateway.alert import Alert, AlertKind, Baseline, Reason, Severity, alert_id
from gateway.condition import Picture
from gateway.street import Street, beside
from gateway.sun import DAY_S, Place

SETTLES_S = 1800.0
SURE_S = 600.0
DEEP_S = 2 * 3600.0
"""So far from dusk and dawn there is no doubt whether it is night."""
CELL_SURE_S = 3600.0


@dataclass(slots=True)
class _Suspicion:
    """One thing that may be wrong with one subject. since_s: when it was first seen."""

    since_s: float | None = None
    open: Alert | None = None


class Outages:
    """See the module. periods: of the points of power, in seconds."""

    def __init__(self, street: Street, place: Place, periods: Mapping[str, float]) -> None:
        self._street, self._place = street, place
        self._periods = periods
        self._lit: bool | None = None
        self._changed_s = 0.0
        self._found: dict[tuple[str, str], _Suspicion] = {}

    def judge(self, picture: Picture, overruled: Collection[str]) -> list[Alert]:
        """Alerts raised and cleared. overruled: lamps that a rule or a command holds, of which the street knows nothing."""
        entry, time_s = self._street.entry, picture.time_s
        lit = self._street.light.percent > 0
        if lit is not self._lit or time_s < self._changed_s:
            self._lit, self._changed_s = lit, time_s
        changed: list[Alert] = []
        if (consumption := entry.consumption) is not None and consumption.lamp:
            for lamp in entry.lamps:
                if lamp not in overruled:
                    changed += self._judge_lamp(lamp, picture, lit)
        elif consumption is not None and consumption.meter and not overruled:
            changed += self._judge_meter(picture, lit)
        if entry.photocell is not None:
            changed += self._judge_cell(picture)
        return changed

    def moved(self, by_s: float) -> None:
        """The clock was set: it now says `by_s` more than it did."""
        self._changed_s += by_s
        for found in self._found.values():
            if found.since_s is not None:
                found.since_s += by_s

    def _settled(self, point: str, time_s: float) -> bool:
        return time_s - self._changed_s >= SETTLES_S + 2 * self._periods.get(point, 0.0)

    def _judge_lamp(self, lamp: str, picture: Picture, lit: bool) -> list[Alert]:
        consumption = self._street.entry.consumption
        assert consumption is not None
        point = beside(lamp, consumption.lamp)
        power_w = picture.values.get(point)
        if power_w is None or not self._settled(point, picture.time_s):
            return []
        subject = lamp.partition("/")[0]
        burns = not lit and power_w > consumption.standby_w + max(2.0, 0.15 * consumption.lamp_w)
        expected_w = self._expected_w(1, self._street.share(lamp))
        dark = lit and power_w < 0.5 * expected_w
        day = f"allumée alors qu'elle est commandée éteinte : {power_w:.0f} W"
        night = f"{power_w:.0f} W au lieu de {expected_w:.0f} W à {self._street.light.percent:g} %"
        return [
            *self._suspect(subject, "day_burner", burns, picture.time_s, SURE_S, point, day),
            *self._suspect(subject, "outage", dark, picture.time_s, SURE_S, point, night),
        ]

    def _judge_meter(self, picture: Picture, lit: bool) -> list[Alert]:
        entry = self._street.entry
        consumption = entry.consumption
        assert consumption is not None
        values = [picture.values.get(point) for point in consumption.meter]
        known = [value for value in values if value is not None]
        if len(known) < len(values) or not all(self._settled(point, picture.time_s) for point in consumption.meter):
            return []
        share = self._street.mean_share
        power_w, expected_w = sum(known), self._expected_w(len(entry.lamps), share) + consumption.other_w
        one_w = self._expected_w(1, share) if lit else consumption.lamp_w
        burns = not lit and power_w - expected_w > 0.5 * consumption.lamp_w
        missing_w = expected_w - power_w
        dark = lit and missing_w > max(0.5 * one_w, 0.1 * expected_w)
        about = max(1, round(abs(missing_w) / one_w))
        day = f"environ {about} lampe(s) allumée(s) de jour : {power_w:.0f} W au lieu de {expected_w:.0f} W"
        night = f"environ {about} lampe(s) éteinte(s) : {power_w:.0f} W au lieu de {expected_w:.0f} W"
        point = consumption.meter[0]
        return [
            *self._suspect(entry.name, "day_burner", burns, picture.time_s, SURE_S, point, day),
            *self._suspect(entry.name, "outage", dark, picture.time_s, SURE_S, point, night),
        ]

    def _expected_w(self, lamps: int, share: float) -> float:
        consumption = self._street.entry.consumption
        assert consumption is not None
        return lamps * lamp_w(consumption.lamp_w, consumption.standby_w, self._street.light.percent * share)

    def _judge_cell(self, picture: Picture) -> list[Alert]:
        """The photocell against the sun, where there is no doubt."""
        cell = self._street.entry.photocell
        assert cell is not None
        value = picture.values.get(cell.point)
        dawn_s, dusk_s = self._place.sun_s(self._place.local(picture.time_s).date())
        if value is None or not 60 < dusk_s - dawn_s < DAY_S - 60:
            return []
        time_s = picture.time_s
        by_day = dawn_s + DEEP_S < time_s < dusk_s - DEEP_S
        by_night = time_s > dusk_s + DEEP_S or time_s < dawn_s - DEEP_S
        wrong = (by_day and value < cell.dark) or (by_night and value > cell.light)
        text = f"{value:.0f} lx alors qu'il fait {'jour' if by_day else 'nuit'}"
        subject = cell.point.partition("/")[0]
        return self._suspect(subject, "photocell", wrong, time_s, CELL_SURE_S, cell.point, text)

    def _suspect(
        self, subject: str, what: str, wrong: bool, time_s: float, sure_s: float, point: str, text: str
    ) -> list[Alert]:
        found = self._found.setdefault((subject, what), _Suspicion())
        if not wrong:
            found.since_s = None
            if found.open is None:
                return []
            over, found.open = found.open.cleared(time_s), None
            return [over]
        if found.since_s is None or found.since_s > time_s:
            found.since_s = time_s
        if found.open is not None or time_s - found.since_s < sure_s:
            return []
        kind = AlertKind.SENSOR_FAULT if what == "photocell" else AlertKind.LAMP_FAILURE
        found.open = Alert(
            id=alert_id(kind, f"{subject}/{what}", time_s),
            kind=kind,
            subject=subject,
            onset_s=found.since_s,
            raised_s=time_s,
            severity=Severity.MINOR,
            score=1.0,
            threshold=1.0,
            model=f"rule:{what}",
            model_sha256="",
            reasons=(Reason(point, what, 1.0, text),),
            baseline=Baseline(what, fired=True, score=1.0),
        )
        return [found.open]

    def restore(self, alert: Alert) -> None:
        """Goes on with an alert that was open before a restart, if it is one of these."""
        entry = self._street.entry
        ours = {entry.name, *(lamp.partition("/")[0] for lamp in entry.lamps)}
        if entry.photocell is not None:
            ours.add(entry.photocell.point.partition("/")[0])
        rule, _, what = alert.model.partition(":")
        if rule == "rule" and what in ("day_burner", "outage", "photocell") and alert.subject in ours:
            self._found[alert.subject, what] = _Suspicion(alert.onset_s, alert)


def lamp_w(full_w: float, standby_w: float, percent: float) -> float:
    """Power of a lamp at a level, W: on a line from off to full. LED drivers take a little less than that in between."""
    return standby_w + (full_w - standby_w) * percent / 100 if percent > 0 else standby_w
