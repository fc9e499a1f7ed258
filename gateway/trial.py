"""`guet rules`: what a site will do by itself, in plain words, and what it would have done with recorded readings.

A trial goes the live way, in the time of the recording: the same judge, decision cycle and ledger of permits; only the
devices are missing, so each is taken to do what it is told. What the site's store holds of the weeks before the recording
fills the watches first, as it does at a start. A recording may hold one value a period where the site asks more often: none
is lost before two periods.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.alert import Alert, iso
from gateway.app import home, read_site, remembered
from gateway.clock import SystemClock
from gateway.condition import Picture
from gateway.curfew import RULES
from gateway.cycle import Cycle, ledger_of
from gateway.judge import Judge
from gateway.language import say, speaks_english
from gateway.live import Live
from gateway.permit import Origin, Permit
from gateway.plain import condition_text
from gateway.reading import Flaw, Quality, Snapshot
from gateway.replay import Repairs, instants
from gateway.rulebook import RuleEntry, RuleState, Setting
from gateway.site import Site, inputs_of, load_site
from gateway.street import LightingEntry
from gateway.summary import Summary
from gateway.unit import UNITS
from gateway.watch import Watch
from gateway.web.words import KINDS, SEVERITIES

MISSING = Flaw(Quality.BAD, "absent de l'enregistrement")
STEP_S = 60.0
"""The longest that a trial goes without a decision, as the live gateway."""


class _Clock:
    """Time as a recording gives it."""

    trusted = True
    guess = None

    def __init__(self) -> None:
        self.now_s = 0.0

    def now(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody waits in a trial")

    def loop_seconds(self, seconds: float) -> float:
        return seconds


@dataclass(slots=True)
class Tried:
    """What came of a trial, in order of time: what would have been written, refused and returned, and alerts of rules.
    unknown: rules of which nothing could ever be known, for want of an input."""

    deeds: list[dict[str, Any]] = field(default_factory=list)
    alerts: dict[str, Alert] = field(default_factory=dict)
    decisions: int = 0
    unknown: set[str] = field(default_factory=set)


class _Trial:
    """One trial."""

    def __init__(self, site: Site, watches: Sequence[Watch]) -> None:
        self.site, self.clock = site, _Clock()
        self.tried = Tried(unknown={rule.name for rule in site.rules})
        self.judge, self.live = Judge(site, watches), Live(site, self.clock, {})
        self.cycle = Cycle(site)
        self.ledger = ledger_of(site, self.cycle)
        self.again_s = math.inf
        self._inputs = frozenset(inputs_of(site))
        self._refused: dict[str, str] = {}

    def run(self, readings: Path, past: Callable[[float], Iterable[Summary]]) -> None:
        period_s = self.site.period_s
        tick_s = math.nan
        for instant in instants(self.site, readings, Repairs()):
            if math.isnan(tick_s):
                self.clock.now_s = instant.time_s
                tick_s = instant.time_s // period_s * period_s + period_s
                self.judge.remember(past(instant.time_s))
            while (due_s := min(tick_s, self._next_s())) < instant.time_s:
                self.clock.now_s = due_s
                if due_s == tick_s:
                    self.judge.tick(tick_s)
                    tick_s += period_s
                self.decide()
            self.clock.now_s = max(self.clock.now_s, instant.time_s)
            for device, values in instant.values.items():
                flaws = {name: MISSING for name, value in values.items() if value is None}
                snapshot = Snapshot(device, instant.time_s, values, flaws)
                self.live.take(snapshot)
                self.judge.take(snapshot)
            self.decide()

    def _next_s(self) -> float:
        now_s = self.clock.now_s
        return min(now_s + STEP_S, max(now_s + 0.05, min(self.cycle.wakes_s(now_s), self.again_s)))

    def decide(self) -> None:
        now_s = self.clock.now_s
        verdicts = {name: w.verdict.state if w.verdict is not None else None for name, w in self.judge.watches.items()}
        picture = Picture(now_s, self.live.values(self._inputs, 2 * self.site.period_s), verdicts)
        decision = self.cycle.decide(picture, self.ledger.holds)
        self.tried.decisions += 1
        self.tried.alerts |= {alert.id: alert for alert in decision.alerts}
        self.tried.unknown -= {name for name, state in decision.rules.items() if state is not RuleState.LOST}
        for point in decision.let_go:
            self.ledger.let_go(point, now_s)
        for point, value, why in self.ledger.returns(now_s, picture):
            self.ledger.wrote(point, value, Origin.FAIL_SAFE, now_s)
            self._note(point, value, Origin.FAIL_SAFE, f"retour à la valeur sûre : {why}", "")
        self.again_s = math.inf
        for point, wanted in decision.wanted.items():
            hold = self.ledger.holds.get(point)
            if hold is not None and hold.origin is wanted.origin and hold.value == wanted.value:
                self.ledger.renew(point, now_s)
                continue
            refusal = self.ledger.refusal(point, wanted.value, wanted.origin, now_s, picture)
            if refusal is None:
                self.ledger.wrote(point, wanted.value, wanted.origin, now_s)
                self._refused.pop(point, None)
                self._note(point, wanted.value, wanted.origin, wanted.reason, "")
                continue
            if refusal.again_s is not None:
                self.again_s = min(self.again_s, refusal.again_s)
            elif self._refused.get(point) != refusal.why:
                self._refused[point] = refusal.why
                self._note(point, wanted.value, wanted.origin, wanted.reason, refusal.why)

    def _note(self, point: str, value: float, origin: Origin, reason: str, error: str) -> None:
        self.tried.deeds.append(
            {
                "what": "refusal" if error else "action",
                "time": iso(self.clock.now_s),
                "point": point,
                "value": value,
                "origin": origin.value,
                "reason": reason,
                "error": error,
                "dry_run": True,
            }
        )


def tried(
    site: Site,
    watches: Sequence[Watch],
    readings: Path,
    past: Callable[[float], Iterable[Summary]] = lambda before_s: (),
) -> Tried:
    """What a site would have done. past: summaries of the time before, in order. Raises ReadingsError with what is wrong
    with the file."""
    trial = _Trial(site, watches)
    trial.run(readings, past)
    return trial.tried


_WHO = {
    Origin.RULE: ("règle", "rule"),
    Origin.REMOTE: ("commande à distance", "remote command"),
    Origin.LIGHTING: ("éclairage", "lighting"),
}

# -- in words ----------------------------------------------------------------------------------------------------------


def explained(site: Site) -> Iterator[str]:
    """What a site will do by itself, line by line, in the user's language."""
    permits = {permit.point: permit for permit in site.permits}
    if site.dry_run:
        yield say("À BLANC : rien n'est écrit à aucun appareil.", "DRY RUN: nothing is written to any device.")
    if site.rules:
        yield say("Règles, la première l'emporte :", "Rules, the first one has it:")
    for number, rule in enumerate(site.rules, 1):
        yield f"  {number}. {rule.name}"
        yield from (f"     {line}" for line in _rule_lines(site, rule, permits))
        yield from (f"     {line}" for line in _rank_lines(rule, site.rules[: number - 1]))
    for street in site.lighting.values():
        yield say(f"Rue {street.name} :", f"Street {street.name}:")
        yield from (f"  {line}" for line in _street_lines(street))
    shown = [permit for permit in site.permits if permit.by != frozenset({Origin.LIGHTING})]
    if shown:
        yield say("Ce qui peut être écrit, et par qui :", "What may be written, and by whom:")
        yield from (f"  {_permit_line(site, permit)}" for permit in shown)
    if site.command_key is not None:
        yield say(
            "Commandes à distance : signées par la plateforme, une seule fois, jamais au-dessus d'une règle du site.",
            "Remote commands: signed by the platform, once only, never above a rule of the site.",
        )
    else:
        yield say("Commandes à distance : aucune n'est acceptée.", "Remote commands: none is taken.")


