"""`guet profile`: a device profile tried against its own examples and against a device, before it is installed anywhere.

    guet profile check FILE.toml
    guet profile check FILE.toml --port /dev/ttyUSB0 --line "9600 8N1" --address 3
    guet profile check water/keller_x_line --host 192.168.1.20 --address 7 --json
    guet profile schema

Every point is asked for alone, so that one which the device does not have is told by its name; then as the gateway would
ask, several together, which shows whether the profile's limits are this device's. Nothing is ever written.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal, cast

from gateway.app import PROTOCOLS, home
from gateway.codec import HeardCodec, PolledCodec
from gateway.contradiction import unbounded
from gateway.errors import BusError, FileFault, GarbledAnswer, LinkError, NoAnswer, Refused
from gateway.language import say
from gateway.link import Ear, Link
from gateway.lone import add_bus_options, lone_site, profile_given
from gateway.plan import plan_visits
from gateway.point import AnyPoint, RecordedPoint, bytes_of, decoder_of
from gateway.poll import flaw_of, run
from gateway.profile import Profile, json_schema
from gateway.site import Device, Site
from gateway.unit import UNITS

FINE, FIELD_PROBLEM, USAGE = 0, 1, 2
SILENCES_TO_GIVE_UP = 2
LISTEN_S = 60.0

Verdict = Literal["good", "no_value", "outside", "refused", "silent", "garbled", "port", "unasked"]
SAID: dict[Verdict, tuple[str, str]] = {
    "good": ("bon", "good"),
    "no_value": ("sans valeur : l'appareil le dit lui-même", "no value: the device says so itself"),
    "outside": ("hors plage", "outside of the range"),
    "refused": ("refusé", "refused"),
    "silent": ("aucune réponse", "no answer"),
    "garbled": ("brouillé", "garbled"),
    "port": ("port indisponible", "port unusable"),
    "unasked": ("non demandé", "not asked"),
}
HARMLESS: tuple[Verdict, ...] = ("good", "no_value")


@dataclass(frozen=True, slots=True)
class Row:
    """One point as it was found. raw: its bytes; None where none came. why: in words, where it is not good."""

    point: str
    raw: bytes | None
    value: float | None
    unit: str
    verdict: Verdict
    why: str = ""


def profile(argv: list[str]) -> int:
    """Essaie un profil d'appareil sans l'installer, ou donne son schéma / Tries a device profile, or gives its schema"""
    parser = argparse.ArgumentParser(prog="guet profile", description=profile.__doc__)
    what = parser.add_subparsers(dest="what", required=True, metavar="check | schema")
    what.add_parser("schema", help="JSON Schema, pour l'éditeur / for editors")
    check = what.add_parser("check", help="ses exemples, puis un appareil / its examples, then a device")
    check.add_argument("profile", metavar="NAME|FILE.toml")
    add_bus_options(check)
    check.add_argument("--for", dest="seconds", type=float, default=LISTEN_S, metavar="SECONDS",
                       help="écoute d'une balise / listening to a beacon")  # fmt: skip
    check.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    if options.what == "schema":
        print(json.dumps(json_schema(), indent=1, ensure_ascii=False))
        return FINE
    try:
        name, found = profile_given(options.profile, home() / "device_profiles")
        live = any((options.protocol, options.port, options.host, options.line, options.adapter, options.address))
        site = lone_site(name, found, options) if live else None
    except FileFault as error:
        if not options.json:
            raise
        print(json.dumps({"profile": options.profile, "faults": error.faults}, ensure_ascii=False))
        return USAGE
    return _check(name, found, site, options)


def _check(name: str, found: Profile, site: Site | None, options: argparse.Namespace) -> int:
    examples, notes = list(example_rows(found)), list(remarks(found))
    if not options.json:
        print(say(f"{found.maker} {found.model} : {len(found.point)} grandeurs, sans faute",
                  f"{found.maker} {found.model}: {len(found.point)} points, without a fault"))  # fmt: skip
        print(say("Exemples", "Examples"))
        _print_rows(examples, _width(found))
        for note in notes:
            print(f"! {note}")
    rows: list[Row] = []
    if site is not None:
        rows, grouped = asyncio.run(_live(site, options))
        notes += grouped
        for note in grouped if not options.json else ():
            print(f"! {note}")
    if options.json:
        body: dict[str, Any] = {"profile": name, "faults": [], "examples": [_plain(row) for row in examples]}
        if site is not None:
            body["readings"] = [_plain(row) for row in rows]
        print(json.dumps(body | {"remarks": notes}, ensure_ascii=False))
    return FINE if all(row.verdict in HARMLESS for row in rows) else FIELD_PROBLEM


def example_rows(found: Profile) -> Iterator[Row]:
    """The examples as rows. A profile whose examples fail was refused before."""
    points = {point.name: point for point in found.point}
    for example in found.example:
        point = points[example.point]
        assert not isinstance(point, RecordedPoint)
        raw = bytes.fromhex(example.raw)
        value = decoder_of(point)(raw)
        yield Row(point.name, raw, value, point.unit, "good" if value is not None else "no_value", example.source)


def remarks(found: Profile) -> Iterator[str]:
    """What is no fault and yet should be known."""
    if open_ended := unbounded(found.point):
        names = ", ".join(open_ended)
        yield say(f"sans plage, toute valeur passera : {names}", f"no range, any value will pass: {names}")
    if found.example and all(example.evidence == "own" for example in found.example):
        yield say(
            "aucun exemple ne vient d'ailleurs : ils prouvent notre décodeur, rien de l'appareil",
            "no example comes from elsewhere: they prove our decoder, and nothing of the device",
        )
    shown = {_number(point) for point in found.point if point.name in {e.point for e in found.example}}
    if unproven := [point.name for point in found.point if _number(point) not in shown]:
        names = ", ".join(unproven)
        yield say(
            f"aucun exemple pour des nombres écrits ainsi : {names}", f"no example of numbers written so: {names}"
        )
    if found.variants:
        others = ", ".join(found.variants)
        yield say(
            f"autre table selon la version{f' (ici : {found.firmware})' if found.firmware else ''} : {others}",
            f"another map with another version{f' (here: {found.firmware})' if found.firmware else ''}: {others}",
        )
    yield from found.caveats


def _number(point: AnyPoint) -> tuple[object, ...]:
    """How the number of a point is written, as far as an example of another point can prove it."""
    form = point.form
    if form is None:
        return ()
    return form.type, form.word_order, form.byte_order, form.exponent_at


# Against a device


async def _live(site: Site, options: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """What a device says, printed as it comes, and remarks on how several points are read together."""
    (device,), (bus,) = site.devices.values(), site.buses.values()
    protocol = PROTOCOLS[bus.protocol]
    way, rows = protocol.open(bus), list[Row]()
    codec = protocol.codec
    heard = codec[device.profile.protocol](device) if isinstance(codec, Mapping) else None
    asking = None if isinstance(codec, Mapping) else codec()
    if not options.json:
        print(say(f"Appareil ({bus.protocol}, adresse {device.address})", f"Device ({bus.protocol}, {device.address})"))
    try:
        if heard is not None:
            found = heard_rows(device, heard, cast("Ear", way), options.seconds)
        else:
            assert asking is not None
            found = asked_rows(device, asking, cast("Link", way))
        async with aclosing(found):
            async for row in found:
                rows.append(row)
                if not options.json:
                    _print_rows([row], _width(device.profile))
        if asking is None or not any(row.verdict in HARMLESS for row in rows):
            return rows, []
        return rows, await _grouped(device, asking, cast("Link", way), rows)
    finally:
        await way.close()


async def asked_rows(device: Device, codec: PolledCodec, link: Link) -> AsyncGenerator[Row, None]:
    """Every point asked for alone. After a broken port, or silences and no answer at all, the rest is not asked."""
    silences, given_up = 0, ""
    for point in device.points.values():
        assert not isinstance(point, RecordedPoint)
        if given_up:
            yield Row(point.name, None, None, point.unit, "unasked", given_up)
            continue
        size = bytes_of(point)
        (span,) = codec.spans([(point.place, size)], device.limits)
        try:
            data = await run(link, codec.read(device.number, span, device.limits))
        except BusError as error:
            silences = silences + 1 if isinstance(error, NoAnswer) else -1 << 30
            if isinstance(error, LinkError) or silences >= SILENCES_TO_GIVE_UP:
                given_up = flaw_of(error).said
            garbled = isinstance(error, GarbledAnswer)
            why = f"{flaw_of(error).said} ({error})" if garbled else flaw_of(error).said
            yield Row(point.name, error.raw if garbled else None, None, point.unit, _verdict(error), why)
        else:
            silences = -1 << 30
            start = span.offsets[point.place]
            yield _judged(point, data[start : start + size])
        if device.limits.interval_s:
            await asyncio.sleep(device.limits.interval_s)


async def heard_rows(device: Device, codec: HeardCodec, ear: Ear, seconds: float) -> AsyncGenerator[Row, None]:
    """Every point as it is first heard, within a time; then those that were not."""
    missing, senders = dict(device.points), frozenset(codec.senders(device.address))
    why = say(f"rien entendu en {seconds:g} s", f"nothing heard within {seconds:g} s")
    try:
        async with asyncio.timeout(seconds), aclosing(ear.listen()) as broadcasts:  # type: ignore[type-var]
            async for heard in broadcasts:
                if heard.sender not in senders:
                    continue
                try:
                    said = codec.values(heard)
                except BusError as error:
                    why = str(error)
                    continue
                for point in list(missing.values()):
                    assert not isinstance(point, RecordedPoint)
                    if said is not None and (raw := said.get(point.place)) is not None:
                        del missing[point.name]
                        yield _judged(point, raw)
                if not missing:
                    return
    except TimeoutError:
        pass
    except LinkError as error:
        why = str(error)
    for point in missing.values():
        yield Row(point.name, None, None, point.unit, "silent", why)


async def _grouped(device: Device, codec: PolledCodec, link: Link, rows: list[Row]) -> list[str]:
    """What goes wrong when points that answer alone are read as the gateway reads them."""
    told = []
    bad = {row.point for row in rows if row.verdict not in HARMLESS}
    for visit in plan_visits([device], codec):
        for block in visit.blocks:
            names = [column.point for column in block.columns]
            if len(names) < 2 or bad & set(names):
                continue
            try:
                await run(link, codec.read(device.number, block.span, device.limits))
            except BusError as error:
                told.append(say(
                    f"lus ensemble, {', '.join(names)} : {flaw_of(error).said} ; réduire max_read ou max_hole",
                    f"read together, {', '.join(names)}: {error}; give a smaller max_read or max_hole",
                ))  # fmt: skip
            if device.limits.interval_s:
                await asyncio.sleep(device.limits.interval_s)
    return told


def _judged(point: AnyPoint, raw: bytes) -> Row:
    assert not isinstance(point, RecordedPoint)
    value = decoder_of(point)(raw)
    if value is None:
        return Row(point.name, raw, None, point.unit, "no_value")
    if point.range is not None and not point.range[0] <= value <= point.range[1]:
        low, high = point.range
        why = say(f"attendu {low:g} à {high:g} : vérifier type, ordre des mots et échelle",
                  f"expected {low:g} to {high:g}: check type, word order and scale")  # fmt: skip
        return Row(point.name, raw, value, point.unit, "outside", why)
    return Row(point.name, raw, value, point.unit, "good", point.labels.get(f"{value:g}", ""))


def _verdict(error: BusError) -> Verdict:
    match error:
        case Refused():
            return "refused"
        case NoAnswer():
            return "silent"
        case LinkError():
            return "port"
        case _:
            return "garbled"


# For people and for machines


def _width(found: Profile) -> int:
    return max(len(point.name) for point in found.point)


def _print_rows(rows: list[Row], width: int) -> None:
    for row in rows:
        raw = row.raw.hex(" ").upper() if row.raw else "-"
        value = "-" if row.value is None else f"{row.value:.7g}"
        unit = UNITS[row.unit].shown
        why = f" ; {row.why}" if row.why else ""
        print(f"  {row.point:<{width}}  {raw:<23}  {value:>12} {unit:<5}  {say(*SAID[row.verdict])}{why}")
    sys.stdout.flush()


def _plain(row: Row) -> dict[str, object]:
    return {
        "point": row.point, "raw": row.raw.hex(" ") if row.raw else None, "value": row.value, "unit": row.unit,
        "verdict": row.verdict, "why": row.why,
    }  # fmt: skip
