"""A profile: a device model described in data, one TOML file each (device_profiles/).

The schema is closed: what it does not know is a fault, and all faults of a file are told at once. There are no
expressions and no conditions; a variant of a register map is another file.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError, field_validator

from gateway.codec import Limits
from gateway.codec.canopen_lift import LARGEST_NODE
from gateway.codec.dali import WRITABLE
from gateway.codec.gatt import MOST
from gateway.codec.mbus import MAX_TELEGRAMS
from gateway.codec.slcan import Bitrate
from gateway.contradiction import in_examples, in_points, usable
from gateway.errors import ProfileError
from gateway.line import PATTERN as LINE
from gateway.point import (
    AnyPoint,
    BthomePoint,
    CanopenPoint,
    Closed,
    DaliPoint,
    Duration,
    GattPoint,
    HeardPoint,
    MbusPoint,
    ModbusPoint,
    RecordedPoint,
    RuuviPoint,
    bytes_of,
    decoder_of,
)

FILE_NAME = r"[a-z0-9_]{1,40}/[a-z0-9_]{1,80}"
OBSERVED_ONLY = ("lift", "lift_door", "lift_drive")
"""Kinds of device that nothing may ever be written to."""


Evidence = Literal["source", "manual", "library", "standard", "own"]
"""source: code in daily use elsewhere, its tests included. manual: the maker's text. library: a third party's
collection. standard: a standard. own: our own firmware, recording, or working by hand."""


class Example(Closed):
    """Bytes and the value they mean; no value where they mean "none". evidence: who gives the bytes; "own" where we
    worked them out by the map's rule, which proves our decoder and says nothing of the device."""

    source: str = Field(min_length=8)
    evidence: Evidence = "own"
    point: str
    raw: str
    value: float | None = None

    @field_validator("raw")
    @classmethod
    def _hex(cls, raw: str) -> str:
        bytes.fromhex(raw)
        return raw


class Setting(Closed):
    """What a device must be told before it gives what the profile says: sent when it is first met and whenever it comes
    back, because it may have lost its supply."""

    point: str
    value: float


class _Profile(Closed):
    """What every profile says. source, evidence: where the map comes from. firmware: which versions of the device it
    holds for; empty: all that are known. variants: profiles of the same model with another map."""

    maker: str
    model: str
    kind: Literal[
        "pressure_sensor", "flow_meter", "water_meter", "pump", "lamp", "lift_door", "lift_drive", "lift", "energy_meter",
        "bin", "heating", "ventilation", "occupancy", "weather", "road_weather", "level_sensor", "recorded",
    ]  # fmt: skip
    source: str = Field(min_length=8)
    evidence: Evidence
    firmware: str = ""
    variants: tuple[Annotated[str, Field(pattern=rf"^{FILE_NAME}$")], ...] = ()
    caveats: tuple[str, ...] = ()
    every: Duration = "60s"
    example: tuple[Example, ...] = ()
    setup: tuple[Setting, ...] = ()

    @field_validator("source")
    @classmethod
    def _names_something(cls, source: str) -> str:
        if len(source.split()) < 2:
            raise ValueError(
                f"expected the document or code that the map is from, with version and page, got {source!r}"
            )
        return source


class ModbusDefaults(Closed):
    """How devices of this model are met on a line, and what they can take (`codec.Limits`). Times in milliseconds."""

    line: str = Field(default="", pattern=rf"^$|{LINE}")
    unit_id: int = Field(default=1, ge=1, le=247)
    max_read: int = Field(default=125, ge=1, le=125)
    max_hole: int = Field(default=10, ge=0, le=124)
    patience_ms: float = Field(default=300, gt=0, le=10_000)
    interval_ms: float = Field(default=0, ge=0, le=10_000)
    gap_ms: float = Field(default=0, ge=0, le=10_000)
    read: Literal["block", "object", "single"] = "block"

    def limits(self) -> Limits:
        return Limits(
            self.max_read,
            self.max_hole,
            self.patience_ms / 1000,
            self.interval_ms / 1000,
            self.gap_ms / 1000,
            self.read,
        )


class ModbusClock(Closed):
    """Where a device is told the time: two holdings from `address` on, UTC seconds since 1970, high word first."""

    address: int = Field(ge=0, le=0xFFFE)

    @property
    def point(self) -> ModbusPoint:
        """What is written; it is no point of the profile, for nobody else may write it."""
        return ModbusPoint.model_validate(
            {
                "name": "clock",
                "unit": "s",
                "personal": "no",
                "register": "holding",
                "address": self.address,
                "type": "u32",
            }
        )


