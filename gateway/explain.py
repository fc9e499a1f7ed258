"""`guet explain`: one alert on one page of a terminal: what, since when, why, how sure, what would have changed it, who else
was asked, and by which model. From the store of a gateway, which may be running, or from the file of a replay."""

from __future__ import annotations

import argparse
import json
import sqlite3
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from gateway.alert import Alert
from gateway.app import home
from gateway.cost import CostEntry, cost_of
from gateway.cost import lines as cost_lines
from gateway.errors import ModelError, SiteError, StoreError
from gateway.inference import CARD, Card, load_card
from gateway.language import say, speaks_english
from gateway.outcome import (
    OUTCOMES_SQL,
    Outcome,
    Standing,
    outcome_words,
    outcomes_from,
    record_words,
    track_record,
)
from gateway.site import load_site
from gateway.snippet import Samples, csv_lines, unpacked
from gateway.store import FILE
from gateway.web.view import UNCHANGEABLE, sure
from gateway.web.words import KINDS, SEVERITIES, Speech

WIDTH = 100
LATEST = "last"
STRIP = 30
BARS = "▁▂▃▄▅▆▇█"


def explain(argv: list[str]) -> int:
    """Explique une alerte, sur une page / Explains one alert, on one page"""
    parser = argparse.ArgumentParser(prog="guet explain", description=explain.__doc__)
    parser.add_argument("alert", metavar="ALERT", help="A-0123456789, ou / or last")
    parser.add_argument(
        "--in",
        dest="source",
        type=Path,
        default=Path("site.toml"),
        metavar="SITE.toml|ALERTS.jsonl",
        help="la passerelle, ou ce que replay a écrit / the gateway, or what replay wrote",
    )
    readings = "les mesures gardées autour, pour guet replay / the samples kept around it, for guet replay"
    parser.add_argument("--readings", default="", metavar="FILE.csv|-", help=readings)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    if options.source.suffix == ".toml":
        site = load_site(options.source, home() / "device_profiles")
        zone, rates, place = site.zone, site.cost, site.place
        file: Path | None = site.data / FILE
        texts, found = stored(site.data / FILE)
        now_s = time.time()
    else:
        zone, rates, place = ZoneInfo("UTC"), CostEntry(), None
        texts, found, now_s, file = _lines(options.source), {}, 0.0, None
    alerts = list(_alerts(texts))
    alert = _chosen(options.alert, alerts, options.source)
    now_s = max([now_s, *(one.raised_s for one in alerts)])  # a recording ends when it ends
    record = track_record(alert, alerts, found, now_s)
    beside = Standing(found.get(alert.id), record, cost_of(alert, rates, place))
    around = _around(file, alert.id) if file is not None else []
    if options.readings:
        return _export(options.readings, alert, around)
    if options.json:
        print(json.dumps(alert.as_json() | asdict(beside), ensure_ascii=False, indent=2))
    else:
        print("\n".join(told(alert, _card(alert.model), zone, beside, around)))
    return 0


def told(
    alert: Alert, card: Card | None, zone: ZoneInfo, beside: Standing, around: Sequence[Samples] = ()
) -> list[str]:
    """The page, line by line. card: of the model, where it is still installed; around: what was measured then."""
    latest_s = alert.raised_s if alert.cleared_s is None else alert.cleared_s
    speech = Speech("en" if speaks_english() else "fr", zone, latest_s)
    number, french = speech.number, speech.told
    lasts = say("dure encore", "still lasts")
    over = lasts if alert.cleared_s is None else speech.full(alert.cleared_s)
    lines = [
        f"{speech(KINDS[alert.kind.value])} : {alert.subject}   ({alert.id})",
        say("  gravité ", "  severity ") + speech(SEVERITIES[alert.severity.value]),
        say("  début probable ", "  probable onset ") + speech.full(alert.onset_s),
        say("  levée ", "  raised ") + speech.full(alert.raised_s) + say(" ; terminée ", "; cleared ") + over,
        "",
        say("Pourquoi", "Why"),
    ]
    for reason in alert.reasons:
        lines += _wrapped(f"  {100 * reason.weight:3.0f} % ", f"{french(reason.text)}  [{reason.point}]")
    lines += ["", say("Ce qui aurait changé la décision", "What would have changed the decision")]
    lines += _wrapped("  ", french(alert.counterfactual.text) if alert.counterfactual else speech(UNCHANGEABLE))
    lines += ["", say("À quel point est-ce sûr ?", "How sure is it?")]
    lines += _wrapped("  ", sure(speech, alert.confidence))
    if alert.confidence is not None and card is not None and card.calibration is not None:
        lines += _wrapped("  ", speech.bilingual(card.calibration.text))
    lines += ["", say("Si elle est fausse, ou si on se tait", "If it is false, or if nobody acts")]
    for line in cost_lines(alert, beside.cost):
        lines += _wrapped("  ", line)
    lines += ["", say("Ce qu'on en a su", "What was found out")]
    lines += _wrapped("  ", outcome_words(beside.outcome))
    lines += _wrapped("  ", record_words(beside.record))
    lines += _measured(speech, around)
    lines += ["", say("Second avis", "Second opinion")]
    agrees = say("dit OUI aussi", "says YES too") if alert.baseline.fired else say("dit NON", "says NO")
    at = say("oui au-dessus de 1", "yes above 1")
    lines += _wrapped("  ", f"« {alert.baseline.rule} » {agrees} (score {number(alert.baseline.score)} ; {at})")
    lines += ["", say("Décidé par", "Decided by")]
    threshold = say("seuil", "threshold")
    lines += _wrapped("  ", f"{alert.model}, score {number(alert.score)}, {threshold} {number(alert.threshold)}")
    lines.append(f"  sha256 {alert.model_sha256}" if alert.model_sha256 else say("  une règle seule", "  a rule alone"))
    if card is not None:
        lines += _wrapped(say("  sert à : ", "  is for: "), speech.bilingual(card.purpose))
        lines += _wrapped(say("  ne sert pas à : ", "  is not for: "), speech.bilingual(card.not_for))
    return lines


