"""The window of a street lamp with a D4i driver: is it as it used to be, at equal load and in the same air?

Everything is measured against the lamp's own past (`gateway.window.past`): drivers of one type differ more from each other
than a failing one differs from itself. What the air does to a driver is taken off by its neighbours: `neighbours` are
temperatures of other drivers of the street, or of the air; three to eight are enough, and their median counts. Without
any, the driver's own temperature while unlit has to do, and the rule by itself becomes less sensitive.

Roles: temperature and power are needed; level (as ordered: % or arc power level), power_factor, starts, output (%),
source_voltage, failure (any number of flags) and neighbours make it better. Values are kept by the hour, since the banks of
a driver are read about once an hour. `Lamps` judges any number of lamps at once; `LampWindow` is one, for a watch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.alert import Reason
from gateway.lighting import light_percent
from gateway.summary import Aggregate
from gateway.unit import convert
from gateway.window import Features, Inputs
from gateway.window.past import (
    CLIP,
    DAYS,
    ENOUGH_SHARE,
    FEATURES,
    KNOWN,
    RECENT_D,
    Departures,
    Past,
    Quantity,
    last_known,
)

HOUR_S = 3_600.0
DAY = 24
HOURS = DAYS * DAY
"""How far back the window sees."""

NOW = 4
"""Hours with light whose median is a lamp's present state."""

NOW_WITHIN = 54
"""Hours in which they must have been: two nights, for what is read every third hour or dimmed from hour to hour."""

SETTLING = 3
"""Hours in which the load before must have been read."""

NIGHTS_NEEDED = 14
LEAST_A_NIGHT = 1
"""Hours with light that make a night known."""

LEAST_LIT_W = 1.0
"""No driver takes less with light: in a summer without any, standby must not pass for it."""

SEEN = DAY + NOW_WITHIN
"""Hours that the present state is seen in, and a day of air before."""

MEASURED = (
    Quantity("excess_temperature", "temperature", 4.2, 0.7, room=1.0),
    Quantity("power_factor_drop", "power_factor", 0.05, 0.006, side=-1, room=0.15),
    Quantity("output_gap", "output", 8.0, 1.0, room=1.0),
    Quantity("source_voltage_shift", "source_voltage", 1.5, 0.1, side=0),
)
TEMPERATURE, FACTOR, GAP, VOLTAGE = range(4)
WARM_LEDS = 0.00055
"""Share by which the voltage of white LEDs falls for each kelvin: by as much as one shorted, from winter to summer."""

QUANTITIES = (*(one.feature for one in MEASURED), "restarts", "reported")
"""What is compared with the past, then what is counted and what the driver says itself: the rows of the network's input."""

DEVIATIONS = np.array([4.2, 5.0, 0.0, 6.0])
SLOW_DEVIATIONS = np.array([4.2, 5.0, 5.0, 5.0])
"""How many usual deviations a departure must be at least to be enough for the rule, by MEASURED: from the recent reference,
and of days from the first."""

RESTARTS = 5.0
"""Restarts above the usual in two days that would be enough, if restarts alone ever were."""

STREET_MOST = 0.7
"""What befalls every lamp of a street weighs at most: restarts, for there are storms, and heat, where no neighbour tells how
warm the night is. Something else must be as far from usual before that is an alert."""

RESTARTED_D = (7, 20)
BY_CHANCE = 2e-4
"""How seldom so many of the last nights have a restart, had nothing changed, for that to be enough. A storm lasts one night;
a bad contact comes back, first seldom and over months."""

RESTARTED_BEFORE = (1.0, 20.0)
"""Nights with a restart of so many nights, which every lamp is taken to have behind it: none in four weeks is not never."""

RESTARTED_ALWAYS = 0.9
"""Share of nights with a restart from which it is the street that is switched so, and no contact that goes bad."""

