"""Whether rules can do what they say: faults of a rulebook that no single key shows.

Found before anything starts: a rule that can never fire (its conditions exclude each other, or what a point can give, or are
forbidden by its own `unless` or by the permits of what it sets); one that can never end; one that earlier rules always
overrule, alone or together; one that undoes what it waits for. Hours are compared over every day of a year (`hours`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from gateway.condition import ConditionEntry
from gateway.contradiction import reach
from gateway.hours import hours_of, joined, together, without, year
from gateway.permit import Origin, Permit
from gateway.plain import condition_text
from gateway.point import AnyPoint
from gateway.rulebook import RuleEntry, Setting
from gateway.sun import Place

Points = Mapping[str, AnyPoint]
FEW = 256
"""Of a point that can give no more values than this, each is looked at."""


def rule_faults(
    rules: Sequence[RuleEntry], points: Points, permits: Mapping[str, Permit], place: Place
) -> Iterator[str]:
    """What is wrong with rules whose points and watches are known. points: by name, those that they name."""
    for index, rule in enumerate(rules):
        where = f"rule {rule.name!r}"
        why = _never(rule, points, place)
        if why:
            yield f"{where}: can never fire: {why}"
            continue
        yield from (f"{where}.set: {fault}" for fault in _interlocked(rule, points, permits, place))
        yield from (f"{where}: {fault}" for fault in _endless(rule, points))
        yield from (f"{where}: {fault}" for fault in _undone(rule))
        yield from (f"{where}: {fault}" for fault in _overruled(rule, rules[:index], points, place))


def unpermitted(settings: Sequence[Setting], permits: Mapping[str, Permit]) -> Iterator[str]:
    """What of known points a rule may not set, or not to that value."""
    for setting in settings:
        permit = permits.get(setting.point)
        if permit is None or Origin.RULE not in permit.by:
            yield f'{setting.point!r}: no [[permit]] allows a rule to write it; add one with by = ["rule"]'
            continue
        for name, value in (("value", setting.value), ("lost", setting.lost)):
            if value is not None and not permit.low <= value <= permit.high:
                yield f"{name}: expected {permit.low:g} to {permit.high:g}, as the [[permit]] says, got {value:g}"


def _interlocked(rule: RuleEntry, points: Points, permits: Mapping[str, Permit], place: Place) -> Iterator[str]:
    """What it sets and is forbidden to set whenever it fires."""
    for setting in rule.settings:
        permit = permits.get(setting.point)
        if permit is not None and (forbids := _covered(rule.when, permit.unless, points, place)):
            yield f"{setting.point!r}: its [[permit]] forbids it whenever this rule fires ({forbids}); change one of them"


def _never(rule: RuleEntry, points: Points, place: Place) -> str:
    """Why a rule can never fire; empty when it can."""
    for one in rule.when:
        if one.point and (why := out_of_reach(one, points.get(one.point))):
            return why
        if (one.between or one.days) and not hours_of(one, place):
            return f"{condition_text(one, True)}: the hours are shorter than that"
    for one, other in combinations(rule.when, 2):
        if one.point and one.point == other.point and _apart(one, other):
            return f"{condition_text(one, True)}, and {condition_text(other, True)}, exclude each other"
        lost, compared = (one, other) if one.lost else (other, one)
        if lost.lost and lost.lost == compared.point:
            return f"{lost.lost} cannot be lost and be compared at once"
    hours = [one for one in rule.when if one.between or one.days]
    if not together(year(place), *(hours_of(one, place) for one in hours)):
        return "its hours never come together: " + ", ".join(condition_text(one, True) for one in hours)
    lost_points = {one.lost for one in rule.when if one.lost}
    if unknown := next((one for one in rule.unless if one.point in lost_points), None):
        return f"its own unless ({condition_text(unknown, True)}) cannot be known while {unknown.point} is lost"
    if forbids := _covered(rule.when, rule.unless, points, place):
        return f"its own unless ({forbids}) holds whenever {', '.join(condition_text(one, True) for one in rule.when)}"
    return ""


def _endless(rule: RuleEntry, points: Points) -> Iterator[str]:
    """What it waits for and would never be over, once begun."""
    for one in (*rule.when, *rule.unless):
        if one.until is None or (point := points.get(one.point)) is None:
            continue
        least, most = _range(point)
        if (one.above is not None and one.until < least) or (one.below is not None and one.until > most):
            yield (
                f"can never end: {condition_text(one, True)}: the point gives {least:g} to {most:g} {point.unit}; "
                "give an until that it comes to"
            )


def out_of_reach(entry: ConditionEntry, point: AnyPoint | None) -> str:
    """Why no usable value of the point meets the condition."""
    if point is None:
        return ""
    least, most = _range(point)
    low, high = entry.span
    values, step = _values(point), _step(point)
    if values is not None:
        reachable = any(entry.meets(value) for value in values)
    elif entry.equals is None:
        reachable = low < most and least < high
    else:
        reachable = least <= entry.equals <= most
        if step is not None:
            steps = (entry.equals - step[1]) / step[0]
            reachable = reachable and abs(steps - round(steps)) < 1e-6
    if reachable:
        return ""
    every = f" in steps of {abs(step[0]):g}" if step is not None and entry.equals is not None else ""
    return f"{condition_text(entry, True)}: the point gives {least:g} to {most:g} {point.unit}{every}"


def _range(point: AnyPoint) -> tuple[float, float]:
    """The lowest and the highest value of a point."""
    if point.range is not None:
        return point.range
    return (reach(point.form) if point.form is not None else None) or (-math.inf, math.inf)


def _step(point: AnyPoint) -> tuple[float, float] | None:
    """Between the values of a point that gives whole multiples of something: that, and where they begin."""
    form = point.form
    if form is None or form.exponent_at is not None or form.type.startswith("f"):
        return None
    return form.scale, form.offset


def _values(point: AnyPoint) -> list[float] | None:
    """All values of a point that has few; None where there are many."""
    step, (least, most) = _step(point), _range(point)
    if step is None or not (most - least) / abs(step[0]) < FEW:
        return None
    size, start = abs(step[0]), step[1]
    first, last = math.ceil((least - start) / size - 1e-6), math.floor((most - start) / size + 1e-6)
    return [start + number * size for number in range(first, last + 1)]


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


def _covered(
    when: Sequence[ConditionEntry],
    others: Sequence[ConditionEntry],
    points: Points,
    place: Place,
    *,
    lost_counts: bool = True,
) -> str:
    """Those of `others` of which one always holds while all of `when` do, as text, as far as can be told without knowing
    the devices; empty when there are none. lost_counts: one that cannot be known counts as holding."""
    for other in others:
        if any(implies(one, other, place) for one in when):
            return condition_text(other, True)
    if hours := [one for one in others if one.between or one.days]:
        lit = together(year(place), *(hours_of(one, place) for one in when if one.between or one.days))
        if not without(lit, joined(stretch for one in hours for stretch in hours_of(one, place))):
            return "; ".join(condition_text(one, True) for one in hours)
    for name in dict.fromkeys(one.point for one in others if one.point):
        same = [one for one in others if one.point == name and not one.lasting_s]
        known = [one for one in when if one.point == name]
        if (known or lost_counts) and _filled(known, same, points.get(name)):
            return "; ".join(condition_text(one, True) for one in same)
    return ""


def _filled(when: Sequence[ConditionEntry], others: Sequence[ConditionEntry], point: AnyPoint | None) -> bool:
    """Whether every value of a point for which `when` may hold meets one of `others`."""
    if point is not None and (values := _values(point)) is not None:
        possible = [value for value in values if all(_may_hold(one, value) for one in when)]
        return all(any(other.meets(value) for other in others) for value in possible)
    low, high = _range(point) if point is not None else (-math.inf, math.inf)
    low, high = math.nextafter(low, -math.inf), math.nextafter(high, math.inf)
    for one in when:
        first, last = (one.equals, one.equals) if one.equals is not None else _reach(one)
        low, high = max(low, first), min(high, last)
    filled = low
    for first, last in sorted(one.span for one in others if one.equals is None):
        if first > filled or (first == filled > low):  # open ends that meet leave out the value between them
            break
        filled = max(filled, last)
    return filled >= high > low


def _may_hold(entry: ConditionEntry, value: float) -> bool:
    low, high = _reach(entry)
    return entry.meets(value) or (entry.equals is None and low < value < high)


def implies(one: ConditionEntry, other: ConditionEntry, place: Place) -> bool:
    """Whether `other` holds whenever `one` does, as far as can be told without knowing the devices."""
    if (one.between or one.days) and (other.between or other.days):
        return not without(together(year(place), hours_of(one, place)), hours_of(other, place))
    if other.lasting_s > one.lasting_s:
        return False
    if one.point and one.point == other.point:
        (low, high), (low2, high2) = _reach(one), other.span
        if other.equals is not None:
            return one.equals == other.equals
        return low2 < low and high < high2 if one.equals is not None else low2 <= low and high <= high2
    if one.verdict and one.verdict == other.verdict:
        return one.state == "alert" or other.state == "suspect"
    return bool(one.lost) and one.lost == other.lost


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


def _overruled(rule: RuleEntry, before: Sequence[RuleEntry], points: Points, place: Place) -> Iterator[str]:
    """What earlier rules always have set, one of them alone or some together, whenever this one fires."""
    for setting in rule.settings:
        maybe: list[tuple[RuleEntry, ConditionEntry]] = []
        for earlier in before:
            held = next((one.value for one in earlier.settings if one.point == setting.point), None)
            if held is None or _never(earlier, points, place):
                continue
            if not all(any(implies(blocked, own, place) for own in rule.unless) for blocked in earlier.unless):
                continue
            more = [
                wanted for wanted in earlier.when if not _covered(rule.when, [wanted], points, place, lost_counts=False)
            ]
            if not more:
                yield (
                    f"{'contradicts' if held != setting.value else 'repeats'} the earlier rule {earlier.name!r}: whenever "
                    f"this one fires that one has set {setting.point} to {held:g} already; put this one first, or change "
                    "one of them"
                )
                break
            if len(more) == 1:
                maybe.append((earlier, more[0]))
        else:
            if _covered(rule.when, [one for _, one in maybe], points, place, lost_counts=False):
                names = " and ".join(repr(earlier.name) for earlier, _ in maybe)
                yield (
                    f"contradicts the earlier rules {names} together: whenever this one fires one of them has set "
                    f"{setting.point} already; put this one first, or change one of them"
                )
