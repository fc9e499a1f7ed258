"""Whether a value is believable: a verdict with its reasons. That a device answers does not make its value right.

Four tests. *Range*: what the sensor can give, and what is usual for such a quantity. *Coherence*: a counter does not fall,
power has a sign and a bound, water does not flow uphill, one meter is not two. *Life*: a quantity that never moves is
suspect. *Provocation*: somebody changes it on purpose, and it shows. The readings are those of polling, made by the same
visits; a check only has them made more often. Who knows better may accept a doubtful value, with a reason, which stays in
the report.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any, Literal

from gateway.errors import WishError
from gateway.hear import HeardBus
from gateway.language import say, words_given
from gateway.point import AnyPoint
from gateway.poll import PolledBus
from gateway.progress import Progress
from gateway.reading import FlawKind, Quality
from gateway.site import Device
from gateway.unit import UNITS, convert

if TYPE_CHECKING:
    from gateway.app import Gateway

READS = 18
PACE_S = 0.5
LISTEN_S = 60.0
PROVOKE_S = 30.0
SLOW_S = 600.0
"""A slow quantity may stand still that long."""
LIVELY = (
    "pressure",
    "flow",
    "voltage",
    "current",
    "power",
    "apparent power",
    "frequency",
    "speed",
    "rotation",
    "acceleration",
)
"""Quantities that move within seconds, where their sensor lives."""
COUNTED = ("volume", "energy", "reactive energy", "apparent energy")
USUAL: dict[tuple[str, str], tuple[float, float, str]] = {
    ("energy_meter", "voltage"): (195.5, 440.0, "V"),
    ("energy_meter", "frequency"): (49.0, 51.0, "Hz"),
    ("pressure_sensor", "pressure"): (0.3, 16.0, "bar"),
    ("heating", "temperature"): (-30.0, 110.0, "Cel"),
    ("weather", "temperature"): (-40.0, 55.0, "Cel"),
    ("water_meter", "temperature"): (0.0, 35.0, "Cel"),
}
"""By kind of device and quantity: what is usual where it works; a value beyond it is doubted. 230 V mains less 15 %, up to
400 V between phases and 10 % (EN 50160); drinking water in mains."""
UPSTREAM = (("amont", "aval"), ("entree", "sortie"), ("upstream", "downstream"), ("inlet", "outlet"))
UPHILL_BAR = 0.1

TestName = Literal["range", "coherence", "life", "provocation"]
Outcome = Literal["ok", "doubt", "bad", "skipped"]
Verdict = Literal["plausible", "doubtful", "wrong", "no_value", "accepted"]


@dataclass(frozen=True, slots=True)
class CheckWish:
    """point: `device/point`, a device, or empty for all. reads: values of each point to judge by. provoke: wait for a change
    on purpose. accept: why a value is taken although it is doubted. by: who checks."""

    point: str = ""
    reads: int = READS
    provoke: bool = False
    accept: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class Test:
    """One test and what it found, in words."""

    name: TestName
    outcome: Outcome
    said: str


@dataclass(frozen=True, slots=True)
class Checked:
    """A point's verdict. reads: values it rests on. time_s: of the last of them; at_s: of the verdict. reason: why it was
    accepted, or why there is no value. by: who checked."""

    point: str
    value: float | None
    unit: str
    verdict: Verdict
    tests: tuple[Test, ...]
    reads: int
    time_s: float | None
    at_s: float
    by: str = ""
    reason: str = ""
    kind: Literal["checked"] = "checked"

    @property
    def fine(self) -> bool:
        return self.verdict in ("plausible", "accepted")


async def check(gateway: Gateway, wish: CheckWish) -> AsyncGenerator[Progress | Checked, None]:
    """Reads, judges, remembers each verdict for the report. Raises WishError for a point that there is not."""
    wanted = selected(gateway, wish.point)
    by, reason = words_given("--by", wish.by, 200), words_given("--accept", wish.accept)
    if reason and len(wanted) != 1:
        raise WishError(say("accepter : un seul point à la fois, guet check APPAREIL/POINT --accept RAISON",
                            "accept: one point at a time, guet check DEVICE/POINT --accept REASON"))  # fmt: skip
    if wish.provoke and len(wanted) != 1:
        raise WishError(say("un seul essai à la fois : guet check APPAREIL/POINT --provoke",
                            "one provocation at a time: guet check DEVICE/POINT --provoke"))  # fmt: skip
    if not 1 <= wish.reads <= 1000:
        raise WishError(say(f"--reads : attendu 1 à 1000, reçu {wish.reads}",
                            f"--reads: expected 1 to 1000, got {wish.reads}"))  # fmt: skip
    devices = list({device.name: device for device, _ in wanted}.values())
    async for progress in _read(gateway, devices, wish.reads):
        yield progress
    provoked: Test | None = None
    if wish.provoke:
        device, name = wanted[0]
        async for found in _provoke(gateway, device, name):
            if isinstance(found, Test):
                provoked = found
            else:
                yield found
    for device, name in wanted:
        checked = replace(examined(gateway, device, name, provoked), by=by)
        if reason and not checked.fine:
            checked = replace(checked, verdict="accepted", reason=reason)
        await remember(gateway, checked)
        yield checked


def selected(gateway: Gateway, point: str) -> list[tuple[Device, str]]:
    """The points that a name means: one, those of a device, or all that are read. Raises WishError."""
    site = gateway.site
    device_name, slash, name = point.partition("/")
    if device_name and device_name not in site.devices:
        known = ", ".join(site.devices)
        raise WishError(say(f"{point!r} : pas d'appareil {device_name!r} sur ce site ; connus : {known}",
                            f"{point!r}: there is no device {device_name!r} on this site; known: {known}"))  # fmt: skip
    found = [
        (device, own)
        for device in site.devices.values()
        if device.name == device_name or not device_name
        for own, described in device.points.items()
        if (own == name or not slash) and not described.write_only and device.bus
    ]
    if not found:
        known = ", ".join(site.devices[device_name].points) if device_name else ""
        raise WishError(say(f"{point!r} : pas de point à lire de ce nom ; il y a : {known}",
                            f"{point!r}: no point of that name can be read; there are: {known}"))  # fmt: skip
    return found


async def remember(gateway: Gateway, checked: Checked) -> None:
    """Keeps a verdict for the report; an acceptance also goes to the platform, as any decision of a person."""
    audits: list[tuple[float, dict[str, Any]]] = []
    if checked.verdict == "accepted":
        audit = {"what": "check accepted", "point": checked.point, "reason": checked.reason, "by": checked.by}
        audits.append((checked.at_s, audit))
    await gateway.store.decide({f"check/{checked.point}": asdict(checked)}, audits=audits)


def remembered(gateway: Gateway, point: str) -> Checked | None:
    """The last verdict on a point; None where it was never checked."""
    body = gateway.store.state(f"check/{point}")
    if body is None:
        return None
    return Checked(**{**body, "tests": tuple(Test(**test) for test in body["tests"])})


# -- reading -----------------------------------------------------------------------------------------------------------


async def _read(gateway: Gateway, devices: Sequence[Device], reads: int) -> AsyncGenerator[Progress, None]:
    """Has every device visited until its points have so many values, all in turn; those on radios are listened to."""
    polled = [(device, bus) for device in devices if isinstance(bus := gateway.buses.get(device.bus), PolledBus)]
    silent: set[str] = set()
    loop = asyncio.get_running_loop()
    for turn in range(reads):
        began_s = loop.time()
        for device, bus in polled:
            if device.name in silent:
                continue
            for visit in [visit for visit in bus.visits if visit.device.name == device.name and not visit.absent]:
                await bus.visit(visit)
            if bus.health[device.name].failures_in_a_row > 1:
                silent.add(device.name)  # two silences in a row: it does not keep the others waiting
        if len(silent) == len(polled):
            break
        yield Progress(turn + 1, reads, say(f"lecture {turn + 1} sur {reads}", f"reading {turn + 1} of {reads}"))
        if turn + 1 < reads:
            await asyncio.sleep(max(0.0, began_s + PACE_S - loop.time()))
    heard = [(device, bus) for device in devices if isinstance(bus := gateway.buses.get(device.bus), HeardBus)]
    if heard:
        async for progress in _hear(gateway, heard):
            yield progress


async def _hear(gateway: Gateway, heard: Sequence[tuple[Device, HeardBus]]) -> AsyncGenerator[Progress, None]:
    """Waits until each device was heard once, LISTEN_S at the most."""
    own = {} if gateway.running_since_s is not None else {bus.name: bus for _, bus in heard}
    tasks = [asyncio.create_task(bus.run(), name=f"bus {name}") for name, bus in own.items()]
    try:
        for second in range(int(LISTEN_S)):
            missing = [device.name for device, bus in heard if bus.health[device.name].last_answer_s is None]
            if not missing:
                return
            names = ", ".join(missing)
            yield Progress(second, int(LISTEN_S), say(f"à l'écoute : {names}", f"listening: {names}"))
            await asyncio.sleep(1.0)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _provoke(gateway: Gateway, device: Device, name: str) -> AsyncGenerator[Progress | Test, None]:
    """Asks for a change, and watches for it."""
    bus = gateway.buses.get(device.bus)
    before = [value for value in _values(gateway, device, name)[-READS:] if value is not None]
    if not before:
        yield Test("provocation", "skipped", say("pas de valeur avant l'essai", "no value before the attempt"))
        return
    quiet, least = fmean(before), threshold(before, device.points[name])
    shown = UNITS[device.points[name].unit].shown
    yield Progress(0, int(PROVOKE_S), provocation(device.points[name]), ask=True)
    loop = asyncio.get_running_loop()
    end_s, moved = loop.time() + PROVOKE_S, 0.0
    while loop.time() < end_s:
        if isinstance(bus, PolledBus):
            for visit in [v for v in bus.visits if v.device.name == device.name and name in v.points]:
                await bus.visit(visit)
        value = _values(gateway, device, name)[-1]
        if value is not None and abs(value - quiet) > abs(moved):
            moved = value - quiet
        if abs(moved) > least:
            yield Test(
                "provocation", "ok", say(f"vu : {signed(moved)} {shown}", f"seen: {signed(moved)} {shown}").rstrip()
            )
            return
        left = int(end_s - loop.time())
        yield Progress(int(PROVOKE_S) - left, int(PROVOKE_S), say(f"encore {left} s", f"{left} s left"))
        await asyncio.sleep(PACE_S)
    most = f"{signed(moved)} {shown}".rstrip()
    said = say(f"rien vu en {PROVOKE_S:g} s (au plus {most}, attendu {number(least)})",
               f"nothing seen within {PROVOKE_S:g} s (at most {most}, expected {number(least)})")  # fmt: skip
    yield Test("provocation", "doubt", said)


def threshold(before: Sequence[float], point: AnyPoint) -> float:
    """A change that is no noise: six deviations of what was seen before, and two steps of what the number can say."""
    form = point.form
    step = abs(form.scale) if form is not None and form.type not in ("f32", "f64") else 0.0
    return max(6 * pstdev(before), 2 * step, 0.002 * abs(fmean(before)), 1e-6)


def provocation(point: AnyPoint) -> str:
    """What the person is asked to do."""
    match UNITS[point.unit].quantity:
        case "pressure" | "flow" | "volume" | "level" | "length":
            return say(
                "Fermez le robinet pendant dix secondes, puis rouvrez.", "Close the tap for ten seconds, then open it."
            )
        case "power" | "current" | "energy" | "apparent power" | "reactive power":
            return say("Coupez la charge pendant dix secondes, puis remettez-la.",
                       "Switch the load off for ten seconds, then on again.")  # fmt: skip
        case "temperature":
            return say(
                "Tenez la sonde dans la main pendant vingt secondes.", "Hold the probe in your hand for twenty seconds."
            )
    return say("Provoquez un changement pendant dix secondes.", "Make it change for ten seconds.")


# -- judging -----------------------------------------------------------------------------------------------------------


def examined(gateway: Gateway, device: Device, name: str, provoked: Test | None = None) -> Checked:
    """The verdict on a point from what has been read of it so far."""
    point, full = device.points[name], f"{device.name}/{name}"
    now_s = gateway.clock.now()
    latest = gateway.live.latest[device.name].get(name)
    series = [(at, value) for at, value in gateway.live.recent[device.name].curve(name) if value is not None]
    if latest is None or latest.value is None or latest.quality is Quality.BAD:
        reason = latest.said if latest is not None else say("pas encore lu", "not read yet")
        at_s = latest.time_s if latest is not None else None
        verdict: Verdict = "wrong" if latest is not None and latest.kind is FlawKind.OUT_OF_RANGE else "no_value"
        return Checked(full, None, point.unit, verdict, (), len(series), at_s, now_s, reason=reason)
    tests: tuple[Test, ...] = (
        _range(device, point, latest.value),
        _coherence(gateway, device, name, series),
        _life(point, series),
    )
    if provoked is not None:
        if provoked.outcome == "ok":
            said = say("a réagi à l'essai", "reacted to the provocation")
            tests = (*tests[:2], Test("life", "ok", said) if tests[2].outcome == "doubt" else tests[2])
        tests = (*tests, provoked)
    outcomes = {test.outcome for test in tests}
    verdict = "wrong" if "bad" in outcomes else "doubtful" if "doubt" in outcomes else "plausible"
    return Checked(full, latest.value, point.unit, verdict, tests, len(series), latest.time_s, now_s)


def _range(device: Device, point: AnyPoint, value: float) -> Test:
    shown = UNITS[point.unit].shown
    usual = USUAL.get((device.profile.kind, UNITS[point.unit].quantity))
    if point.unit == "K":  # of what is measured here, differences and colours are given in kelvins, and no warmth
        usual = None
    parts = []
    if point.range is not None:
        span = f"{number(point.range[0])} à {number(point.range[1])} {shown}".rstrip()
        parts.append(say(f"{span} capteur", span.replace(" à ", " to ") + " sensor"))
    if usual is not None:
        low, high = (convert(end, usual[2], point.unit) for end in usual[:2])
        span = f"{number(low)} à {number(high)} {shown}"
        parts.append(say(f"{span} d'habitude", span.replace(" à ", " to ") + " usual"))
        if not low <= value <= high:
            return Test("range", "doubt", ", ".join(parts))
    if not parts:
        return Test("range", "skipped", say("le profil ne donne pas de plage", "the profile gives no range"))
    return Test("range", "ok", ", ".join(parts))


def _coherence(gateway: Gateway, device: Device, name: str, series: Sequence[tuple[float, float]]) -> Test:
    point = device.points[name]
    quantity = UNITS[point.unit].quantity
    values = [value for _, value in series]
    if quantity in COUNTED and any(after < before for before, after in pairwise(values)):
        return Test("coherence", "bad", say("un compteur ne recule pas, celui-ci a reculé",
                                            "a counter does not fall, this one fell"))  # fmt: skip
    if (twin := _twin(gateway, device, name, values)) is not None:
        return Test("coherence", "doubt", say(f"les mêmes valeurs que {twin} : le même appareil lu deux fois ?",
                                              f"the same values as {twin}: one device read twice?"))  # fmt: skip
    if quantity == "power" and device.profile.kind == "energy_meter" and values and values[-1] < 0:
        return Test("coherence", "doubt", say("puissance négative : le tore est-il à l'envers ?",
                                              "power is negative: is the transformer the wrong way round?"))  # fmt: skip
    if (
        quantity == "power"
        and device.profile.kind == "energy_meter"
        and (bound := _apparent(gateway, device)) is not None
    ):
        watts = abs(convert(values[-1], point.unit, "W"))
        if watts > 1.1 * bound + 50:
            return Test("coherence", "bad", say(f"plus que tension × courant, {number(bound)} VA",
                                                f"more than voltage × current, {number(bound)} VA"))  # fmt: skip
        return Test("coherence", "ok", say(f"au plus tension × courant, {number(bound)} VA",
                                           f"at most voltage × current, {number(bound)} VA"))  # fmt: skip
    if quantity == "pressure" and (found := _downstream(gateway, device, name)) is not None:
        other, there, below = found
        here = convert(values[-1], point.unit, "bar")
        uphill = there - here if below else here - there
        said = f"{other} {number(there)} bar, {say('écart', 'difference')} {number(abs(here - there))}"
        return Test("coherence", "bad" if uphill > UPHILL_BAR else "ok", said)
    if quantity in COUNTED:
        return Test("coherence", "ok", say("n'a pas reculé", "has not fallen"))
    return Test("coherence", "skipped", say("aucun autre point pour comparer", "no other point to compare with"))


def _values(gateway: Gateway, device: Device, name: str) -> list[float | None]:
    return [value for _, value in gateway.live.recent[device.name].curve(name)]


def _twin(gateway: Gateway, device: Device, name: str, values: Sequence[float]) -> str | None:
    """Another device of the same model that gives exactly the same moving values."""
    recent = values[-8:]
    if len(recent) < 4 or len(set(recent)) < 3:
        return None
    for other in gateway.site.devices.values():
        if other.name != device.name and other.profile_name == device.profile_name:
            theirs = [value for value in _values(gateway, other, name) if value is not None]
            if theirs[-8:] == list(recent):
                return other.name
    return None


def _apparent(gateway: Gateway, device: Device) -> float | None:
    """The sum over phases of voltage times current, in VA; None where the device does not give both of one instant."""
    latest = gateway.live.latest[device.name]

    def of(quantity: str, unit: str) -> list[float]:
        found = []
        for name, point in device.points.items():
            reading = latest.get(name)
            if UNITS[point.unit].quantity == quantity and reading is not None and reading.value is not None:
                found.append(convert(reading.value, point.unit, unit))
        return found

    volts, amperes = of("voltage", "V"), of("current", "A")
    if not volts or not amperes:
        return None
    return max(volts) * sum(abs(ampere) for ampere in amperes)


def _downstream(gateway: Gateway, device: Device, name: str) -> tuple[str, float, bool] | None:
    """Of the same asset: the pressure on the other side, in bar, and whether it is below."""
    if not device.asset:
        return None
    for other in gateway.site.devices.values():
        if other.name == device.name or other.asset != device.asset:
            continue
        for up, down in UPSTREAM:
            below = up in device.name and down in other.name
            if not below and not (down in device.name and up in other.name):
                continue
            for own, point in other.points.items():
                reading = gateway.live.latest[other.name].get(own)
                if UNITS[point.unit].quantity == "pressure" and reading is not None and reading.value is not None:
                    return other.name, convert(reading.value, point.unit, "bar"), below
    return None


def _life(point: AnyPoint, series: Sequence[tuple[float, float]]) -> Test:
    values = [value for _, value in series][-max(READS, 60) :]
    quantity, count = UNITS[point.unit].quantity, len(values)
    shown = UNITS[point.unit].shown
    if count and len(set(values)) > 1:
        spread = f"{number(pstdev(values))} {shown}".rstrip()
        return Test(
            "life", "ok", say(f"{count} lectures, écart-type {spread}", f"{count} readings, deviation {spread}")
        )
    if point.labels or (quantity == "number" and (point.form is None or point.form.type not in ("f32", "f64"))):
        return Test("life", "skipped", say("un état peut rester le même", "a state may stay the same"))
    if quantity in COUNTED and values and values[-1] > 0:
        return Test("life", "skipped", say("un compteur peut attendre", "a counter may wait"))
    if count < READS:
        return Test(
            "life", "skipped", say(f"{count} lectures, trop peu pour juger", f"{count} readings, too few to judge")
        )
    span_s = series[-1][0] - series[-count][0]
    if quantity not in LIVELY and quantity not in COUNTED and span_s < SLOW_S:
        return Test(
            "life", "skipped", say("grandeur lente, trop tôt pour juger", "a slow quantity, too early to judge")
        )
    return Test("life", "doubt", say(f"n'a pas bougé en {count} lectures", f"has not moved in {count} readings"))


# -- words -------------------------------------------------------------------------------------------------------------


def number(value: float) -> str:
    """A number as people write it: four digits, no powers of ten, a comma in French."""
    if not math.isfinite(value):
        return str(value)
    text = f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if "e" in text:
        text = f"{value:.6f}".rstrip("0").rstrip(".")
    return say(text.replace(".", ","), text)


def signed(value: float) -> str:
    """The same with its sign."""
    return ("+" if value >= 0 else "−") + number(abs(value))


def verdict_words(verdict: Verdict) -> str:
    """A verdict in one word or two."""
    french, english = {
        "plausible": ("PLAUSIBLE", "PLAUSIBLE"), "doubtful": ("DOUTEUX", "DOUBTFUL"), "wrong": ("FAUX", "WRONG"),
        "no_value": ("SANS VALEUR", "NO VALUE"), "accepted": ("FORCÉ", "ACCEPTED"),
    }[verdict]  # fmt: skip
    return say(french, english)


def test_words(name: TestName) -> str:
    """A test's name for people."""
    french, english = {"range": ("plage", "range"), "coherence": ("cohérence", "coherence"), "life": ("vie", "life"),
                       "provocation": ("essai", "provocation")}[name]  # fmt: skip
    return say(french, english)


def outcome_words(outcome: Outcome) -> str:
    """What a test found, in a word."""
    french, english = {"ok": ("bon", "good"), "doubt": ("douteux", "doubtful"), "bad": ("faux", "wrong"),
                       "skipped": ("non jugé", "not judged")}[outcome]  # fmt: skip
    return say(french, english)


def lines(checked: Checked, width: int = 24) -> Iterator[str]:
    """A verdict for people."""
    value = "—" if checked.value is None else f"{number(checked.value)} {UNITS[checked.unit].shown}".rstrip()
    head = f"{checked.point:<{width}}  {value:>12}  {verdict_words(checked.verdict)}"
    yield f"{head}  {checked.reason}" if checked.reason else head
    for test in checked.tests:
        yield f"  {test_words(test.name):<12} {outcome_words(test.outcome):<10} {test.said}"