COUNTED_D = (2, 7, 20)
MOST = 3.0
"""What the rule's score is held at; so much says a driver that reports its own failure, or a lamp that stays dark."""

WORTH_SAYING = 0.15
"""Weight from which a reason is one."""

ROLES = {
    "temperature": "Cel", "power": "W", "level": "%", "power_factor": "1", "starts": "1", "output": "%",
    "source_voltage": "V", "failure": "1", "neighbours": "Cel",
}  # fmt: skip
"""Roles with their units."""

COLUMN = {role: index for index, role in enumerate(ROLES)}
"""Where a role stands in a row of the window."""

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Seen:
    """Lamps at one instant; (lamps, ...), NaN where not known. sudden, slow: departures of MEASURED from the recent and from
    the first reference, as shares of what is enough; restarts: above the usual in two days; again: nights with any, of the
    last RESTARTED_D; worn: how unlikely that is, as a share of what is enough; judged: is enough known?"""

    x: NDArray[np.float32]
    judged: Flags
    gone: Departures
    sudden: Floats
    slow: Floats
    restarts: Floats
    again: NDArray[np.int64]
    worn: Floats
    dark: Flags
    failed: Flags
    power_w: Floats
    celsius: Floats
    output: Floats

    @property
    def certain(self) -> Flags:
        """(lamps,): needs no network."""
        return self.dark | self.failed

    @property
    def rule_score(self) -> Floats:
        """(lamps,): above 1 the rule would alert."""
        weights = np.maximum(np.nan_to_num(self.sudden), np.nan_to_num(self.slow))
        restarts = np.maximum(np.minimum(STREET_MOST, self.restarts / RESTARTS), self.worn)[:, None]
        every = np.clip(np.concatenate([weights, restarts], 1), 0.0, MOST)
        score = np.sqrt((np.where(every >= WORTH_SAYING, every, 0.0) ** 2).sum(1))
        return np.where(self.certain, MOST, np.minimum(MOST, score))