class NodeJournal(Closed):
    """That a device is a node of ours which keeps records while nobody asks (codec/journal.py). points: by the kind of a
    record, the point of one register whose value it holds."""

    points: dict[Annotated[int, Field(ge=1, le=255)], str] = Field(min_length=1)


class ModbusProfile(_Profile):
    """A device that speaks Modbus, over whatever line."""

    protocol: Literal["modbus"]
    modbus: ModbusDefaults = ModbusDefaults()
    clock: ModbusClock | None = None
    journal: NodeJournal | None = None
    point: tuple[ModbusPoint, ...] = Field(min_length=1)

    def limits(self) -> Limits:
        return self.modbus.limits()


class DaliProfile(_Profile):
    """DALI control gear."""

    protocol: Literal["dali"]
    point: tuple[DaliPoint, ...] = Field(min_length=1)

    def limits(self) -> Limits:
        return Limits(max_read=255, max_hole=6, patience_s=0.2)


class MbusDefaults(Closed):
    """How meters of this model are met on a line. telegrams: how many of them a readout takes, at most; what a meter has
    beyond is left there."""

    line: str = Field(default="", pattern=rf"^$|{LINE}")
    telegrams: int = Field(default=1, ge=1, le=MAX_TELEGRAMS)
    patience_ms: float = Field(default=500, gt=0, le=10_000)
    interval_ms: float = Field(default=0, ge=0, le=10_000)


class MbusProfile(_Profile):
    """A water or heat meter that speaks M-Bus."""

    protocol: Literal["mbus"]
    mbus: MbusDefaults = MbusDefaults()
    point: tuple[MbusPoint, ...] = Field(min_length=1)

    def limits(self) -> Limits:
        return Limits(self.mbus.telegrams, 0, self.mbus.patience_ms / 1000, self.mbus.interval_ms / 1000)


class GattDefaults(Closed):
    """How devices of this model are met. patience_ms: how long it may take to find it and to connect; sensors that save
    their battery advertise rarely."""

    patience_ms: float = Field(default=20_000, gt=0, le=60_000)


class GattProfile(_Profile):
    """A Bluetooth device that is connected to and read."""

    protocol: Literal["gatt"]
    gatt: GattDefaults = GattDefaults()
    point: tuple[GattPoint, ...] = Field(min_length=1)

    def limits(self) -> Limits:
        return Limits(MOST, 0, self.gatt.patience_ms / 1000)


class BthomeProfile(_Profile):
    """A device that advertises BTHome v2."""

    protocol: Literal["bthome"]
    point: tuple[BthomePoint, ...] = Field(min_length=1)


class RuuviProfile(_Profile):
    """A tag that advertises Ruuvi data format 5."""

    protocol: Literal["ruuvi"]
    point: tuple[RuuviPoint, ...] = Field(min_length=1)


class CanopenDefaults(Closed):
    """How a node of this model is set by its maker. node: taken where a site gives no address. bitrate in bit/s."""

    node: int = Field(default=1, ge=1, le=LARGEST_NODE)
    bitrate: Bitrate | None = None


class CanopenProfile(_Profile):
    """A node of a lift that is overheard on its CANopen bus."""

    protocol: Literal["canopen"]
    canopen: CanopenDefaults = CanopenDefaults()
    point: tuple[CanopenPoint, ...] = Field(min_length=1)


class RecordedProfile(_Profile):
    """A device that exists in a recording only. No file describes it: its points are those that the site names."""

    protocol: Literal["recorded"]
    point: tuple[RecordedPoint, ...]


RECORDED = "recorded"
"""What a site gives as the profile of a recorded device."""


def recorded_profile(units: Mapping[str, str]) -> RecordedProfile:
    """The profile of a recorded device with these points, each with its unit."""
    points = [RecordedPoint(name=name, unit=unit, personal="no") for name, unit in units.items()]
    return RecordedProfile(
        maker="recorded",
        model="recorded",
        kind="recorded",
        source="readings that guet replay plays from a file",
        evidence="own",
        every="15min",
        protocol="recorded",
        point=tuple(points),
    )


PolledProfile = ModbusProfile | DaliProfile | MbusProfile | GattProfile
FileProfile = PolledProfile | BthomeProfile | RuuviProfile | CanopenProfile
Profile = FileProfile | RecordedProfile
MODELS: Final[dict[str, type[FileProfile]]] = {
    "modbus": ModbusProfile,
    "dali": DaliProfile,
    "mbus": MbusProfile,
    "gatt": GattProfile,
    "bthome": BthomeProfile,
    "ruuvi": RuuviProfile,
    "canopen": CanopenProfile,
}
"""By protocol."""


