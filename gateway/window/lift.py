"""The window of a lift: do its door and drive move as they used to?

A door that wears (rollers, track) closes slower *and* draws more current. One alone is not wear for the rule: slow and weak
is the gentle closing after an obstruction, strong and fast a new setting. So the rule multiplies the two; a network sees
each, and how busy the door was. Controllers show the last movement between movements, so that slow polling sees wear;
medians over some hours pass over what is caught in the middle of one. Everything is measured against the lift's own past
(`gateway.window.past`), in shares of what is usual.

Roles: door_current and door_speed (mean speed of the last closing) are needed. door_state (0 open, 1 closed, 2 opening,
3 closing) tells a door that stays open; door_error (code of the controller) what it says of itself. Where a drive is read
too: drive_current (of a run), vibration (RMS), levelling (distance from the landing), brake_time (until it is released).
`Lifts` judges any number at once; `LiftWindow` is one, for a watch. Lifts are only ever observed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.alert import Reason
from gateway.summary import Aggregate
from gateway.unit import convert
from gateway.window import Features, Inputs
from gateway.window.past import CLIP, DAYS, FEATURES, KNOWN, RECENT_D, Departures, Past, Quantity, known_mean

SLICE_S = 900.0
DAY = 96
"""Slices of a day."""

SLICES = DAYS * DAY
"""How far back the window sees."""

NOW = 12
"""Slices (three hours) whose median is the lift's present state."""

LEAST_NOW = 4
DAYS_NEEDED = 14
MEASURED = (
    Quantity("slowdown", "door_speed", 0.105, 0.005, side=-1),
    Quantity("current_rise", "door_current", 0.077, 0.005),
    Quantity("drive_current_rise", "drive_current", 0.077, 0.005),
    Quantity("vibration_rise", "vibration", 0.405, 0.02),
    Quantity("levelling_error", "levelling", 3.0, 0.3),
    Quantity("brake_delay", "brake_time", 0.18, 0.01),
)
"""Departures in natural logarithms (0.105 is 10 % slower), of levelling in mm."""

SPEED, CURRENT, LEVELLING = 0, 1, 4
QUANTITIES = (*(one.feature for one in MEASURED), "busy", "reported")
"""The rows of the network's input: what is compared with the past, how often the door met somebody, what it says itself."""

CERTAIN = 1.5
"""The rule's score of a sudden change from which nothing else need be asked."""

MOST = 3.0
WORTH_SAYING = 0.05
FAULTS = {2: "blocage", 4: "codeur", 5: "surchauffe"}
"""Error codes that are the door's own trouble; barrier (1) and kinetic energy (3) are somebody in the way."""

ROLES = {
    "door_current": "mA", "door_speed": "mm/s", "door_state": "1", "door_error": "1", "drive_current": "A",
    "vibration": "g", "levelling": "mm", "brake_time": "s",
}  # fmt: skip
"""Roles with their units."""

DRIVE = ("drive_current", "vibration", "levelling", "brake_time")
"""Those of the drive. Where none is read, what a door does by chance must not be taken for wear."""

COLUMN = {role: index for index, role in enumerate(ROLES)}
"""Where a role stands in a row of the window."""

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Seen:
    """Lifts at one instant; (lifts, ...), NaN where not known. sudden, slow: bad departures of MEASURED from the recent and
    from the first reference, as shares of what is enough; fault: code of the controller's own trouble, 0 for none."""

    x: NDArray[np.float32]
    judged: Flags
    gone: Departures
    sudden: Floats
    slow: Floats
    stays_open: Flags
    fault: Floats

    @property
    def certain(self) -> Flags:
        """(lifts,): needs no network: a network learns decay of weeks, the rule sees what came within hours."""
        return self.stays_open | (self.fault > 0) | (_rule(self.sudden, np.zeros_like(self.slow)) >= CERTAIN)

    @property
    def rule_score(self) -> Floats:
        """(lifts,): above 1 the rule would alert."""
        return np.where(self.stays_open | (self.fault > 0), MOST, np.minimum(MOST, _rule(self.sudden, self.slow)))


