"""Which profile a device that answers could have: each is tried by reading, and ranked by what its values would be now.

No register says what a device is, so what it says of itself counts first (Modbus identification), then how many of a
profile's values are possible and how hard that is to do by chance: a 32-bit float within its range is strong evidence, a
state between 0 and 7 is none. The person picks the one whose values they can see on the device.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gateway.codec import Limits, PolledCodec, Procedure, Span
from gateway.errors import BusError, GarbledAnswer, LinkError, NoAnswer, ProfileError, Refused
from gateway.plan import Block, plan_blocks
from gateway.point import AnyPoint, duration_s
from gateway.profile import PolledProfile, Profile, kinds, load_profile
from gateway.reading import Flaw
from gateway.site import Device
from gateway.unit import UNITS

MOST_BLOCKS = 4
"""Requests that a profile is tried with at the most."""
LEAST_SHARE = 0.75
"""Of the points that were read: so many must be possible."""
SHOWN = 4
TRIES = 2
SILENCES_TO_GIVE_UP = 3

Ask = Callable[[Procedure[bytes]], Awaitable[bytes]]
"""Runs one procedure on the bus, by turns with whoever else uses it."""


@dataclass(frozen=True, slots=True)
class Value:
    """What a point would show; None: the device says it has none, or what it gives is impossible."""

    point: str
    title: str
    value: float | None
    unit: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """A profile that fits what a device says. weight: how strongly; sure: the device names itself so."""

    profile: str
    title: str
    weight: float
    sure: bool
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Fit:
    """How a profile goes with a device: so many of the points that were asked for have a possible value. garbled: requests
    that were answered by noise only, twice."""

    possible: int
    asked: int
    weight: float
    values: tuple[Value, ...]
    garbled: int = 0

    @property
    def fits(self) -> bool:
        return 0 < self.asked * LEAST_SHARE <= self.possible and self.weight >= 0


@cache
def known_profiles(folder: Path) -> Mapping[str, Profile]:
    """All profiles by name. One that is faulty is left out: `guet profile check` says why."""
    found: dict[str, Profile] = {}
    for kind in sorted(kinds(folder)):
        for path in sorted((folder / kind).glob("*.toml")):
            try:
                found[f"{kind}/{path.stem}"] = load_profile(folder, f"{kind}/{path.stem}")
            except ProfileError:
                continue
    return found


class Tried:
    """One device that is being tried: what was read is not read again for the next profile."""

    def __init__(self, ask: Ask, codec: PolledCodec, address: int) -> None:
        self._ask, self._codec, self.address = ask, codec, address
        self._seen: dict[tuple[int, int, int], bytes | BusError] = {}
        self._silences = 0

    async def fit(self, name: str, profile: PolledProfile) -> Fit:
        """Reads a few blocks as the profile says. Raises LinkError, and NoAnswer once the device is silent again."""
        device = lone(name, profile, self.address)
        values: dict[str, float | None] = {}
        flaws: dict[str, Flaw] = {}
        refused = asked = garbled = 0
        points = [point for point in device.points.values() if not point.write_only]
        for block in _some(plan_blocks(device, points, self._codec)):
            asked += len(block.columns)
            try:
                block.decode(await self._read(block.span, profile.limits()), values, flaws)
            except (LinkError, NoAnswer):
                raise
            except BusError as error:
                garbled += isinstance(error, GarbledAnswer) and bool(error.raw)
                refused += 1
                if refused > 1:
                    break
        possible = [name for name, value in values.items() if value is not None]
        weight = sum(_weight(device.points[name], values[name]) for name in possible) / max(1, asked)
        ordered = sorted(values, key=lambda name: -_weight(device.points[name], values[name]))[:SHOWN]
        shown = tuple(
            Value(name, device.points[name].title or name, values[name], device.points[name].unit)
            for name in values
            if name in ordered
        )
        # A device that says of some values that it has none is itself; a refusal of a whole block is another device.
        told = len(possible) + sum(flaw.reason.endswith("pas de valeur") for flaw in flaws.values())
        return Fit(told if possible else 0, asked, weight, shown, garbled)

    async def _read(self, span: Span, limits: Limits) -> bytes:
        key = (span.area, span.first, span.count)
        if key not in self._seen:
            self._seen[key] = await self._tried(span, limits)
        found = self._seen[key]
        if isinstance(found, BusError):
            raise found
        return found

    async def _tried(self, span: Span, limits: Limits) -> bytes | BusError:
        """What came, or why nothing did; noise and a single silence are no answer, so it is asked once more after them."""
        error: BusError
        for _ in range(TRIES):
            if limits.interval_s:
                await asyncio.sleep(limits.interval_s)
            try:
                data = await self._ask(self._codec.read(self.address, span, limits))
            except NoAnswer as silence:
                error = silence
                self._silences += 1
                if self._silences >= SILENCES_TO_GIVE_UP:
                    raise
            except Refused as refusal:
                self._silences = 0
                return refusal
            except GarbledAnswer as garbage:
                error = garbage
            else:
                self._silences = 0
                return data
        return error if isinstance(error, GarbledAnswer) else GarbledAnswer(str(error))


async def proposals(
    tried: Tried, candidates: Mapping[str, PolledProfile], identity: str, most: int = 3
) -> AsyncIterator[Proposal]:
    """The best of the candidates, best first. identity: what the device says of itself."""
    found: list[Proposal] = []
    for name, profile in candidates.items():
        sure = names(identity, profile)
        try:
            fit = await tried.fit(name, profile)
        except (LinkError, NoAnswer):
            break
        if fit.fits and fit.weight > 0:
            found.append(Proposal(name, f"{profile.maker} {profile.model}", round(fit.weight, 3), sure, fit.values))
        await asyncio.sleep(0)
    found.sort(key=lambda one: (not one.sure, -one.weight))
    for one in found[:most]:
        yield one


def names(identity: str, profile: PolledProfile) -> bool:
    """Whether what a device says of itself names this maker and model."""
    said = re.sub(r"[^a-z0-9]", "", identity.lower())
    maker = re.sub(r"[^a-z0-9]", "", profile.maker.lower())
    models = [re.sub(r"[^a-z0-9]", "", part) for part in re.split(r"[ ,/()]+", profile.model.lower())]
    return bool(said) and maker in said and any(len(model) > 2 and model in said for model in models)


def lone(name: str, profile: PolledProfile, address: int) -> Device:
    """A device of that profile at an address, of no site."""
    points: dict[str, AnyPoint] = {point.name: point for point in profile.point}
    return Device("?", name, profile, "", address, "", duration_s(profile.every), points)


def _some(blocks: Sequence[Block]) -> list[Block]:
    """The blocks that say most."""
    return sorted(blocks, key=lambda block: -len(block.columns))[:MOST_BLOCKS]


def _weight(point: AnyPoint, value: float | None) -> float:
    """How much a possible value proves."""
    if value is None or not math.isfinite(value) or value == 0:
        return 0.0
    form = point.form
    if form is None:
        return 1.0
    if form.type in ("f32", "f64"):
        # A number of a believable size: random bits, or swapped words, mostly make one that is far too small.
        return 3.0 if 1e-3 <= abs(value) <= 1e7 else -1.0
    if point.labels or UNITS[point.unit].quantity == "number" or form.type == "bit":
        return 0.1
    return 1.5 if form.size > 2 else 1.0