@cache
def _of_any_protocol() -> TypeAdapter[FileProfile]:
    return TypeAdapter(Annotated[FileProfile, Field(discriminator="protocol")])


def _validated(table: Mapping[str, Any]) -> FileProfile:
    """Raises ValidationError, whose places begin with the protocol where that is one of ours."""
    model = MODELS.get(str(table.get("protocol")))
    if model is not None:
        with suppress(ValidationError):
            return model.model_validate(table)
    return _of_any_protocol().validate_python(table)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a profile file, for editors (device_profiles/profile.schema.json)."""
    schema = _of_any_protocol().json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Guet device profile", **schema}


def parse_profile(text: str, name: str) -> Profile:
    """A profile from its text. `name` ("water/keller_x_line") stands in messages. Raises ProfileError with all faults."""
    file = f"{name}.toml"
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProfileError([f"{file}: not TOML: {error}"]) from None
    told: list[str] = []
    try:
        profile = _validated(table)
    except ValidationError as error:
        told = sentences(error, file)
        sound = _sound_part(table, error)
        if sound is None:
            raise ProfileError(told) from None
        profile = sound
    faults = [*told, *(f"{file}: {fault}" for fault in _contradictions(profile, whole=not told))]
    if faults:
        raise ProfileError(faults)
    return profile


def _sound_part(table: Mapping[str, Any], error: ValidationError) -> FileProfile | None:
    """What is sound of a faulty file, so that it can be checked further and all faults are told at once: without unknown
    keys, without the points and examples that have other faults, and something neutral for the rest."""
    sound = deepcopy(dict(table))
    dropped: dict[str, set[int]] = {"point": set(), "example": set()}
    # Unknown keys go first, while all is still in its place.
    found = error.errors(include_url=False, include_input=False, include_context=False)
    for fault in sorted(found, key=lambda fault: fault["type"] != "extra_forbidden"):
        match fault["type"], key_of(fault["loc"]):
            case "extra_forbidden", [*way, last]:
                inner: Any = sound
                for step in way:
                    inner = inner[step]
                inner.pop(last, None)
            case _, ["point" | "example" as entries, int(at), *_]:
                dropped[entries].add(at)
            case _, [str(key), *_] if key in _NEUTRAL:
                sound[key] = _NEUTRAL[key]
            case _, [str(key), *_] if key not in dropped:
                sound.pop(key, None)
    for kind, places in dropped.items():
        if places:
            sound[kind] = [entry for at, entry in enumerate(sound[kind]) if at not in places]
    try:
        return _validated(sound)
    except ValidationError:
        return None


_NEUTRAL = {"maker": "?", "model": "?", "kind": "recorded", "source": "not yet known", "evidence": "own"}
"""Stands in for what is faulty while the rest of the file is checked."""


def load_profile(folder: Path, name: str) -> Profile:
    """The profile `name` of the folder device_profiles/. Raises ProfileError when there is none, or it is faulty."""
    if not re.fullmatch(FILE_NAME, name):
        raise ProfileError([f"{name!r}: expected 'folder/name' of a profile in {folder.name}/; {_near(folder, '')}"])
    try:
        text = (folder / f"{name}.toml").read_text(encoding="utf-8")
    except FileNotFoundError:
        where = f"expected a profile of that name in {folder.name}/, found none"
        raise ProfileError([f"{name}.toml: {where}; {_near(folder, name.partition('/')[0])}"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError([f"{name}.toml: cannot be read: {error}; expected a profile in UTF-8"]) from None
    return parse_profile(text, name)


def _near(folder: Path, kind: str) -> str:
    """What there is instead."""
    near = sorted(f"{kind}/{path.stem}" for path in (folder / kind).glob("*.toml")) if kind else []
    return f"known there: {', '.join(near)}" if near else f"folders: {', '.join(sorted(kinds(folder)))}"


def kinds(folder: Path) -> list[str]:
    """The folders of profiles: water, lighting, ..."""
    return [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


def sentences(error: ValidationError, file: str) -> list[str]:
    """pydantic's findings as sentences that name file, key, what was expected and what was found."""
    out = []
    faults = error.errors(include_url=False)
    for fault in faults:
        if fault["type"] == "too_short" and any(_within(other["loc"], fault["loc"]) for other in faults):
            continue  # pydantic does not count entries that have faults of their own
        steps = key_of(fault["loc"])
        key = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".") or "(file)"
        match fault["type"]:
            case "extra_forbidden":
                said = "unknown key; correct or remove it"
            case "missing":
                said = "missing; add it"
            case "value_error":
                said = str(fault["ctx"]["error"])
            case "union_tag_invalid":
                key = ".".join([*([key] if steps else []), "protocol"])
                said = f"expected one of {fault['ctx']['expected_tags']}, got {fault['ctx']['tag']!r}"
            case "union_tag_not_found":
                key = ".".join([*([key] if steps else []), "protocol"])
                said = "missing; add it"
            case _:
                shown = repr(fault["input"])
                said = f"{fault['msg']}, got {shown if len(shown) <= 80 else shown[:77] + '...'}"
        out.append(f"{file}: {key}: {said}")
    return out