class Lamps:
    """The past of some lamps. has_neighbours: whether temperatures of neighbours or of the air are among the values."""

    def __init__(self, count: int, has_neighbours: bool) -> None:
        self.past = Past(MEASURED, count, LEAST_A_NIGHT)
        self.nights = np.zeros(count, int)
        self._has_neighbours = has_neighbours
        self._rows: Floats = np.full((count, HOURS, len(ROLES)), np.nan)
        self._last_hour, self._day = 0, -1
        self._lit_w, self._restarts = np.full(count, np.inf), np.zeros(count)
        self.restarted: Floats = np.full((count, 2), np.nan)
        """(lamps, 2): nights with a restart and nights known, as it first was."""

    def row(self, hour: int) -> Floats:
        """(lamps, ROLES): what is known of an hour since 1970, to be filled; hours that are too old give one to forget."""
        if hour <= self._last_hour - HOURS:
            return np.full(self._rows[:, 0].shape, np.nan)
        if hour > self._last_hour:
            fresh = np.arange(max(self._last_hour + 1, hour - HOURS + 1), hour + 1)
            self._rows[:, fresh % HOURS] = np.nan
            self._last_hour = hour
        return self._rows[:, hour % HOURS]

    def see(self, now_s: float) -> Seen:
        """Judges the hours before now_s."""
        self.learn(now_s)
        rows = self._before(now_s, SEEN)
        power, level, output = (rows[..., COLUMN[role]] for role in ("power", "level", "output"))
        telling = _telling(power, self._lit_w)[..., -NOW_WITHIN:]
        y = np.where(telling, self._measured(rows)[..., -NOW_WITHIN:], np.nan)
        gone = self.past.departures(power[:, -NOW_WITHIN:], y, NOW, NOW - 1)
        warm, lit = telling[:, TEMPERATURE], telling[:, GAP]
        gap, power_w, celsius, given = (
            last_known(np.where(when, values[:, -NOW_WITHIN:], np.nan), NOW, NOW - 1)
            for values, when in (
                (y[:, GAP], lit),
                (power, warm),
                (rows[..., COLUMN["temperature"]], warm),
                (output, lit),
            )
        )
        dark = _is_dark(level[:, -DAY:], power[:, -DAY:], self._lit_w)
        failed = _latest(rows[:, -DAY:, COLUMN["failure"]]) > 0
        started = _rises(self._before(now_s, COUNTED_D[-1] * DAY, COLUMN["starts"]))
        more = np.stack([started[:, -DAY * d :].sum(1) - d * self._restarts for d in COUNTED_D], 1)
        to_noon = int(12 - now_s // HOUR_S) % DAY  # a stormy night must not count as two
        nights = np.pad(started > 0, ((0, 0), (0, to_noon)))[:, -started.shape[1] :].reshape(len(rows), -1, DAY).max(2)
        again = np.stack([nights[:, -days:].sum(1) for days in RESTARTED_D], 1)
        worn = self._worn(again)
        sudden, slow = self._weights(gone, gap)
        x = np.concatenate([self.past.features(gone), self._counted(more, worn, dark | failed)], 1)
        fresh = np.isfinite(rows[:, -DAY:, :2]).any((1, 2))
        return Seen(
            x, self.learnt & fresh, gone, sudden, slow, more[:, 0], again, worn, dark, failed, power_w, celsius, given
        )

    def learn(self, now_s: float) -> None:
        """What is usual: anew every day at noon UTC, and until there is enough."""
        day = int((now_s - 12 * HOUR_S) // (DAY * HOUR_S))
        if self._day == day and self.learnt.any():
            return
        self._day = day
        rows = self._before((day * DAY + 12) * HOUR_S)
        learnt = rows[:, : -RECENT_D * DAY]
        power = rows[..., COLUMN["power"]]
        full_w = _high(power[:, : learnt.shape[1]])
        self._lit_w = np.where(full_w > 0, np.maximum(LEAST_LIT_W, 0.15 * full_w), np.inf)
        telling = _telling(power, self._lit_w)
        lit = telling[:, GAP, : learnt.shape[1]].reshape(len(rows), -1, DAY)
        self.nights = (lit.sum(2) >= LEAST_A_NIGHT).sum(1)
        started = _rises(learnt[..., COLUMN["starts"]])
        self._restarts = started.sum(1) / (DAYS - RECENT_D)
        by_day = (len(rows), -1, DAY)
        nights = (started > 0).reshape(by_day).max(2).sum(1)
        known = np.isfinite(learnt[..., COLUMN["starts"]]).reshape(by_day).max(2)
        enough = known[:, :RECENT_D].any(1) & (known.sum(1) >= NIGHTS_NEEDED)  # four weeks tell of what is seldom
        anew = enough & (np.isnan(self.restarted[:, 0]) | (nights >= RESTARTED_ALWAYS * known.sum(1)))
        self.restarted[anew] = np.stack([nights, known.sum(1)], 1)[anew]
        if self.learnt.any():
            y = np.where(telling, self._measured(rows), np.nan)
            self.past.renew(power, y, DAY)

    @property
    def learnt(self) -> Flags:
        """(lamps,): whether it is known how each is, or how it first was: every summer nights are too short."""
        first = np.isfinite(self.past.first.at_zero).any(1) | np.isfinite(self.restarted[:, 0])
        return (self.nights >= NIGHTS_NEEDED) | first

    def knows(self, now_s: float) -> bool:
        """Whether anything was read of the first lamp in the day before."""
        return bool(np.isfinite(self._before(now_s, DAY)[0, :, :2]).any())

    def _before(self, now_s: float, count: int = HOURS, columns: int | slice = slice(None)) -> Floats:
        """(lamps, count, columns of ROLES): the hours before now_s, oldest first."""
        hours = np.arange(int(now_s // HOUR_S) - count, int(now_s // HOUR_S))
        kept = (hours <= self._last_hour) & (hours > self._last_hour - HOURS)
        rows = self._rows[:, hours % HOURS, columns]
        rows[:, ~kept] = np.nan
        return rows

    def _measured(self, rows: Floats) -> Floats:
        """(lamps, MEASURED, hours), not yet held against the past."""
        gap = rows[..., COLUMN["level"]] - rows[..., COLUMN["output"]]
        factor = rows[..., COLUMN["power_factor"]]
        volts = rows[..., COLUMN["source_voltage"]] * (1 + WARM_LEDS * (rows[..., COLUMN["temperature"]] - 25))
        return np.stack([_above_air(rows, self._lit_w, self._has_neighbours), factor, gap, volts], 1)

    def _weights(self, gone: Departures, gap: Floats) -> tuple[Floats, Floats]:
        sudden, slow = self.past.bad(gone.now), self.past.bad(gone.long)
        sudden[:, GAP] = gap  # a driver that always protects itself is no better for it
        sudden /= np.maximum(self.past.enough, DEVIATIONS * np.nan_to_num(self.past.recent.spread))
        slow /= np.maximum(self.past.enough, SLOW_DEVIATIONS * np.nan_to_num(self.past.first.daily))
        if not self._has_neighbours:
            slow[:, TEMPERATURE] = np.nan  # the air of another season is not known
            sudden[:, TEMPERATURE] = np.minimum(STREET_MOST, sudden[:, TEMPERATURE])
        return sudden, slow

    def _worn(self, again: NDArray[np.int64]) -> Floats:
        """(lamps,): how unlikely so many nights with a restart are, had nothing changed, as a share of what is enough."""
        chance = np.stack(
            [by_chance(again[:, at], days, self.restarted) for at, days in enumerate(RESTARTED_D)], 1
        ).min(1)
        # What has been put right need not be waited out: nothing in a week is nothing.
        return np.where((again[:, 0] > 0) & np.isfinite(chance), np.log(chance) / math.log(BY_CHANCE), 0.0)

    def _counted(self, more: Floats, worn: Floats, reported: Flags) -> NDArray[np.float32]:
        """(lamps, 2, FEATURES): the rows of restarts and of what is reported."""
        x = np.zeros((len(more), 2, len(FEATURES)), np.float32)
        deviation = np.sqrt(np.array(COUNTED_D) * self._restarts[:, None] + 1)
        x[:, 0, 0:6:2] = more / deviation / 2.5
        x[:, 0, 1:6:2] = more / np.array([5.0, 10.0, 20.0])
        x[:, 0, 6] = worn / ENOUGH_SHARE
        x[:, 0, -2:] = 1.0
        x[:, 1, 1] = np.where(reported, CLIP, 0.0)
        return np.clip(x, -CLIP, CLIP)


class LampWindow:
    """See the module. Raises ValueError for roles that it does not know or that are missing."""

    step_s = HOUR_S
    steps = len(QUANTITIES)
    channels: Sequence[str] = FEATURES

    def __init__(self, inputs: Inputs) -> None:
        if unknown := sorted(set(inputs) - set(ROLES)):
            raise ValueError(f"role {unknown[0]!r}: unknown; expected one of {', '.join(ROLES)}")
        for role in ROLES:
            count = len(inputs.get(role, ()))
            if (role in ("temperature", "power") and not count) or (
                role not in ("failure", "neighbours") and count > 1
            ):
                raise ValueError(f"role {role!r}: expected one point, got {count}")
        self._inputs = inputs
        self._role = {point: role for role, points in inputs.items() for point in points}
        self._lamps = Lamps(1, bool(inputs.get("neighbours")))
        self._neighbours: dict[int, dict[str, float]] = {}

    def add(self, point: str, start_s: float, period_s: float, aggregate: Aggregate, unit: str) -> None:
        """See `Window`."""
        role = self._role[point]
        value = aggregate.max if role == "failure" else aggregate.last
        if role == "level" and unit == "1":
            value = None if value is None else light_percent(min(254, max(0, round(value))))
        else:
            converted = convert(0.0 if value is None else value, unit, ROLES[role])
            value = None if value is None else converted
        if value is None:
            return
        hour = int((start_s + period_s / 2) // HOUR_S)
        row, column = self._lamps.row(hour)[0], COLUMN[role]
        if role == "neighbours":
            if hour not in self._neighbours:
                self._neighbours = {known: seen for known, seen in self._neighbours.items() if known >= hour - 1}
            seen = self._neighbours.setdefault(hour, {})
            seen[point] = value
            value = median(seen.values())
        row[column] = max(value, row[column]) if role == "failure" and not math.isnan(row[column]) else value

    def features(self, now_s: float) -> Features | None:
        """See `Window`. x: (QUANTITIES, FEATURES of gateway.window.past)."""
        if self.missing(now_s):
            return None
        seen = self._lamps.see(now_s)
        evidence = [reason for reason in self._reasons(seen) if reason.weight >= WORTH_SAYING]
        evidence.sort(key=lambda reason: -reason.weight)
        made = Features(now_s, seen.x[0], evidence, float(seen.rule_score[0]), certain=bool(seen.certain[0]))
        return self._judged(made, {})

    def missing(self, now_s: float) -> str:
        """See `Window`."""
        self._lamps.learn(now_s)
        nights = int(self._lamps.nights[0])
        if not self._lamps.learnt[0]:
            return f"{nights} nuits éclairées sur {NIGHTS_NEEDED} entre le 35e et le 7e jour avant aujourd'hui"
        return "" if self._lamps.knows(now_s) else "aucune lecture du pilote depuis 24 heures"

    def state(self) -> dict[str, Any]:
        """What must outlive a restart: the lamp as it first was."""
        nights, known = self._lamps.restarted[0].tolist()
        return self._lamps.past.state() | {"restarted": None if math.isnan(nights) else [nights, known]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`. Raises ValueError."""
        restarted = state.get("restarted")  # not in states of earlier versions
        try:
            nights, known = (math.nan, math.nan) if restarted is None else map(float, restarted)
        except (TypeError, ValueError):
            raise ValueError(f"restarted: expected nights with a restart and nights known, got {restarted!r}") from None
        if not (math.isnan(nights) or 0 <= nights <= known < math.inf):
            raise ValueError(f"restarted: expected nights with a restart and nights known, got {restarted!r}")
        self._lamps.past.restore({name: values for name, values in state.items() if name != "restarted"})
        self._lamps.restarted[0] = nights, known

    def _judged(self, seen: Features, shares: Mapping[str, float]) -> Features:
        """What was seen, had some points departed by these shares only, with the rule's score of it."""
        if not shares:
            return replace(seen, ease=partial(self._judged, seen))

        def share(*roles: str) -> float:
            return min(shares.get(point, 1.0) for role in roles for point in self._inputs.get(role, ("",)))

        rows = [*(share(one.role) for one in MEASURED), share("starts"), share("failure", "power")]
        evidence = [replace(one, weight=one.weight * shares.get(one.point, 1.0)) for one in seen.evidence]
        x = seen.x.copy()
        x[:, : -len(KNOWN)] *= np.array(rows, np.float32)[:, None]
        score = min(MOST, math.sqrt(sum(one.weight**2 for one in evidence)))
        return Features(seen.time_s, x, evidence, score, certain=seen.certain and rows[-1] >= 1)

    def _reasons(self, seen: Seen) -> Iterator[Reason]:
        """What speaks for a failing lamp; each weight is its share of what would be enough for an alert by itself."""
        if seen.failed[0]:
            yield self._reason("failure", "failure", MOST, "le pilote signale lui-même une panne")
        if seen.dark[0]:
            yield self._reason("power", "dark", MOST, "la lampe ne consomme rien alors qu'elle est commandée allumée")
        for at, quantity in enumerate(MEASURED):
            sudden, slow = (float(np.nan_to_num(weights[0, at])) for weights in (seen.sudden, seen.slow))
            if sudden > 0 and sudden >= slow:
                text, about = _sudden(seen, at)
                yield self._reason(quantity.role, quantity.feature, sudden, text, about)
            elif slow > 0:
                text = _slow(at, abs(float(seen.gone.long[0, at])))
                yield self._reason(quantity.role, f"slow_{quantity.feature}", slow, text)
        if (worn := float(seen.worn[0])) > min(STREET_MOST, float(seen.restarts[0]) / RESTARTS):
            text = (
                f"il a redémarré {seen.again[0, -1]} nuits sur {RESTARTED_D[-1]}, dont {seen.again[0, 0]} cette semaine"
            )
            yield self._reason("starts", "restarted_nights", worn, text)
        elif seen.restarts[0] > 0:
            # A stormy night restarts every lamp: restarts of one night alone are never enough.
            text = f"{seen.restarts[0]:.0f} redémarrages de plus que d'ordinaire en deux jours"
            yield self._reason("starts", "restarts", min(STREET_MOST, float(seen.restarts[0]) / RESTARTS), text)

    def _reason(
        self, role: str, feature: str, weight: float, text: str, seen: tuple[float, float] | None = None
    ) -> Reason:
        """seen: the value and what is usual, in the role's unit."""
        value, usual = seen or (None, None)
        unit = ROLES[role] if seen else ""
        return Reason(self._inputs[role][0], feature, max(0.0, min(MOST, weight)), text, value, usual, unit)


def _slow(at: int, size: float) -> str:
    """A departure from how the lamp first was, over ten nights."""
    match at:
        case 0:
            return f"depuis dix nuits le pilote est {_fr(size, 1)} °C plus chaud qu'au début, à puissance égale"
        case 1:
            return f"depuis dix nuits le facteur de puissance est {_fr(size, 2)} plus bas qu'au début"
        case 2:
            return f"depuis dix nuits le pilote donne {size:.0f} points de courant de moins qu'au début"
    return f"depuis dix nuits la tension des LED a changé de {_fr(size, 1)} V depuis le début, à puissance égale"


def _sudden(seen: Seen, at: int) -> tuple[str, tuple[float, float] | None]:
    """A departure from the recent reference in words; the value and what is usual where both are known."""
    departure, power, celsius, output = (
        float(v[0]) for v in (seen.gone.now[:, at], seen.power_w, seen.celsius, seen.output)
    )
    match at:
        case 0:
            more = f"{departure:.0f} de plus que d'ordinaire à {power:.0f} W et par cet air"
            return f"le pilote est à {celsius:.0f} °C, {more}", (celsius, celsius - departure)
        case 1:
            return f"le facteur de puissance a perdu {_fr(-departure, 2)} à puissance égale", None
        case 2:
            gap = float(seen.sudden[0, at]) * MEASURED[at].enough
            text = f"le pilote donne {gap:.0f} points de courant de moins que demandé : il se protège"
            return text, (output, output + gap)
    volts = f"la tension des LED a changé de {_fr(departure, 1)} V à puissance égale"
    return f"{volts} : LED en court-circuit ou coupée", None


def by_chance(nights: NDArray[np.int64], days: int, before: Floats) -> Floats:
    """(lamps,): the chance of at least so many nights with a restart in so many days, `before` (lamps, 2) being how many
    nights had one and how many are known: a negative binomial, a count whose rate is known from a count. NaN: unknown."""
    shape, known = (before + np.array(RESTARTED_BEFORE)).T
    other = days / (known + days)
    each, fewer = (1 - other) ** shape, np.zeros(len(nights))
    for number in range(days):
        fewer += np.where(number < nights, each, 0.0)
        each = each * other * (shape + number) / (number + 1)
    return np.asarray(np.maximum(1 - fewer, 1e-12))


def _high(power: Floats) -> Floats:
    """(lamps,): nearly the largest of each lamp's values; 0 where there is none."""
    ordered = np.sort(power, 1)
    count = np.isfinite(ordered).sum(1)
    at = np.maximum(0, np.rint(0.99 * (count - 1)).astype(int))
    return np.where(count > 0, np.take_along_axis(ordered, at[:, None], 1)[:, 0], 0.0)


def _above_air(rows: Floats, lit_w: Floats, has_neighbours: bool) -> Floats:
    """(lamps, hours): by how much a driver is warmer than its neighbours; lamps without any, than themselves while unlit in
    the 24 hours before. Never the one for the other: what is usual was learnt with one of them."""
    temperature = rows[..., COLUMN["temperature"]]
    if has_neighbours:
        return temperature - rows[..., COLUMN["neighbours"]]
    unlit = (rows[..., COLUMN["power"]] <= lit_w[:, None]) & np.isfinite(temperature)
    none = np.zeros((len(rows), 1))
    sums = np.concatenate([none, np.cumsum(np.where(unlit, temperature, 0.0), 1)], 1)
    counts = np.concatenate([none, np.cumsum(unlit, 1)], 1)
    ends = np.arange(1, rows.shape[1] + 1)
    starts = np.maximum(0, ends - DAY)
    number = counts[:, ends] - counts[:, starts]
    air = (sums[:, ends] - sums[:, starts]) / np.maximum(number, 1)
    return temperature - np.where(number > 0, air, np.nan)


def _telling(power: Floats, lit_w: Floats) -> Flags:
    """(lamps, MEASURED, hours) that tell something: those with light, of the temperature only those at the load that was
    last read before, in which the driver is about as warm as that load makes it."""
    before = np.full(power.shape, np.nan)
    for hours in range(SETTLING, 0, -1):
        earlier = power[:, :-hours]
        before[:, hours:] = np.where(np.isfinite(earlier), earlier, before[:, hours:])
    telling = np.repeat((power > lit_w[:, None])[:, None], len(MEASURED), 1)
    telling[:, TEMPERATURE] &= np.abs(power - before) < 0.15 * power
    return telling


def _rises(counter: Floats) -> Floats:
    """By how much counters (lamps, hours) rose in each hour since they were last known; a reset, or a jump no counter makes,
    is 0."""
    known = np.isfinite(counter)
    at = np.maximum.accumulate(np.where(known, np.arange(counter.shape[1]), -1), 1)
    before = np.concatenate([np.full((len(counter), 1), -1), at[:, :-1]], 1)
    last = np.where(before >= 0, np.take_along_axis(counter, np.maximum(before, 0), 1), np.nan)
    steps = np.where(known, counter, np.nan) - last
    return np.where((steps >= 0) & (steps < 1000), steps, 0.0)


def _is_dark(level: Floats, power: Floats, lit_w: Floats) -> Flags:
    """(lamps,): did it take nothing in the last two hours in which it was to give light? Two, because within the hour of
    switching on its power may have been read before."""
    before = np.concatenate([np.full((len(level), 1), np.nan), level[:, :-1]], 1)
    ordered = (level >= 5) & (before >= 5) & np.isfinite(power)
    last = ordered & (np.cumsum(ordered[:, ::-1], 1)[:, ::-1] <= 2)
    return np.asarray(last.sum(1) == 2) & ~(last & (power >= lit_w[:, None])).any(1)


def _latest(values: Floats) -> Floats:
    """(lamps,): the last known value, 0 where there is none."""
    return np.nan_to_num(last_known(values, 1, 1))


def _fr(value: float, digits: int) -> str:
    """As French people write it."""
    return f"{value:.{digits}f}".replace(".", ",")
