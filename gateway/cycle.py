"""A decision cycle: on one frozen picture of the inputs, what every point is to be, who wants it so, and why. Pure.

Rules first, the earlier above the later; then what a remote command holds; then the street of a lamp. What was wanted by a
rule and is wanted by nobody any more is let go, and returns to its fail-safe value (`permit`). The same cycle serves the
live gateway, `guet rules try` and the benches; what differs is who makes the picture and who carries out what it says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.alert import Alert
from gateway.condition import Picture
from gateway.outage import Outages
from gateway.permit import Hold, Ledger, Origin
from gateway.reading import split_point
from gateway.rulebook import Rulebook, RuleState
from gateway.saving import Savings
from gateway.site import Site
from gateway.street import Street, beside


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a point is to be."""

    value: float
    origin: Origin
    reason: str


@dataclass(slots=True)
class Decision:
    """One decision. wanted: by point; let_go: points that a rule held and nobody wants any more; alerts: raised and cleared;
    rules: how each stands."""

    wanted: dict[str, Wanted] = field(default_factory=dict)
    let_go: list[str] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    rules: dict[str, RuleState] = field(default_factory=dict)


class Cycle:
    """See the module. Ask in order of time."""

    def __init__(self, site: Site) -> None:
        self.rulebook = Rulebook(site.rules, {permit.point: permit for permit in site.permits}, site.place)
        self.streets = [
            Street(
                entry,
                site.place,
                {lamp: site.point(lamp).unit for lamp in entry.lamps},
                site.point(beside(entry.lamps[0], entry.constant_output.hours)).unit if entry.constant_output else "h",
            )
            for entry in site.lighting.values()
        ]
        self.savings = [Savings(street, site.place) for street in self.streets]
        self._outages = [Outages(street, site.place, _periods(site, street)) for street in self.streets]
        self._wanted: dict[str, tuple[dict[str, float], str, dict[str, Wanted]]] = {}
        self._street_of = {lamp: street for street in self.streets for lamp in street.entry.lamps}

    def decide(self, picture: Picture, holds: Mapping[str, Hold]) -> Decision:
        """What is wanted now. holds: who holds what, from the ledger."""
        ruling = self.rulebook.decide(picture)
        decision = Decision(alerts=ruling.alerts, rules=ruling.states)
        for point, claim in ruling.claims.items():
            decision.wanted[point] = Wanted(self._lawful(point, claim.value, picture), Origin.RULE, claim.reason)
        remote = {point for point, hold in holds.items() if hold.origin is Origin.REMOTE}
        for street in self.streets:
            street.decide(picture)
            wanted = self._lit(street, picture)
            taken = [lamp for lamp in (*decision.wanted, *remote) if lamp in wanted]
            decision.wanted = {**wanted, **decision.wanted}
            for lamp in taken:
                if decision.wanted[lamp].origin is Origin.LIGHTING:
                    del decision.wanted[lamp]
        decision.let_go = [
            point
            for point, hold in holds.items()
            if hold.origin is Origin.RULE
            and (point not in decision.wanted or decision.wanted[point].origin is not Origin.RULE)
        ]
        for street, outages, savings in zip(self.streets, self._outages, self.savings, strict=True):
            lamps = self._wanted[street.entry.name][2]
            overruled = {lamp for lamp in (*ruling.claims, *remote) if lamp in lamps}
            decision.alerts += outages.judge(picture, overruled)
            savings.count(picture)
        return decision

    def _lit(self, street: Street, picture: Picture) -> dict[str, Wanted]:
        """What a street wants of its lamps; the same object as long as it is the same."""
        name, values, why = street.entry.name, street.values(picture), street.light.why
        before = self._wanted.get(name)
        if before is None or before[0] is not values or before[1] != why:
            one = {value: Wanted(value, Origin.LIGHTING, why) for value in set(values.values())}
            self._wanted[name] = values, why, {lamp: one[value] for lamp, value in values.items()}
        return self._wanted[name][2]

    def _lawful(self, point: str, value: float, picture: Picture) -> float:
        """A rule's value for a lamp, within what the law leaves."""
        most = self.ceiling(point, picture.time_s)
        return value if most is None else min(value, most[0])

    def ceiling(self, point: str, time_s: float) -> tuple[float, str] | None:
        """The most that a lamp may be told now, in its unit, and the law that says so; None where it says nothing."""
        street = self._street_of.get(point)
        if street is None:
            return None
        percent, because = street.ceiling(time_s)
        return (street.told(point, percent), because) if because else None

    def wakes_s(self, time_s: float) -> float:
        """When something may change after `time_s` though no input does: UTC seconds, inf for never."""
        return min([self.rulebook.wakes_s(time_s), *(street.wakes_s(time_s) for street in self.streets)])

    def moved(self, by_s: float) -> None:
        """The clock was set: it now says `by_s` more than it did."""
        self.rulebook.moved(by_s)
        for street, outages in zip(self.streets, self._outages, strict=True):
            street.moved(by_s)
            outages.moved(by_s)

    def state(self) -> dict[str, Any]:
        """What must outlive a power cut."""
        return self.rulebook.state()

    def restore(self, state: Mapping[str, Any], open_alerts: Iterable[Alert] = ()) -> None:
        """The inverse of `state`; open_alerts: all that last, of whomever."""
        self.rulebook.restore(state)
        for alert in open_alerts:
            for outages in self._outages:
                outages.restore(alert)


def _periods(site: Site, street: Street) -> dict[str, float]:
    """How often the points that a street looks at are read, in seconds."""
    periods = {}
    for point in street.entry.inputs():
        device = site.devices[split_point(point)[0]]
        periods[point] = device.period_s(site.point(point))
    return periods


def ledger_of(site: Site, cycle: Cycle) -> Ledger:
    """A new ledger with the permits of a site, bounded by what the law leaves."""
    return Ledger(site.permits, site.setups, site.place, cycle.ceiling)
