"""How the page speaks: French, with English beside it; numbers, units, times and ages as people write them.

French is the source: a sentence stands in the code and in the templates in French, and WORDS gives its English. What the
gateway itself says (the reasons of an alert, an error of a device) is French; the few sentences of it that are fixed
stand in WORDS too, the rest is shown as it is and marked as French.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args
from zoneinfo import ZoneInfo

from gateway.alert import from_iso, iso
from gateway.language import say
from gateway.unit import UNITS
from gateway.web.session import Role

Lang = Literal["fr", "en"]
LANGS: tuple[Lang, ...] = get_args(Lang)

THIN = "\u202f"
"""Narrow space that does not break: between thousands, before a unit, before a colon."""

_MONTHS = {
    "fr": ("janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc."),
    "en": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
}
_DAYS = {
    "fr": ("lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche"),
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
}
_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")

WORDS: dict[str, str] = {
    # the frame
    "La veille du matériel communal": "The watch over municipal hardware",
    "Aller au contenu": "Skip to content",
    "Retour à la vue d'ensemble": "Back to the overview",
    "Figer la page": "Freeze the page",
    "Suivre en direct": "Follow live",
    "Actualiser": "Refresh",
    "Page locale de la passerelle {id}, heure de {zone}.": "Local page of gateway {id}, time zone {zone}.",
    "Vue d'ensemble": "Overview",
    # the gateway
    "Fonctionne": "Works",
    "Fonctionne seul depuis {since}": "Works alone since {since}",
    "Fonctionne seul": "Works alone",
    "Dégradé : {why}": "Degraded: {why}",
    "le réseau est coupé, {waiting} en attente": "the network is cut, {waiting} waiting",
    "aucune plateforme n'est configurée ; tout reste ici": "no platform is configured; everything stays here",
    "Les mesures, les alertes et les actions continuent ; tout partira au retour du réseau.":
        "Measuring, alerts and actions go on; everything will be sent when the network is back.",
    "Place sur le disque pour {n} jours sans réseau.": "Room on the disk for {n} days without network.",
    "Reliée à la plateforme ; dernière confirmation {when}.": "Connected to the platform; last confirmation {when}.",
    "Reliée à la plateforme.": "Connected to the platform.",
    "Dernière confirmation de la plateforme {when}.": "Last confirmation by the platform {when}.",
    "Dernier essai": "Last try",
    "l'heure n'est pas sûre": "the time cannot be trusted",
    "la mémoire n'accepte plus rien": "the store takes nothing more",
    "la mémoire ne peut pas être lue": "the store cannot be read",
    "aucun appareil ne répond sur le bus {bus}": "no device answers on bus {bus}",
    "aucun enregistrement": "no record",
    "1 enregistrement": "1 record",
    "{n} enregistrements": "{n} records",
    "plus de {n} enregistrements": "more than {n} records",
    "La mémoire abîmée a été mise de côté : {path}": "The damaged store was set aside: {path}",
    # the demo
    "Simulation": "Simulation",
    "Les appareils et l'heure sont simulés ; la passerelle est réelle.":
        "Devices and time are simulated; the gateway is real.",
    "heure {elapsed} sur {hours}": "hour {elapsed} of {hours}",
    "réseau coupé": "network cut",
    "réseau en service": "network up",
    "à {h} h": "at {h} h",
    "à venir": "to come",
    "Avancement de la simulation": "Progress of the simulation",
    # alerts
    "Alertes ouvertes": "Open alerts",
    "Aucune alerte ouverte.": "No open alert.",
    "Alertes terminées": "Past alerts",
    "Alerte": "Alert",
    "Voir l'alerte": "See the alert",
    "Fuite d'eau probable": "Probable water leak",
    "Luminaire en défaut probable": "Probable lamp failure",
    "Porte d'ascenseur en défaut probable": "Probable lift door failure",
    "Pompe en défaut probable": "Probable pump failure",
    "Consommation d'énergie anormale": "Abnormal energy use",
    "Bac bientôt plein": "Bin about to overflow",
    "Capteur en défaut": "Sensor fault",
    "Appareil sans données": "Device without data",
    "information": "information",
    "mineure": "minor",
    "majeure": "major",
    "critique": "critical",
    "Gravité": "Severity",
    "Début probable": "Probable onset",
    "Levée": "Raised",
    "Terminée": "Cleared",
    "dure encore": "still lasts",
    "après {duration}": "after {duration}",
    "levée {when}": "raised {when}",
    "terminée {when}": "cleared {when}",
    "Pourquoi": "Why",
    "pèse {share} %": "weighs {share}%",
    "Décision": "Decision",
    "Score": "Score",
    "Score {score} pour un seuil de {threshold} : une alerte est levée quand le score reste au-dessus du seuil.":
        "Score {score} against a threshold of {threshold}: an alert is raised when the score stays above the threshold.",
    "calculé par d'autres noyaux que ceux de la mesure : le score peut différer un peu":
        "computed by other kernels than those of the measurement: the score may differ a little",
    "réseau non utilisé, la règle « {rule} » décide": "network not used, the rule “{rule}” decides",
    "Second avis": "Second opinion",
    "Ce qui aurait changé la décision": "What would have changed the decision",
    "Inconnu : aucun changement de ce qui est nommé n'aurait suffi, ou le modèle ne sait pas le dire.":
        "Unknown: no change of what is named would have been enough, or the model cannot say.",
    "À quel point est-ce sûr ?": "How sure is it?",
    "{share} % des {n} alertes d'un tel score étaient justes, mesuré en simulation.":
        "{share}% of {n} alerts of such a score were right, as measured in simulation.",
    "{share} % des {n} alertes d'un tel score étaient justes, mesuré sur des enregistrements.":
        "{share}% of {n} alerts of such a score were right, as measured on recordings.",
    "Non étalonné : on ne sait pas quelle part de telles alertes est juste. Allez voir.":
        "Not calibrated: nobody knows what share of such alerts is right. Go and look.",
    "Le réseau de ce modèle n'est pas utilisé : trop peu meilleur que la règle simple « {rule} », qui décide.":
        "This model's neural network is not used: it is not enough better than the simple rule “{rule}”, which decides.",
    "La règle simple « {rule} » dit OUI aussi (score {score} ; oui au-dessus de 1).":
        "The simple rule “{rule}” says YES too (score {score}; yes above 1).",
    "La règle simple « {rule} » dit NON (score {score} ; oui au-dessus de 1) : regardez vous-même.":
        "The simple rule “{rule}” says NO (score {score}; yes above 1): look for yourself.",
    "Modèle": "Model",
    "Empreinte SHA-256": "SHA-256 fingerprint",
    "Une règle seule a décidé, sans réseau de neurones.": "A rule alone decided, without a neural network.",
    "Le modèle en service aujourd'hui a une autre empreinte que celui qui a levé cette alerte.":
        "The model in service today has another fingerprint than the one that raised this alert.",
    "À quoi il sert": "What it is for",
    "À quoi il ne sert pas": "What it is not for",
    "Les mesures brutes autour de l'alerte (CSV)": "The raw samples around the alert (CSV)",
    "Aucune mesure brute n'est gardée autour de cette alerte.": "No raw samples are kept around this alert.",
    "Mesures autour du début": "Measurements around the onset",
    "Aucun bilan n'est gardé pour ces points autour de cette date.":
        "No summary is kept for these points around that date.",
    "L'alerte demande à une personne d'aller voir ; elle ne décide de rien.":
        "The alert asks a person to go and look; it decides nothing.",
    "alerte": "alert",
    "début": "onset",
    "fin": "end",
    "avant le début": "before the onset",
    "depuis le début": "since the onset",
    # watches
    "Veilles": "Watches",
    "Aucune veille n'est configurée.": "No watch is configured.",
    "pas encore jugé": "not judged yet",
    "suspect, sous le seuil de décision": "suspect, below the threshold of decision",
    "apprend": "learning",
    "normal": "normal",
    "données insuffisantes": "not enough data",
    "score {score}, seuil {threshold}": "score {score}, threshold {threshold}",
    "jugé {when}": "judged {when}",
    # devices
    "Appareils": "Devices",
    "{ok} sur {n} fonctionnent": "{ok} of {n} work",
    "fonctionne": "works",
    "dégradé": "degraded",
    "muet": "silent",
    "muet depuis {since}": "silent since {since}",
    "en attente de la première réponse": "waiting for the first answer",
    "Eau": "Water",
    "Éclairage": "Lighting",
    "Ascenseurs": "Lifts",
    "Énergie": "Energy",
    "Déchets": "Waste",
    "Pompes": "Pumps",
    "Autres": "Others",
    "{n} points": "{n} points",
    "lu {when}": "read {when}",
    "pas encore lu": "not read yet",
    "aucune valeur": "no value",
    "Appareils suivants": "Next devices",
    "Appareils précédents": "Previous devices",
    "Appareils {first} à {last} sur {n}": "Devices {first} to {last} of {n}",
    "Point": "Point",
    "Qualité": "Quality",
    "bonne": "good",
    "douteuse": "uncertain",
    "mauvaise": "bad",
    "périmée": "stale",
    "Donnée personnelle indirecte": "Indirectly personal data",
    "Donnée personnelle": "Personal data",
    "Maintenant": "Now",
    "Courbes": "Curves",
    "Courbes suivantes": "Next curves",
    "Courbes précédentes": "Previous curves",
    "Points {first} à {last} sur {n}": "Points {first} to {last} of {n}",
    "Dernières lectures": "Latest readings",
    "Les derniers jours": "The last days",
    "Rien n'a encore été lu.": "Nothing was read yet.",
    "Voir le tableau": "See the table",
    "Période": "Period",
    "Min.": "Min.",
    "Moy.": "Mean",
    "Max.": "Max.",
    "toutes les lectures": "all readings",
    "moyenne {mean}, de {low} à {high}, {n} lectures": "mean {mean}, from {low} to {high}, {n} readings",
    "aucune valeur utilisable": "no usable value",
    "Le trait est la moyenne, la bande va du minimum au maximum.":
        "The line is the mean, the band goes from minimum to maximum.",
    "Fiche de l'appareil": "Device sheet",
    "Profil": "Profile",
    "Constructeur": "Maker",
    "Type": "Kind",
    "Source du profil": "Source of the profile",
    "Preuve": "Evidence",
    "Mises en garde": "Caveats",
    "Bus": "Bus",
    "Adresse": "Address",
    "Équipement": "Asset",
    "Lu toutes les": "Read every",
    "Dernière réponse": "Last answer",
    "jamais": "never",
    "code en usage quotidien ailleurs": "code in daily use elsewhere",
    "texte du constructeur": "the maker's text",
    "collection d'un tiers": "a third party's collection",
    "norme": "a standard",
    "notre micrologiciel ou enregistrement": "our own firmware or recording",
    # actions
    "Dernières actions": "Latest actions",
    "Aucune action depuis le démarrage.": "No action since the start.",
    "Action": "Action",
    "relu {value}": "read back {value}",
    "rien relu": "nothing read back",
    "confirmée": "confirmed",
    "non confirmée": "not confirmed",
    "réseau coupé à ce moment": "network cut at that moment",
    # what the gateway itself says, word for word
    "aucune réponse : vérifier l'alimentation, le câblage, l'adresse": "no answer: check power, wiring, address",
    "réponse brouillée : vérifier vitesse, parité, ou deux appareils à la même adresse":
        "garbled answer: check speed, parity, or two devices at one address",
    "l'appareil dit qu'il n'a pas de valeur": "the device says that it has no value",
    # errors
    "Page introuvable": "Page not found",
    "Il n'y a pas d'appareil de ce nom sur ce site. Appareils connus : {known}.":
        "There is no device of that name on this site. Known devices: {known}.",
    "Il n'y a pas d'alerte de ce nom dans la mémoire de la passerelle. Les alertes connues sont dans la vue d'ensemble.":
        "There is no alert of that name in the gateway's store. The known alerts are on the overview.",
    "Cette adresse ne mène à rien ici. Repartez de la vue d'ensemble.":
        "This address leads nowhere here. Start again from the overview.",
    "La page n'a pas pu être faite": "The page could not be made",
    "La passerelle, elle, continue. Réessayez ; si cela dure, le journal de la passerelle dit pourquoi.":
        "The gateway itself goes on. Try again; if it lasts, the gateway's log says why.",
}  # fmt: skip

KINDS = {
    "leak": "Fuite d'eau probable",
    "lamp_failure": "Luminaire en défaut probable",
    "lift_failure": "Porte d'ascenseur en défaut probable",
    "pump_failure": "Pompe en défaut probable",
    "energy_anomaly": "Consommation d'énergie anormale",
    "bin_overflow": "Bac bientôt plein",
    "sensor_fault": "Capteur en défaut",
    "no_data": "Appareil sans données",
}
SEVERITIES = {"info": "information", "minor": "mineure", "major": "majeure", "critical": "critique"}
QUALITIES = {"good": "bonne", "uncertain": "douteuse", "bad": "mauvaise", "stale": "périmée"}
EVIDENCE = {
    "source": "code en usage quotidien ailleurs",
    "manual": "texte du constructeur",
    "library": "collection d'un tiers",
    "standard": "norme",
    "own": "notre micrologiciel ou enregistrement",
}
FOLDERS = {
    "water": "Eau",
    "lighting": "Éclairage",
    "lift": "Ascenseurs",
    "energy": "Énergie",
    "waste": "Déchets",
    "pump": "Pompes",
}
"""What devices are for, by the folder of their profile, in the order of the page."""
OTHERS = "Autres"


def role_words(role: Role) -> str:
    """A role for people."""
    french, english = {
        Role.NOBODY: ("personne", "nobody"), Role.VIEWER: ("lecteur", "viewer"),
        Role.TECHNICIAN: ("technicien", "technician"), Role.OFFICER: ("agent responsable", "officer"),
    }[role]  # fmt: skip
    return say(french, english)


@dataclass(frozen=True, slots=True)
class Speech:
    """One language, in one time zone, at one moment (`now_s`, site time, UTC seconds)."""

    lang: Lang
    zone: ZoneInfo
    now_s: float

    def __call__(self, french: str, **values: object) -> str:
        """A sentence of WORDS; `values` fill its braces."""
        text = french if self.lang == "fr" else WORDS.get(french, french)
        return text.format(**values) if values else text

    @property
    def colon(self) -> str:
        return "\u00a0: " if self.lang == "fr" else ": "

    def known(self, french: str) -> bool:
        """Whether this sentence can be said in this language."""
        return self.lang == "fr" or french in WORDS

    def told(self, french: str) -> str:
        """What the gateway says (see the module), with its UTC times as local ones."""
        return _ISO.sub(lambda found: self.at(from_iso(found[0])), self(french))

    def bilingual(self, text: str) -> str:
        """The half of `French / English` to be read; all of it where there are not two."""
        french, slash, english = text.partition(" / ")
        return english if slash and self.lang == "en" else french

    def number(self, value: float | None) -> str:
        """About three figures, whole numbers whole; a decimal comma in French."""
        if value is None or not math.isfinite(value):
            return "–"
        size = abs(value)
        if size >= 1e9 or (size != 0 and size < 5e-4):
            text = f"{value:.2e}"
        elif value == int(value):
            text = f"{value:,.0f}"
        else:
            text = f"{value:,.{0 if size >= 1000 else 1 if size >= 10 else 2 if size >= 1 else 3}f}"
        return self._local(text)

    def fixed(self, value: float, decimals: int) -> str:
        return self._local(f"{value:,.{decimals}f}")

    def whole(self, value: float) -> str:
        return self._local(f"{value:,.0f}")

    def _local(self, text: str) -> str:
        """Thousands and decimals of `text`, which has them as Python writes them, and a real minus."""
        if self.lang == "fr":
            text = text.replace(",", THIN).replace(".", ",")
        return text.replace("-", "−")

    def unit(self, unit: str) -> str:
        """As it is written behind a value, with the space before it; nothing for numbers."""
        shown = UNITS[unit].shown if unit in UNITS else unit
        return f"\u00a0{shown}" if shown else ""

    def value(self, value: float | None, unit: str) -> str:
        return self.number(value) + (self.unit(unit) if value is not None else "")

    def duration(self, seconds: float) -> str:
        """`45 s`, `12 min`, `3 h 20 min`, `2 j 4 h`."""
        day = "j" if self.lang == "fr" else "d"
        seconds = max(0.0, seconds)
        if seconds < 90:
            return f"{seconds:.0f}\u00a0s"
        minutes = round(seconds / 60)
        if minutes < 90:
            return f"{minutes}\u00a0min"
        hours = minutes // 60
        if hours < 12:
            return f"{hours}\u00a0h" + (f"\u00a0{minutes % 60:02d}\u00a0min" if minutes % 60 else "")
        if hours < 48:
            return f"{round(minutes / 60)}\u00a0h"
        days = round(hours / 24)
        return f"{days}\u00a0{day}"

    def ago(self, time_s: float) -> str:
        """`il y a 3 min`. What lies ahead, after a clock was put back, is now."""
        said = self.duration(self.now_s - time_s)
        return f"il y a {said}" if self.lang == "fr" else f"{said} ago"

    def local(self, time_s: float) -> datetime:
        return datetime.fromtimestamp(time_s, self.zone)

    def clock(self, time_s: float) -> str:
        """`02:14`."""
        return self.local(time_s).strftime("%H:%M")

    def day(self, time_s: float) -> str:
        """`22 nov.`"""
        when = self.local(time_s)
        return f"{when.day}\u00a0{_MONTHS[self.lang][when.month - 1]}"

    def at(self, time_s: float) -> str:
        """`02:14` today, `22 nov. 02:14` on another day, with the year in another year."""
        when, now = self.local(time_s), self.local(self.now_s)
        if when.date() == now.date():
            return self.clock(time_s)
        year = f"\u00a0{when.year}" if when.year != now.year else ""
        return f"{self.day(time_s)}{year}\u00a0{self.clock(time_s)}"

    def second(self, time_s: float) -> str:
        """`02:14:05`."""
        return f"{self.local(time_s):%H:%M:%S}"

    def full(self, time_s: float) -> str:
        """`dimanche 22 nov. 2026, 02:14`."""
        when = self.local(time_s)
        return f"{_DAYS[self.lang][when.weekday()]} {self.day(time_s)} {when.year}, {self.clock(time_s)}"

    def iso(self, time_s: float) -> str:
        """For machines: the `datetime` of a <time>."""
        return iso(time_s)