def _rule_lines(site: Site, rule: RuleEntry, permits: dict[str, Permit]) -> Iterator[str]:
    english = speaks_english()
    joined = say(" et ", " and ").join(condition_text(one, english) for one in rule.when)
    yield say(f"quand {joined},", f"when {joined},")
    told_what: dict[str, list[str]] = {}
    for setting in rule.settings:
        before, after = _setting_text(site, setting, permits[setting.point])
        told_what.setdefault(f"{before} {{}}{after}", []).append(setting.point)
    for line, points in told_what.items():
        yield line.format(", ".join(points))
    if rule.alert is not None:
        told = rule.alert
        yield say(
            f"alerter ({KINDS[told.kind.value]}, gravité {SEVERITIES[told.severity.value]}) : {told.text}",
            f"alert ({told.kind.value}, {told.severity.value}): {told.text}",
        )
    for one in rule.unless:
        text = condition_text(one, english)
        yield say(f"sauf si {text}, ou si cela ne peut être su", f"unless {text}, or that cannot be known")


def _rank_lines(rule: RuleEntry, before: Sequence[RuleEntry]) -> Iterator[str]:
    """Whose value a point has when an earlier rule, which wants another, is active too."""
    for earlier in before:
        held = {setting.point: setting.value for setting in earlier.settings}
        shared = [one.point for one in rule.settings if held.get(one.point, one.value) != one.value]
        if shared:
            points = ", ".join(shared)
            yield say(
                f"si {earlier.name} agit aussi, c'est elle qui l'emporte sur {points}",
                f"where {earlier.name} is active too, that one has {points}",
            )


def _setting_text(site: Site, setting: Setting, permit: Permit) -> tuple[str, str]:
    """What is said before the point that is written to, and after it."""
    unit = UNITS[site.point(setting.point).unit].shown
    safe = say("l'horaire de la rue", "the street's schedule")
    if permit.fail_safe is not None:
        safe = f"{permit.fail_safe:g} {unit}".strip()
    lost = f"{setting.lost:g} {unit}".strip() if setting.lost is not None else safe
    value = f"{setting.value:g} {unit}".strip()
    return (
        say(f"écrire {value} à", f"write {value} to"),
        say(
            f" ; ensuite {safe} ; si une entrée est perdue : {lost}",
            f"; afterwards {safe}; if an input is lost: {lost}",
        ),
    )


