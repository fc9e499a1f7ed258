"""Whether rules can do what they say: faults of a rulebook that no single key shows.

Found before anything starts: a rule that can never fire (its conditions exclude each other, or what a point can give, or are
forbidden by its own `unless`); one that an earlier rule always overrules; one that undoes what it waits for. Hours are
compared over every day of a year, because sunset moves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from itertools import combinations

from gateway.condition import ConditionEntry, in_window, window_s
from gateway.permit import Origin, Permit
from gateway.plain import condition_text
from gateway.point import AnyPoint, ModbusPoint
from gateway.rulebook import RuleEntry
from gateway.sun import Place

_YEAR = [date(2028, 1, 1) + timedelta(days=day) for day in range(366)]
"""A leap year: every date there is."""


def rule_faults(
    rules: Sequence[RuleEntry], points: Mapping[str, AnyPoint], permits: Mapping[str, Permit], place: Place
) -> Iterator[str]:
    """What is wrong with rules whose points and watches are known. points: by name, those that they name."""
    for index, rule in enumerate(rules):
        where = f"rule {rule.name!r}"
        yield from (f"{where}.set: {fault}" for fault in _unpermitted(rule, permits))
        why = _never(rule, points, place)
        if why:
            yield f"{where}: can never fire: {why}"
            continue
        yield from (f"{where}: {fault}" for fault in _undone(rule))
        for earlier in rules[:index]:
            if not _never(earlier, points, place):
                yield from (f"{where}: {fault}" for fault in _overruled(rule, earlier, place))


def _unpermitted(rule: RuleEntry, permits: Mapping[str, Permit]) -> Iterator[str]:
    for setting in rule.settings:
        permit = permits.get(setting.point)
        if permit is None or Origin.RULE not in permit.by:
            yield f'{setting.point!r}: no [[permit]] allows a rule to write it; add one with by = ["rule"]'
            continue
        for name, value in (("value", setting.value), ("lost", setting.lost)):
            if value is not None and not permit.low <= value <= permit.high:
                yield f"{name}: expected {permit.low:g} to {permit.high:g}, as the [[permit]] says, got {value:g}"


def _never(rule: RuleEntry, points: Mapping[str, AnyPoint], place: Place) -> str:
    """Why a rule can never fire; empty when it can."""
    for one in rule.when:
        if one.point and (why := _out_of_reach(one, points.get(one.point))):
            return why
        if one.lasting_s and (one.between or one.days) and one.lasting_s >= _longest_s(one, place):
            return f"{condition_text(one, True)}: the hours are shorter than that"
    for one, other in combinations(rule.when, 2):
        if one.point and one.point == other.point and _apart(one, other):
            return f"{condition_text(one, True)}, and {condition_text(other, True)}, exclude each other"
        lost, compared = (one, other) if one.lost else (other, one)
        if lost.lost and lost.lost == compared.point:
            return f"{lost.lost} cannot be lost and be compared at once"
    hours = [one for one in rule.when if one.between or one.days]
    if len(hours) > 1 and not _ever_together(hours, place):
        return "its hours never come together: " + ", ".join(condition_text(one, True) for one in hours)
    for forbidding in rule.unless:
        for one in rule.when:
            if implies(one, forbidding, place):
                return f"its own unless ({condition_text(forbidding, True)}) holds whenever {condition_text(one, True)}"
    return ""


def _out_of_reach(entry: ConditionEntry, point: AnyPoint | None) -> str:
    """Why no usable value of the point meets the condition."""
    if point is None:
        return ""
    least, most = _range(point)
    low, high = entry.span
    reachable = low < most and least < high if entry.equals is None else least <= low <= most
    if reachable:
        return ""
    return f"{condition_text(entry, True)}: the point gives {least:g} to {most:g} {point.unit}"


def _range(point: AnyPoint) -> tuple[float, float]:
    if isinstance(point, ModbusPoint) and point.type == "bit":
        return 0.0, 1.0
    mask = getattr(point, "mask", None)
    if mask and point.range is None:
        return 0.0, float(mask // (mask & -mask))
    return point.range or (-math.inf, math.inf)


def _reach(entry: ConditionEntry) -> tuple[float, float]:
    """The values for which it may hold, hysteresis included."""
    low, high = entry.span
    if entry.until is not None:
        return (entry.until, high) if entry.above is not None else (low, entry.until)
    return low, high


def _apart(one: ConditionEntry, other: ConditionEntry) -> bool:
    """Whether two conditions on the same point can never hold together."""
    (low, high), (low2, high2) = _reach(one), _reach(other)
    if one.equals is not None and other.equals is not None:
        return one.equals != other.equals
    if one.equals is not None or other.equals is not None:
        value = one.equals if one.equals is not None else other.equals
        assert value is not None
        lower, upper = (low2, high2) if one.equals is not None else (low, high)
        return not lower < value < upper
    return max(low, low2) >= min(high, high2)


def implies(one: ConditionEntry, other: ConditionEntry, place: Place) -> bool:
    """Whether `other` holds whenever `one` does, as far as can be told without knowing the devices."""
    if other.lasting_s > one.lasting_s:
        return False
    if one.point and one.point == other.point:
        (low, high), (low2, high2) = _reach(one), other.span
        if other.equals is not None:
            return one.equals == other.equals
        return low2 < low and high < high2 if one.equals is not None else low2 <= low and high <= high2
    if one.verdict and one.verdict == other.verdict:
        return one.state == "alert" or other.state == "suspect"
    if one.lost and one.lost == other.lost:
        return True
    if (one.between or one.days) and (other.between or other.days):
        return _within(one, other, place)
    return False


def _within(one: ConditionEntry, other: ConditionEntry, place: Place) -> bool:
    """Whether the hours of `one` all lie in those of `other`."""
    if one.between == other.between and (not other.days or (set(one.days or ()) <= set(other.days) and one.days)):
        return True
    for day in _YEAR:
        if (window := window_s(one, place, day)) is None:
            continue
        around = [window_s(other, place, day + timedelta(days=shift)) for shift in (-1, 0, 1)]
        if not any(outer is not None and outer[0] <= window[0] and window[1] <= outer[1] for outer in around):
            return False
    return True


def _longest_s(entry: ConditionEntry, place: Place) -> float:
    """The longest of its hours, in seconds; inf where one joins the next."""
    if entry.between is None:
        return math.inf if len(entry.days) == 7 else 86_400.0 * max(1, len(entry.days))
    windows = [window for day in _YEAR if (window := window_s(entry, place, day)) is not None]
    return max((end_s - start_s for start_s, end_s in windows), default=0.0)


def _ever_together(hours: Sequence[ConditionEntry], place: Place) -> bool:
    """Whether there is an instant in the year that lies in all of these hours: then one of them begins there."""
    for day in _YEAR:
        for one in hours:
            window = window_s(one, place, day)
            if window is not None and all(in_window(other, place, window[0]) for other in hours):
                return True
    return False


def _undone(rule: RuleEntry) -> Iterator[str]:
    """A rule that, by what it sets, ends what it waits for: it would switch back and forth."""
    for setting in rule.settings:
        for one in rule.when:
            if one.point != setting.point:
                continue
            low, high = _reach(one)
            stays = one.meets(setting.value) or (one.equals is None and low < setting.value < high)
            if not stays:
                yield (
                    f"contradicts itself: it sets {setting.point} to {setting.value:g} and waits for "
                    f"{condition_text(one, True)}; it would switch back and forth"
                )


def _overruled(rule: RuleEntry, earlier: RuleEntry, place: Place) -> Iterator[str]:
    """Where an earlier rule always has what this one wants to set."""
    if not all(any(implies(one, wanted, place) for one in rule.when) for wanted in earlier.when):
        return
    if not all(any(implies(blocked, own, place) for own in rule.unless) for blocked in earlier.unless):
        return
    before = {setting.point: setting.value for setting in earlier.settings}
    for setting in rule.settings:
        if setting.point in before:
            held = before[setting.point]
            what = "contradicts" if held != setting.value else "repeats"
            yield (
                f"{what} the earlier rule {earlier.name!r}: whenever this one fires that one has set {setting.point} to "
                f"{held:g} already; put this one first, or change one of them"
            )