def _within(loc: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(loc) > len(outer) and loc[: len(outer)] == outer


def key_of(loc: tuple[int | str, ...]) -> list[int | str]:
    """The way to a key in a file, from pydantic's, which also names the branch of a union that it took: of profiles in
    front, of a site's buses behind their number."""
    match loc:
        case (str(tag), _, *_) if tag in MODELS:
            return list(loc[1:])
        case ("bus", number, _, *rest):
            return ["bus", number, *rest]
    return list(loc)


def _contradictions(profile: Profile, whole: bool) -> Iterator[str]:
    """Faults that no single key shows. whole: False where faulty points and examples were left out."""
    yield from in_points(profile.point)
    said: dict[object, str] = {}
    for point in profile.point:
        if (
            isinstance(point, MbusPoint)
            and (one := said.setdefault((point.place, point.mask), point.name)) != point.name
        ):
            yield f"points {one!r} and {point.name!r} are the same place of the device; keep one"
    points = {}
    for point in profile.point:
        if point.form is not None and not usable(point.form):
            continue
        if point.write is not None and (fault := _unwritable(profile, point)):
            yield f"point {point.name!r}.write: {fault}"
        if point.write_only and point.write is None:
            yield f"point {point.name!r}.write_only: a point that can be neither read nor written; give write"
        if not isinstance(point, RecordedPoint):
            size = None if isinstance(point, MbusPoint) else bytes_of(point)
            points[point.name] = (point, size, decoder_of(point))
    known = {point.name for point in profile.point}
    examples = [e for e in profile.example if e.point in points or (whole and e.point not in known)]
    yield from in_examples(examples, points)
    if whole and not profile.example and profile.protocol != "recorded":
        yield "example: at least one with bytes from a source other than our encoder is needed"
    if whole:
        yield from _wrong_settings(profile)
        yield from _wrong_tending(profile)


def _wrong_tending(profile: Profile) -> Iterator[str]:
    """Faults of what a node of ours is told and asked beyond its points."""
    if not isinstance(profile, ModbusProfile):
        return
    if profile.clock is not None and profile.kind in OBSERVED_ONLY:
        yield f"clock: a {profile.kind} is observed and never written to, not even the time; remove it"
    points = {point.name: point for point in profile.point}
    for kind, name in (profile.journal.points if profile.journal else {}).items():
        point = points.get(name)
        if point is None or point.type not in ("u16", "i16") or point.exponent_at is not None:
            yield f"journal.points.{kind}: expected a point of type 'u16' or 'i16', got {name!r}"


def _wrong_settings(profile: Profile) -> Iterator[str]:
    """Faults of what is sent to a device when it comes back."""
    points = {point.name: point for point in profile.point}
    for index, setting in enumerate(profile.setup):
        point = points.get(setting.point)
        if point is None or point.write is None:
            yield f"setup[{index}].point: expected a point with limits of a write, got {setting.point!r}"
        elif not point.write.min <= setting.value <= point.write.max:
            limits = f"{point.write.min:g} to {point.write.max:g} {point.unit}"
            yield f"setup[{index}].value: expected {limits} for {setting.point!r}, got {setting.value:g}"


def _unwritable(profile: Profile, point: AnyPoint) -> str:
    """Why nothing can be written to the point, whatever its limits say."""
    if profile.kind in OBSERVED_ONLY:
        return f"a {profile.kind} is observed and never written to; remove it"
    if isinstance(point, MbusPoint | GattPoint):
        return "a meter or a connected sensor is read and never written to; remove it"
    if isinstance(point, HeardPoint | RecordedPoint):
        return "a device that only speaks cannot be written to; remove it"
    if isinstance(point, ModbusPoint) and point.area in ("input", "discrete"):
        return f"area {point.area!r} can only be read; remove it, or correct the area"
    if isinstance(point, DaliPoint) and point.query not in WRITABLE:
        return f"of DALI gear only {', '.join(WRITABLE)} can be written; remove it"
    assert point.write is not None
    try:
        for value in (point.write.min, point.write.max):
            point.encode(value)
    except ValueError as error:
        return f"{error}; correct the limits or remove them"
    return ""


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=1, ensure_ascii=False))