def _rule(sudden: Floats, slow: Floats) -> Floats:
    """Wear of the door needs both, in the same reference; the others speak for themselves."""
    parts = []
    for weights in (np.maximum(0.0, np.nan_to_num(sudden)), np.maximum(0.0, np.nan_to_num(slow))):
        parts += [np.sqrt(weights[:, SPEED] * weights[:, CURRENT]), weights[:, CURRENT + 1 :].max(1)]
    return np.asarray(np.max(parts, 0))


class Lifts:
    """The past of some lifts."""

    def __init__(self, count: int) -> None:
        self.past = Past(MEASURED, count)
        self.days = np.zeros(count, int)
        self._rows: Floats = np.full((count, SLICES, len(ROLES)), np.nan)
        self._last_slice, self._day = 0, -1
        self._busy = np.zeros(count)

    def row(self, number: int) -> Floats:
        """(lifts, ROLES): what is known of a slice since 1970, to be filled; slices that are too old give one to forget."""
        if number <= self._last_slice - SLICES:
            return np.full(self._rows[:, 0].shape, np.nan)
        if number > self._last_slice:
            fresh = np.arange(max(self._last_slice + 1, number - SLICES + 1), number + 1)
            self._rows[:, fresh % SLICES] = np.nan
            self._last_slice = number
        return self._rows[:, number % SLICES]

    def see(self, now_s: float) -> Seen:
        """Judges the slices before now_s."""
        self.learn(now_s)
        rows = self._before(now_s, DAY)
        recent = rows[:, -NOW:]
        gone = self.past.departures(np.zeros(recent.shape[:2]), _measured(recent), NOW, LEAST_NOW)
        state, error = rows[..., COLUMN["door_state"]], rows[..., COLUMN["door_error"]]
        stays_open = (state[:, -4:] == 0).all(1)
        last = error[:, -2:]
        fault = np.where((last[:, 0] == last[:, 1]) & np.isin(last[:, 0], list(FAULTS)), last[:, 0], 0.0)
        # A drive that stood still shows one and the same run for hours: what varies from run to run must vary more.
        sudden = self.past.bad(gone.now) / np.maximum(self.past.enough, 5 * np.nan_to_num(self.past.recent.spread))
        slow = self.past.bad(gone.long) / np.maximum(self.past.enough, 5 * np.nan_to_num(self.past.first.daily))
        busy = _busy(rows)
        more = [np.nan_to_num(known_mean(busy[:, -count:])) - self._busy for count in (NOW, DAY)]
        x = np.zeros((len(rows), len(QUANTITIES), len(FEATURES)), np.float32)
        x[:, : len(MEASURED)] = self.past.features(gone)
        x[:, -2, 1], x[:, -2, 3] = np.clip(4 * more[0], -CLIP, CLIP), np.clip(8 * more[1], -CLIP, CLIP)
        x[:, -1, 1] = np.where(stays_open | (fault > 0), CLIP, 0.0)
        judged = (self.days >= DAYS_NEEDED) & self.fresh(now_s)
        return Seen(x, judged, gone, sudden, slow, stays_open, fault)

    def learn(self, now_s: float) -> None:
        """What is usual: anew every day at midnight UTC, and until there is enough."""
        day = int(now_s // (DAY * SLICE_S))
        if self._day == day and (self.days >= DAYS_NEEDED).any():
            return
        self._day = day
        rows = self._before(day * DAY * SLICE_S)
        learnt = rows[:, : -RECENT_D * DAY]
        known = np.isfinite(learnt[..., :2]).all(2)
        self.days = (known.reshape(len(rows), -1, DAY).sum(2) >= LEAST_NOW).sum(1)
        self._busy = np.nan_to_num(known_mean(_busy(learnt)))
        if (self.days >= DAYS_NEEDED).any():
            self.past.renew(np.zeros(rows.shape[:2]), _measured(rows), DAY)

    def fresh(self, now_s: float) -> Flags:
        """(lifts,): whether enough was read of the door in the last three hours."""
        return np.asarray((np.isfinite(self._before(now_s, NOW)[..., :2]).sum(1) >= LEAST_NOW).all(1))

    def _before(self, now_s: float, count: int = SLICES) -> Floats:
        """(lifts, count, ROLES): the slices before now_s, oldest first."""
        numbers = np.arange(int(now_s // SLICE_S) - count, int(now_s // SLICE_S))
        kept = (numbers <= self._last_slice) & (numbers > self._last_slice - SLICES)
        rows = self._rows[:, numbers % SLICES]
        rows[:, ~kept] = np.nan
        return rows


class LiftWindow:
    """See the module. Raises ValueError for roles that it does not know or that are missing."""

    step_s = 3_600.0
    steps = len(QUANTITIES)
    channels: Sequence[str] = FEATURES

    def __init__(self, inputs: Inputs) -> None:
        if unknown := sorted(set(inputs) - set(ROLES)):
            raise ValueError(f"role {unknown[0]!r}: unknown; expected one of {', '.join(ROLES)}")
        for role in ROLES:
            count = len(inputs.get(role, ()))
            if count > 1 or (not count and role in ("door_current", "door_speed")):
                raise ValueError(f"role {role!r}: expected one point, got {count}")
        self._inputs = inputs
        self._role = {point: role for role, points in inputs.items() for point in points}
        self._lifts = Lifts(1)
        self.narrow = not any(inputs.get(role) for role in DRIVE)
        """Only the door is read."""

    def add(self, point: str, start_s: float, period_s: float, aggregate: Aggregate, unit: str) -> None:
        """See `Window`."""
        role = self._role[point]
        # A door held open all the time shows 0 at its highest; a fault shows at any time.
        value = aggregate.max if role in ("door_state", "door_error") else aggregate.mean
        converted = convert(0.0 if value is None else value, unit, ROLES[role])
        if value is not None:
            self._lifts.row(int((start_s + period_s / 2) // SLICE_S))[0, COLUMN[role]] = converted

    def features(self, now_s: float) -> Features | None:
        """See `Window`. x: (QUANTITIES, FEATURES of gateway.window.past)."""
        if self.missing(now_s):
            return None
        seen = self._lifts.see(now_s)
        evidence = [reason for reason in self._reasons(seen) if reason.weight >= WORTH_SAYING]
        evidence.sort(key=lambda reason: -reason.weight)
        made = Features(
            now_s,
            seen.x[0],
            evidence,
            float(seen.rule_score[0]),
            certain=bool(seen.certain[0]),
            narrow=self.narrow,
        )
        return replace(made, ease=partial(self._eased, made, seen))

    def missing(self, now_s: float) -> str:
        """See `Window`."""
        self._lifts.learn(now_s)
        days = int(self._lifts.days[0])
        if days < DAYS_NEEDED:
            return f"{days} jours sur {DAYS_NEEDED} entre le 35e et le 7e jour avant aujourd'hui"
        return "" if self._lifts.fresh(now_s)[0] else "pas assez de mesures de la porte depuis trois heures"

    def state(self) -> dict[str, Any]:
        """What must outlive a restart: the lift as it first was."""
        return self._lifts.past.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`. Raises ValueError."""
        self._lifts.past.restore(state)

    def _eased(self, made: Features, seen: Seen, shares: Mapping[str, float]) -> Features:
        """What was seen, had some points departed by these shares only, with the rule's score of it."""

        def share(*roles: str) -> float:
            return min(shares.get(point, 1.0) for role in roles for point in self._inputs.get(role, ("",)))

        rows = np.array([*(share(one.role) for one in MEASURED), 1.0, share("door_state", "door_error")])
        evidence = [replace(one, weight=one.weight * shares.get(one.point, 1.0)) for one in made.evidence]
        x = made.x.copy()
        x[:, : -len(KNOWN)] *= rows.astype(np.float32)[:, None]
        by_role = rows[: len(MEASURED)]
        wear = float(_rule(seen.sudden * by_role, seen.slow * by_role)[0])
        hard = [one.weight for one in evidence if one.feature in ("stays_open", "fault")]
        hard = hard if rows[-1] >= 1 else []
        sudden = float(_rule(seen.sudden * by_role, np.zeros_like(seen.slow))[0])
        certain = bool(hard) or sudden >= CERTAIN
        score = min(MOST, max([wear, *hard]))
        return Features(made.time_s, x, evidence, score, certain=certain, narrow=made.narrow)

    def _reasons(self, seen: Seen) -> Iterator[Reason]:
        for at, quantity in enumerate(MEASURED):
            weight, slow = _strongest(seen, at)
            if weight <= 0:
                continue
            usual = self._lifts.past.first if slow else self._lifts.past.recent
            departure = float((seen.gone.long if slow else seen.gone.now)[0, at])
            text, value, was = _told(at, float(usual.at_zero[0, at]), departure)
            if slow:
                text = "depuis dix jours, " + text.replace("que d'ordinaire", "qu'au début")
            point = self._inputs[quantity.role][0]
            feature = f"slow_{quantity.feature}" if slow else quantity.feature
            yield Reason(point, feature, min(MOST, weight), text, value, was, ROLES[quantity.role])
        if seen.stays_open[0]:
            yield Reason(self._inputs["door_state"][0], "stays_open", MOST, "la porte reste ouverte depuis une heure")
        if name := FAULTS.get(int(seen.fault[0])):
            yield Reason(self._inputs["door_error"][0], "fault", MOST, f"la commande de porte signale : {name}")


def _strongest(seen: Seen, at: int) -> tuple[float, bool]:
    """The weight of a quantity, and whether it is that of slow decay."""
    sudden, slow = (float(np.nan_to_num(weights[0, at])) for weights in (seen.sudden, seen.slow))
    return max(sudden, slow), slow > sudden


def _told(at: int, usual: float, departure: float) -> tuple[str, float, float]:
    """A departure in words, what was seen and what is usual."""
    if at == LEVELLING:
        value = usual + departure
        return (
            f"la cabine s'arrête à {_fr(value, 1)} mm du palier, {_fr(departure, 1)} de plus que d'ordinaire",
            value,
            usual,
        )
    was, value = math.exp(usual), math.exp(usual + departure)
    percent = f"{abs(100 * math.expm1(departure)):.0f} %"
    match MEASURED[at].role:
        case "door_speed":
            text = f"la porte se ferme à {value:.0f} mm/s, {percent} moins vite que d'ordinaire"
        case "door_current":
            text = f"son moteur prend {value:.0f} mA, {percent} de plus que d'ordinaire"
        case "drive_current":
            text = f"la traction prend {_fr(value, 1)} A, {percent} de plus que d'ordinaire"
        case "vibration":
            text = f"la vibration est à {_fr(value, 3)} g, {percent} de plus que d'ordinaire"
        case _:
            text = f"le frein met {_fr(value, 2)} s à se desserrer, {percent} de plus que d'ordinaire"
    return text, value, was


def _measured(rows: Floats) -> Floats:
    """(lifts, MEASURED, slices), not yet held against the past."""
    out = []
    for at, quantity in enumerate(MEASURED):
        values = rows[..., COLUMN[quantity.role]]
        out.append(np.abs(values) if at == LEVELLING else np.log(np.where(values > 0, values, np.nan)))
    return np.stack(out, 1)


def _busy(rows: Floats) -> Floats:
    """(lifts, slices): 1 where the door stood open or met somebody, NaN where not known."""
    state, error = rows[..., COLUMN["door_state"]], rows[..., COLUMN["door_error"]]
    return np.where(np.isfinite(state), (state == 0) | np.isin(error, (1, 3)), np.nan)


def _fr(value: float, digits: int) -> str:
    """As French people write it."""
    return f"{value:.{digits}f}".replace(".", ",")
