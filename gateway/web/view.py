"""What the pages say: the gateway's state as plain values and words, without HTML. Every question to the store is
bounded in the rows it passes over.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gateway.alert import Alert, Confidence, iso
from gateway.errors import StoreError
from gateway.live import DeviceState
from gateway.reading import Quality, Reading, split_point
from gateway.site import Device
from gateway.watch import Watch
from gateway.web.picture import title_of
from gateway.web.words import EVIDENCE, FOLDERS, KINDS, OTHERS, QUALITIES, SEVERITIES, Speech

if TYPE_CHECKING:
    from gateway.app import Gateway

DEVICES_A_PAGE = 40
POINTS_A_DEVICE = 4
OPEN_ALERTS, PAST_ALERTS, ACTIONS, WATCHES = 20, 6, 6, 40
WAITING_COUNTED = 10_000

DeviceKind = Literal["works", "degraded", "silent", "waiting"]
_DEVICE_KINDS: Mapping[str, DeviceKind] = {"fonctionne": "works", "dégradé": "degraded", "muet": "silent"}
_FOLDERS = (*FOLDERS.values(), OTHERS)
_LOUDNESS = {"alert": 0, "degraded": 1, "waiting": 2, "works": 3}
_URGENCY = {"silent": 0, "degraded": 1, "waiting": 2, "works": 3}


@dataclass(frozen=True, slots=True)
class GatewayState:
    """kind names the colour and the icon; `words` is the sentence at the top, `details` what stands below it; `trouble`
    why the platform could not be reached, as the machine says it; `waiting` counted to WAITING_COUNTED + 1."""

    kind: Literal["works", "alone", "degraded"]
    words: str
    details: Sequence[str]
    waiting: int
    trouble: str


@dataclass(frozen=True, slots=True)
class PointView:
    """One point as it is shown. `number` and `unit` are text; quality is one of good, uncertain, bad, stale."""

    name: str
    title: str
    number: str
    unit: str
    label: str
    quality: str
    quality_words: str
    reason: str
    time_s: float | None
    personal: str


@dataclass(frozen=True, slots=True)
class DeviceView:
    """One device as it is shown. `why` is what the gateway says of it; empty while it works."""

    name: str
    folder: str
    kind: DeviceKind
    words: str
    why: str
    points: Sequence[PointView]
    last_s: float | None


@dataclass(frozen=True, slots=True)
class WatchView:
    """One watch as it is shown; `alert_id` of the alert that it has open, or empty."""

    name: str
    kind: Literal["works", "waiting", "degraded", "alert"]
    words: str
    detail: str
    purpose: str
    score: str
    judged_s: float | None
    alert_id: str


FALLBACK = "calculé par d'autres noyaux que ceux de la mesure : le score peut différer un peu"
"""What is said where the runtime could not start what the golden examples were made with."""

UNCHANGEABLE = "Inconnu : aucun changement de ce qui est nommé n'aurait suffi, ou le modèle ne sait pas le dire."
"""What is said of an alert without a counterfactual."""


def sure(speech: Speech, confidence: Confidence | None) -> str:
    """How sure an alert is, in words."""
    if confidence is None:
        return speech("Non étalonné : on ne sait pas quelle part de telles alertes est juste. Allez voir.")
    share, n = speech.whole(100 * confidence.value), speech.whole(confidence.n)
    if confidence.made == "simulated":
        french = "{share} % des {n} alertes d'un tel score étaient justes, mesuré en simulation."
    else:
        french = "{share} % des {n} alertes d'un tel score étaient justes, mesuré sur des enregistrements."
    return speech(french, share=share, n=n)


class View:
    """The gateway, in one language, at one moment."""

    unchangeable, fallback = UNCHANGEABLE, FALLBACK

    def __init__(self, gateway: Gateway, speech: Speech) -> None:
        self.gateway, self.speech = gateway, speech

    # -- the gateway as a whole ------------------------------------------------------------------------------------

    def state(self) -> GatewayState:
        """The gateway in words. A device that fails is the device's fault, not the gateway's; a bus on which nobody
        answers is."""
        gateway, say = self.gateway, self.speech
        faults = []
        if gateway.store.fault:
            refuses = say("la mémoire n'accepte plus rien")
            faults.append(f"{refuses} ({gateway.store.fault})")
        try:
            waiting = self._waiting()
            alone, details = self._alone(waiting)
        except StoreError as error:
            waiting, alone, details = 0, "", [str(error)]
            faults.append(say("la mémoire ne peut pas être lue"))
        if not gateway.clock.trusted:
            faults.append(say("l'heure n'est pas sûre"))
        faults += [say("aucun appareil ne répond sur le bus {bus}", bus=name) for name in self._dumb_buses()]
        if gateway.store.set_aside:
            details = [
                *details,
                say("La mémoire abîmée a été mise de côté : {path}", path=gateway.store.set_aside.name),
            ]
        trouble = gateway.uplink.trouble if gateway.uplink is not None and not gateway.uplink.connected else ""
        if faults:
            words = say("Dégradé : {why}", why=" ; ".join(faults))
            return GatewayState("degraded", words, [alone, *details] if alone else details, waiting, trouble)
        if alone:
            return GatewayState("alone", alone, details, waiting, trouble)
        return GatewayState("works", say("Fonctionne"), details, waiting, "")

    def _alone(self, waiting: int) -> tuple[str, list[str]]:
        """The sentence of a gateway without its platform, empty when it has it; and what is to be said below."""
        uplink, say = self.gateway.uplink, self.speech
        if uplink is None:
            return say("Fonctionne seul"), [say("aucune plateforme n'est configurée ; tout reste ici")]
        last_s = uplink.last_acknowledged_s
        if uplink.connected:
            if last_s is None:
                return "", [say("Reliée à la plateforme.")]
            return "", [say("Reliée à la plateforme ; dernière confirmation {when}.", when=say.ago(last_s))]
        since_s = last_s if last_s is not None else uplink.outbox.oldest_s()
        head = (
            say("Fonctionne seul") if since_s is None else say("Fonctionne seul depuis {since}", since=say.at(since_s))
        )
        cut = say("le réseau est coupé, {waiting} en attente", waiting=self._records(waiting))
        details = [say("Les mesures, les alertes et les actions continuent ; tout partira au retour du réseau.")]
        if (days := uplink.outbox.days_until_full()) is not None:
            details.append(say("Place sur le disque pour {n} jours sans réseau.", n=say.whole(days)))
        if last_s is not None:
            details.append(say("Dernière confirmation de la plateforme {when}.", when=say.ago(last_s)))
        return f"{head}{say.colon}{cut}", details

    def _records(self, count: int) -> str:
        say = self.speech
        if count > WAITING_COUNTED:
            return say("plus de {n} enregistrements", n=say.whole(WAITING_COUNTED))
        match count:
            case 0:
                return say("aucun enregistrement")
            case 1:
                return say("1 enregistrement")
        return say("{n} enregistrements", n=say.whole(count))

    def _waiting(self) -> int:
        """Records in the outbox, counted no further than is said."""
        sql = "select count(*) from (select 1 from outbox limit ?)"
        return int(self.gateway.store.rows(sql, (WAITING_COUNTED + 1,))[0][0])

    def days_until_full(self) -> float | None:
        """For how many days without the platform there is room; None when nobody can say."""
        uplink = self.gateway.uplink
        try:
            return None if uplink is None else uplink.outbox.days_until_full()
        except StoreError:
            return None

    def _dumb_buses(self) -> list[str]:
        return [
            name
            for name, bus in self.gateway.buses.items()
            if len(bus.health) > 1 and all(health.lost_since_s is not None for health in bus.health.values())
        ]

    # -- devices ---------------------------------------------------------------------------------------------------

    def devices(self) -> list[DeviceView]:
        """All of them, those that need somebody first, then by what they are for, then in the order of the site."""
        views = [self.device(state) for state in self.gateway.live.states()]
        return sorted(views, key=lambda view: (_URGENCY[view.kind], _FOLDERS.index(view.folder)))

    def device(self, state: DeviceState) -> DeviceView:
        device, say = state.device, self.speech
        kind = _DEVICE_KINDS.get(state.words.split()[0], "waiting")
        bus = self.gateway.buses.get(device.bus)
        health = bus.health.get(device.name) if bus else None
        read = self.gateway.live.latest[device.name]
        bad = next((reading for reading in read.values() if reading.quality is not Quality.GOOD), None)
        if kind == "degraded" and bad is None:
            kind = "works"  # only what was not due yet is missing
        why = say.told(bad.reason) if bad and kind in ("degraded", "silent") else ""
        match kind:
            case "works":
                words = say("fonctionne")
            case "degraded":
                words = say("dégradé")
                why = f"{title_of(self.gateway.site, bad.point)}{say.colon}{why}" if bad else ""
            case "silent":
                since_s = health.lost_since_s if health and health.lost_since_s is not None else state.last_answer_s
                words = say("muet") if since_s is None else say("muet depuis {since}", since=say.at(since_s))
            case "waiting":
                words = say("en attente de la première réponse")
        folder = device.profile_name.partition("/")[0]
        points = [self.point(device, reading) for reading in state.readings]
        newest_s = max((point.time_s for point in points if point.time_s is not None), default=None)
        return DeviceView(device.name, FOLDERS.get(folder, OTHERS), kind, words, why, points, newest_s)

    def point(self, device: Device, reading: Reading) -> PointView:
        say = self.speech
        _, name = split_point(reading.point)
        point = device.points[name]
        never = name not in self.gateway.live.latest[device.name]
        old = say.now_s - reading.time_s > max(3 * device.period_s(point), 60)
        quality = "stale" if old and reading.quality is Quality.GOOD else reading.quality.value
        return PointView(
            name=name,
            title=point.title or name,
            number=say.number(reading.value),
            unit=say.unit(reading.unit) if reading.value is not None else "",
            label="" if reading.value is None else point.labels.get(f"{reading.value:g}", ""),
            quality="never" if never else quality,
            quality_words=say("pas encore lu") if never else say(QUALITIES[quality]),
            reason="" if never else say.told(reading.reason) if reading.reason else "",
            time_s=None if never else reading.time_s,
            personal={"no": "", "indirect": say("Donnée personnelle indirecte"), "direct": say("Donnée personnelle")}[
                point.personal
            ],
        )

    def sheet(self, device: Device) -> list[tuple[str, str]]:
        """The device's data sheet, as label and text."""
        say, profile = self.speech, device.profile
        bus = self.gateway.buses.get(device.bus)
        health = bus.health.get(device.name) if bus else None
        last_s = health.last_answer_s if health else None
        rows = [
            ("Équipement", device.asset),
            ("Bus", f"{device.bus} ({self.gateway.site.buses[device.bus].protocol})" if device.bus else ""),
            ("Adresse", str(device.address)),
            ("Lu toutes les", say.duration(device.every_s)),
            ("Dernière réponse", f"{say.at(last_s)}, {say.ago(last_s)}" if last_s is not None else say("jamais")),
            ("Constructeur", profile.maker),
            ("Modèle", profile.model),
            ("Profil", device.profile_name),
            ("Source du profil", profile.source),
            ("Preuve", say(EVIDENCE[profile.evidence])),
            ("Mises en garde", " ".join(profile.caveats)),
        ]
        return [(say(label), text) for label, text in rows if text]

    # -- watches, alerts, actions ----------------------------------------------------------------------------------

    def watches(self) -> list[WatchView]:
        """Those that have something to say first."""
        views = [self.watch(watch) for watch in self.gateway.judge.watches.values()]
        return sorted(views, key=lambda view: _LOUDNESS[view.kind])[:WATCHES]

    def watch(self, watch: Watch) -> WatchView:
        say, card = self.speech, watch.model.card
        words, colon, detail = watch.says.partition(" : ")
        kind: Literal["works", "waiting", "degraded", "alert"]
        match words:
            case "normal":
                kind = "works"
            case "alerte":
                kind = "alert"
            case "données insuffisantes" | "apprend" | "pas encore jugé":
                kind = "waiting"
            case _:
                kind = "degraded"
        score = ""
        if watch.score is not None and watch.verdict is not None:
            score = say(
                "score {score}, seuil {threshold}",
                score=say.number(watch.score),
                threshold=say.number(watch.verdict.threshold),
            )
        if watch.model.fallback:
            score = " · ".join(filter(None, (score, say(FALLBACK))))
        if watch.model.refused:
            score = " · ".join(
                filter(None, (score, say("réseau non utilisé, la règle « {rule} » décide", rule=card.rule.name)))
            )
        return WatchView(
            watch.name, kind, say(words), say.told(detail) if colon else "", say.bilingual(card.purpose), score,
            watch.judged_until_s, watch.open.id if watch.open else "",
        )  # fmt: skip

    def alerts(self) -> tuple[list[Alert], list[Alert]] | None:
        """Those that last and those that are over, the newest first; None when the store cannot be read."""
        try:
            return self.open_alerts(), self.past_alerts()
        except StoreError:
            return None

    def open_alerts(self) -> list[Alert]:
        """Those that last, the newest first. Raises StoreError."""
        return self._alerts("where cleared_s is null order by raised_s desc limit ?", OPEN_ALERTS)

    def past_alerts(self) -> list[Alert]:
        """The last ones that are over, the newest first. Raises StoreError."""
        return self._alerts("where cleared_s is not null order by raised_s desc limit ?", PAST_ALERTS)

    def alert(self, name: str) -> Alert | None:
        found = self._alerts("where id = ?", name)
        return found[0] if found else None

    def _alerts(self, condition: str, value: str | int) -> list[Alert]:
        rows = self.gateway.store.rows(f"select body from alert {condition}", (value,))  # noqa: S608 - ours alone
        out = []
        for (body,) in rows:
            try:
                out.append(Alert.from_json(json.loads(body)))
            except (ValueError, KeyError, TypeError):
                continue  # what the disk has garbled is passed over, as the store does
        return out

    def devices_of(self, alert: Alert) -> list[str]:
        """The devices that an alert speaks of."""
        named = [alert.subject, *(reason.point.partition("/")[0] for reason in alert.reasons)]
        return [name for name in dict.fromkeys(named) if name in self.gateway.site.devices]

    def kind_words(self, alert: Alert) -> str:
        return self.speech(KINDS[alert.kind.value])

    def sure_words(self, alert: Alert) -> str:
        return sure(self.speech, alert.confidence)

    def severity_words(self, alert: Alert) -> str:
        return self.speech(SEVERITIES[alert.severity.value])

    def actions(self) -> list[dict[str, Any]]:
        """The last actions, the newest first."""
        say = self.speech
        out = []
        for done in reversed(self.gateway.actions[-ACTIONS:]):
            unit = self.gateway.site.point(done.action.point).unit
            read_back = say("rien relu")
            if done.read_back is not None:
                read_back = say("relu {value}", value=say.value(done.read_back, unit))
            out.append(
                {"done": done, "value": say.value(done.action.value, unit), "read_back": read_back,
                 "title": title_of(self.gateway.site, done.action.point), "device": split_point(done.action.point)[0]}
            )  # fmt: skip
        return out

    # -- for machines ----------------------------------------------------------------------------------------------

    def as_json(self) -> dict[str, Any]:
        """The overview for machines: what `/` shows, with UTC times, and units as UCUM codes."""
        gateway, state, now_s = self.gateway, self.state(), self.speech.now_s
        return {
            "gateway": gateway.site.gateway.id,
            "commune": gateway.site.gateway.commune,
            "time": iso(now_s),
            "time_trusted": gateway.clock.trusted,
            "state": state.kind,
            "words": state.words,
            "online": gateway.online,
            "waiting": state.waiting,
            "days_until_full": self.days_until_full(),
            "alerts": [alert.as_json() for alert in self.open_alerts()],
            "watches": [
                {
                    "name": watch.name,
                    "says": watch.says,
                    "score": _finite(watch.score),
                    "judged_until": _iso(watch.judged_until_s),
                }
                for watch in gateway.judge.watches.values()
            ],
            "devices": [self._device_json(found) for found in gateway.live.states()],
            "actions": [done.as_json() for done in reversed(gateway.actions[-ACTIONS:])],
        }

    def _device_json(self, state: DeviceState) -> dict[str, Any]:
        latest = self.gateway.live.latest[state.device.name]
        points = {
            name: {
                "value": _finite(reading.value), "unit": reading.unit,
                "quality": reading.quality.value, "reason": reading.reason,
                "time": iso(reading.time_s), "age_s": round(self.speech.now_s - reading.time_s, 1),
            }
            for name, reading in latest.items()
        }  # fmt: skip
        view = self.device(state)
        return {
            "name": state.device.name, "state": view.kind, "words": state.words,
            "last_answer": _iso(state.last_answer_s), "points": points,
        }  # fmt: skip


def _iso(time_s: float | None) -> str | None:
    return None if time_s is None else iso(time_s)


def _finite(value: float | None) -> float | None:
    """JSON knows no other numbers."""
    return value if value is not None and math.isfinite(value) else None