def _wrapped(head: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False)


def _measured(speech: Speech, around: Sequence[Samples]) -> list[str]:
    """A line for each point that was measured around the alert; | where it was raised."""
    lines = []
    for samples in around:
        before = [value for at, value in zip(samples.offsets_s, samples.values, strict=True) if at <= 0]
        after = list(samples.values[len(before) :])
        known = [value for value in samples.values if value is not None]
        if not known:
            continue
        low, high = min(known), max(known)
        drawn = _strip(before[-STRIP:], low, high) + "|" + _strip(after[: STRIP // 2], low, high)
        span = f"{speech.number(low)} - {speech.number(high)} {speech.unit(samples.unit)}".rstrip()
        lines.append(f"  {samples.point:<28} {drawn}  {span}  ({len(known)})")
    title = say("Mesuré autour (--readings FILE.csv pour tout)", "Measured around it (--readings FILE.csv for all)")
    return ["", title, *lines] if lines else []


def _strip(values: Sequence[float | None], low: float, high: float) -> str:
    """One character a value."""
    span = high - low or 1.0
    return "".join(" " if value is None else BARS[int((value - low) / span * (len(BARS) - 1))] for value in values)


def _export(where: str, alert: Alert, around: Sequence[Samples]) -> int:
    if not around:
        raise StoreError(
            say(f"{alert.id} : aucune mesure gardée autour", f"{alert.id}: no samples were kept around it")
        )
    text = "\n".join([*csv_lines(around, alert.raised_s), ""])
    if where == "-":
        print(text, end="")
        return 0
    try:
        Path(where).write_text(text, encoding="utf-8")
    except OSError as error:
        raise SiteError([f"--readings {where}: {error.strerror}"]) from None
    return 0


def _around(file: Path, alert: str) -> list[Samples]:
    """What was measured around an alert, where a store has kept it."""
    if not _rows(file, "select 1 from sqlite_master where name = 'snippet'"):
        return []
    found = _rows(file, "select body from snippet where alert = ?", alert)
    return unpacked(found[0][0]) if found else []


def _rows(file: Path, question: str, *values: str) -> list[tuple[Any, ...]]:
    """An answer of a store that may be in use. Raises StoreError."""
    with _opened(file) as disk:
        return disk.execute(question, values).fetchall()


@contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    """A store that may be in use. Raises StoreError."""
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=5.0)) as disk:
            yield disk
    except sqlite3.Error as error:
        raise StoreError(f"{file}: cannot be read: {error}; has this gateway run here? See gateway.data") from None


def stored(file: Path) -> tuple[list[str], dict[str, Outcome]]:
    """The alerts of a store that may be in use, and what was found out about them. Raises StoreError."""
    with _opened(file) as disk:
        alerts = [body for (body,) in disk.execute("select body from alert order by raised_s, id")]
        return alerts, outcomes_from(disk.execute(OUTCOMES_SQL))


def _lines(file: Path) -> list[str]:
    try:
        return [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise SiteError([f"{file}: cannot be read: {error}; expected SITE.toml, or ALERTS.jsonl of a replay"]) from None


def _alerts(texts: list[str]) -> Iterator[Alert]:
    """What can be understood; a row that the disk has garbled is nobody's alert."""
    for text in texts:
        try:
            yield Alert.from_json(json.loads(text))
        except ValueError:
            continue


def _chosen(name: str, alerts: list[Alert], source: Path) -> Alert:
    by_id = {alert.id: alert for alert in alerts}
    if name == LATEST and alerts:
        return max(alerts, key=lambda alert: alert.raised_s)
    if name in by_id:
        return by_id[name]
    known = ", ".join(list(by_id)[-5:]) or say("aucune", "none")
    raise StoreError(
        say(
            f"{source} : pas d'alerte {name!r} ; les dernières : {known}",
            f"{source}: no alert {name!r}; the latest: {known}",
        )
    )


def _card(model: str) -> Card | None:
    file = home() / "edge_models" / Path(model).name / CARD
    try:
        return load_card(file) if file.exists() else None
    except ModelError:
        return None
