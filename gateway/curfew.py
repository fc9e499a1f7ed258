"""When the law says that a light is off: the decree of 27 December 2018 on light pollution, by category.

Arrêté du 27 décembre 2018 relatif à la prévention, à la réduction et à la limitation des nuisances lumineuses (JO of 28
December 2018), article 1 for the categories a to g, article 2 for their hours, as lawyers and the trade have published
them; the text itself was not at hand, but for its amendment of 29 May 2019 (NOR TREP1915954A), which gives façades their
hour. Of works (g) no source says when they may be lit again: as other activities, the careful way. Times are local;
`activity` is what happens there (opening hours of a shop, a park, a car park). The street lighting of public roads has no
hour in it; what a mayor or prefect adds or lifts goes by a derogation with its id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from pydantic import Field, model_validator

from gateway.point import Closed
from gateway.sun import Place

DECREE = "arrêté du 27 décembre 2018"
TIME = r"^([01]\d|2[0-3]):[0-5]\d$"
Category = Literal[
    "a", "a/clos", "b/patrimoine", "b/parc", "c", "d/facade", "d/vitrine", "d/interieur", "e", "f", "g",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """Off from, on again from. after_h: so many hours after the activity ends; at: a local time; both: the later of them.
    again: "morning" is 7:00 or, if it begins earlier, an hour before the activity; "dusk" is the next sunset. presence: it
    may be lit when somebody is detected. by_day: it may be lit between sunrise and sunset, as on a dark afternoon."""

    what: str
    after_h: float | None
    at: str
    again: Literal["morning", "dusk"]
    presence: bool
    clause: str
    by_day: bool = True


RULES: dict[Category, Rule | None] = {
    "a": None,  # roads and paths open to the public
    "a/clos": Rule("espace clos d'une activité", 1, "", "morning", True, "art. 2, catégorie a"),
    "b/patrimoine": Rule("mise en lumière du patrimoine", None, "01:00", "dusk", False, "art. 2, catégorie b", False),
    "b/parc": Rule("parc ou jardin", 1, "", "dusk", False, "art. 2, catégorie b", False),
    "c": None,  # sports grounds: no hour
    "d/facade": Rule("façade non résidentielle", None, "01:00", "dusk", False, "art. 2 III, catégorie d", False),
    "d/vitrine": Rule("vitrine", 1, "01:00", "morning", True, "art. 2, catégorie d"),
    "d/interieur": Rule("intérieur de locaux professionnels", 1, "", "morning", True, "art. 2, catégorie d"),
    "e": Rule("parc de stationnement d'une activité", 2, "", "morning", True, "art. 2, catégorie e", False),
    "f": None,  # events: no hour
    "g": Rule("chantier", 1, "", "morning", False, "art. 2, catégorie g"),
}


class Derogation(Closed):
    """A mayor's or prefect's order that lifts the curfew for nights, by the days on which they begin, both included."""

    id: str = Field(min_length=3, max_length=80)
    first: date = Field(alias="from")
    last: date = Field(alias="to")

    @model_validator(mode="after")
    def _ordered(self) -> Derogation:
        if self.last < self.first:
            raise ValueError(f"to: expected {self.first} or later, got {self.last}")
        return self

    def covers(self, night: date) -> bool:
        """Whether it lifts the curfew of the night that begins on that day."""
        return self.first <= night <= self.last


@dataclass(frozen=True, slots=True)
class Dark:
    """From `start_s` to `end_s` (UTC seconds) it must be off. because: the legal reference; lifted: a derogation's id."""

    start_s: float
    end_s: float
    because: str
    lifted: str = ""


class Curfew:
    """The curfew of one installation. activity: (begin, end), local, needed where the hours hang on it."""

    def __init__(
        self, category: Category, activity: tuple[str, str] | None, derogations: Sequence[Derogation], place: Place
    ) -> None:
        self.rule = RULES[category]
        self._activity, self._derogations, self._place = activity, derogations, place
        if self.rule is not None and self.rule.after_h is not None and activity is None:
            raise ValueError(f"activity: missing; the hours of category {category!r} hang on when the activity ends")
        self.because = f"{DECREE}, {self.rule.clause}" if self.rule is not None else ""

    def at(self, time_s: float) -> Dark | None:
        """The curfew that a time lies in, lifted or not; None when there is none."""
        if self.rule is None:
            return None
        today = self._place.local(time_s).date()
        by_day = self._by_day(today, time_s)
        for day in (today - timedelta(days=1), today, today - timedelta(days=2)):
            if (dark := self.night(day)) is not None and dark.start_s <= time_s < dark.end_s:
                # What an order lifts for a night ends with it: the day after is another.
                return by_day if dark.lifted and by_day is not None and not by_day.lifted else dark
        return by_day

    def _by_day(self, day: date, time_s: float) -> Dark | None:
        assert self.rule is not None
        if self.rule.by_day:
            return None
        dawn_s, dusk_s = self._place.sun_s(day)
        return Dark(dawn_s, dusk_s, self.because, self._lifted(day)) if dawn_s <= time_s < dusk_s else None

    def night(self, day: date) -> Dark | None:
        """The curfew of the night that begins on a day."""
        if self.rule is None:
            return None
        start_s, end_s = self._off_s(day), self._on_s(day)
        if end_s <= start_s:
            return None
        return Dark(start_s, end_s, self.because, self._lifted(day))

    def edges_s(self, time_s: float) -> list[float]:
        """Begins and ends of curfews around a time."""
        today = self._place.local(time_s).date()
        found = [self.night(today + timedelta(days=shift)) for shift in (-2, -1, 0, 1)]
        edges = [edge for dark in found if dark is not None for edge in (dark.start_s, dark.end_s)]
        if self.rule is not None and not self.rule.by_day:
            edges += [edge for shift in (0, 1) for edge in self._place.sun_s(today + timedelta(days=shift))]
        return edges

    def _lifted(self, day: date) -> str:
        return next((one.id for one in self._derogations if one.covers(day)), "")

    def _off_s(self, day: date) -> float:
        assert self.rule is not None
        times = []
        if self.rule.at:
            times.append(self._place.instant_s(day + timedelta(days=1), self.rule.at))
        if self.rule.after_h is not None:
            assert self._activity is not None
            begin, end = self._activity
            ends_on = day if end > begin else day + timedelta(days=1)
            times.append(self._place.instant_s(ends_on, end) + self.rule.after_h * 3600.0)
        return max(times)

    def _on_s(self, day: date) -> float:
        assert self.rule is not None
        morning = day + timedelta(days=1)
        if self.rule.again == "dusk":
            return self._place.instant_s(morning, "dusk")
        seven_s = self._place.instant_s(morning, "07:00")
        if self._activity is None:
            return seven_s
        return min(seven_s, self._place.instant_s(morning, self._activity[0]) - 3600.0)