def _street_lines(street: LightingEntry) -> Iterator[str]:
    starts = {"dusk": say("au coucher du soleil", "at sunset"), "dawn": say("au lever du soleil", "at sunrise")}
    for entry, slot in zip(street.slots, street.schedule_slots(), strict=True):
        given = f" ({street.design} → {entry.lighting_class})" if entry.lighting_class else ""
        at = starts.get(slot.at) or say(f"à {slot.at}", f"at {slot.at}")
        yield f"{at} : {slot.percent:.3g} %{given}"
    rule = RULES[street.category]
    if rule is None:
        yield say(
            f"catégorie {street.category} : aucune heure d'extinction dans l'arrêté du 27 décembre 2018",
            f"category {street.category}: no hour of extinction in the decree of 27 December 2018",
        )
    else:
        yield say(
            f"catégorie {street.category}, {rule.what} : extinction selon l'arrêté du 27 décembre 2018, {rule.clause}",
            f"category {street.category}: extinction by the decree of 27 December 2018, {rule.clause}",
        )
    for order in street.derogation:
        yield say(f"dérogation {order.id} du {order.first} au {order.last}",
                  f"derogation {order.id} from {order.first} to {order.last}")  # fmt: skip
    if (seen := street.presence) is not None:
        yield say(
            f"présence ({', '.join(seen.points)}) : {seen.level:g} %, {seen.hold} de plus ; capteur perdu : comme présence",
            f"presence ({', '.join(seen.points)}): {seen.level:g} %, {seen.hold} longer; sensor lost: as if present",
        )
    if street.floor:
        yield say(f"jamais moins de {street.floor:g} % allumée", f"never less than {street.floor:g} % while lit")
    for event in street.event:
        yield f"{event.on} {event.name} : {event.level:g} %" + (f" ({event.derogation})" if event.derogation else "")


def _permit_line(site: Site, permit: Permit) -> str:
    unit = UNITS[site.point(permit.point).unit].shown
    by = ", ".join(say(*_WHO[origin]) for origin in sorted(permit.by))
    english = speaks_english()
    line = f"{permit.point} : {permit.low:g} … {f'{permit.high:g} {unit}'.strip()} ({by})"
    if permit.fail_safe is not None:
        line += say(f", valeur sûre {permit.fail_safe:g}", f", fail-safe value {permit.fail_safe:g}")
    line += say(f", bail {permit.lease_s / 60:g} min", f", lease {permit.lease_s / 60:g} min")
    if permit.unless:
        texts = ", ".join(condition_text(one, english) for one in permit.unless)
        line += say(f", interdit si {texts}", f", forbidden if {texts}")
    return line + (say(", à blanc", ", dry run") if permit.dry_run else "")


def rules(argv: list[str]) -> int:
    """Ce que le site fera de lui-même, et ce qu'il aurait fait / What the site will do by itself, and would have done"""
    parser = argparse.ArgumentParser(prog="guet rules", description=rules.__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="explain | try")
    told = verbs.add_parser("explain", help=say("en clair", "in plain words"))
    tries = verbs.add_parser("try", help=say("sur des mesures enregistrées", "on recorded readings"))
    for verb in (told, tries):
        verb.add_argument("site", type=Path, metavar="SITE.toml")
        verb.add_argument("--json", action="store_true", help=say("pour les machines", "for machines"))
    tries.add_argument("--readings", type=Path, required=True, metavar="READINGS.csv[.gz]")
    options = parser.parse_args(argv)
    if options.verb == "explain":
        lines = list(explained(load_site(options.site, home() / "device_profiles")))
        print(json.dumps(lines, ensure_ascii=False) if options.json else "\n".join(lines))
        return 0
    site, watches = read_site(options.site)
    clock = SystemClock()
    done = tried(site, watches, options.readings, lambda before_s: asyncio.run(remembered(site, clock, before_s)))
    for name in sorted(done.unknown):
        sys.stderr.write(
            say(
                f"règle {name} : rien n'a pu en être su, une de ses entrées manque dans l'enregistrement ou avant lui\n",
                f"rule {name}: nothing could be known of it; an input is missing in the recording or before it\n",
            )
        )
    if options.json:
        alerts = [alert.as_json() for alert in done.alerts.values()]
        print(json.dumps({"deeds": done.deeds, "alerts": alerts, "decisions": done.decisions}, ensure_ascii=False))
        return 0
    for deed in done.deeds:
        error = say(f" — REFUSÉ : {deed['error']}", f" — REFUSED: {deed['error']}") if deed["error"] else ""
        print(f"{deed['time']}  {deed['point']:<28} {deed['value']:>8g}  {deed['reason']}{error}")
    for alert in done.alerts.values():
        over = iso(alert.cleared_s) if alert.cleared_s is not None else "…"
        print(f"{iso(alert.raised_s)}  {alert.kind.value} {alert.subject} → {over}  {alert.reasons[0].text}")
    counts = f"{len(done.deeds)} / {done.decisions}"
    sys.stderr.write(say(f"{counts} actions / décisions\n", f"{counts} actions / decisions\n"))
    return 0
