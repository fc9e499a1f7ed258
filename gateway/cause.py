"""Causes that a technician is told, each with a stable id: one sentence, one action.

The ids are a contract with docs/guide (a test holds the two together): an id is never reused, a sentence may be reworded.
The hundreds say where on the way from the supply to the platform: 1 supply, 2 port, 3 bus, 4 address, 5 register, 6 value,
7 store, 8 platform.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from gateway.language import say


class _Words(NamedTuple):
    """What is wrong and what to do, French and English, with the facts in braces."""

    french: str
    english: str
    do_french: str
    do_english: str


@dataclass(frozen=True, slots=True)
class Cause:
    """One cause as it is told now. id: empty where nothing is wrong."""

    id: str
    sentence: str
    action: str


CAUSES: Mapping[str, _Words] = {
    "GUET-101": _Words(
        "La passerelle a manqué de tension", "The gateway's supply was too low",
        "Changez son alimentation ou son câble d'alimentation.", "Change its supply or its supply cable."),
    "GUET-102": _Words(
        "La passerelle ne tourne pas : personne ne lit ni ne garde les mesures",
        "The gateway does not run: nobody reads or keeps values",
        "Démarrez-la : sudo systemctl start guet.", "Start it: sudo systemctl start guet."),
    "GUET-201": _Words(
        "Le port {port} n'existe pas", "The port {port} does not exist",
        "Rebranchez l'adaptateur, puis comparez avec /dev/serial/by-path. Présents : {there}.",
        "Plug the adapter in again, then compare with /dev/serial/by-path. There are: {there}."),
    "GUET-202": _Words(
        "Le port {port} est pris par un autre programme", "The port {port} is held by another program",
        "Arrêtez cet autre programme (fuser {port} le nomme).", "End that other program (fuser {port} names it)."),
    "GUET-203": _Words(
        "Le port {port} est interdit à cet utilisateur", "This user may not open the port {port}",
        "Ajoutez l'utilisateur au groupe dialout, puis reconnectez-vous.",
        "Add the user to the group dialout, then sign in again."),
    "GUET-204": _Words(
        "Pas de connexion à {port}", "No connection to {port}",
        "Vérifiez le câble réseau et l'alimentation de l'appareil, puis son adresse ({said}).",
        "Check the network cable and the device's supply, then its address ({said})."),
    "GUET-205": _Words(
        "La radio Bluetooth {port} ne peut pas servir", "The Bluetooth radio {port} cannot be used",
        "{said}", "{said}"),
    "GUET-206": _Words(
        "Le port {port} s'ouvre mais ne marche pas", "The port {port} opens and does not work",
        "Rebranchez l'adaptateur ; s'il recommence, changez-le ({said}).",
        "Plug the adapter in again; if it goes on, change it ({said})."),
    "GUET-301": _Words(
        "Aucun appareil ne répond sur le bus {bus}", "No device answers on the bus {bus}",
        "Vérifiez l'alimentation des appareils, puis les fils A et B (essayez de les échanger) ; puis : guet scan.",
        "Check the devices' supply, then wires A and B (try to swap them); then: guet scan."),
    "GUET-302": _Words(
        "Tout ce qui vient du bus {bus} est brouillé", "All that comes from the bus {bus} is garbled",
        "Vitesse ou parité fausse : lancez guet scan, qui essaie les autres réglages.",
        "Wrong speed or parity: run guet scan, which tries the other settings."),
    "GUET-303": _Words(
        "La ligne du bus {bus} n'est jamais silencieuse", "The line of the bus {bus} is never silent",
        "Débranchez les appareils l'un après l'autre : l'un d'eux parle sans qu'on l'interroge.",
        "Unplug the devices one after the other: one of them speaks unasked."),
    "GUET-304": _Words(
        "Le bus {bus} est réglé sur {line}, ses appareils répondent en {found}",
        "The bus {bus} is set to {line}, its devices answer at {found}",
        'Écrivez line = "{found}" pour ce bus dans le fichier du site.',
        'Write line = "{found}" for this bus in the site file.'),
    "GUET-305": _Words(
        "À l'adresse {address} du bus {bus} l'appareil est réglé sur {found}, le bus sur {line}",
        "At address {address} of the bus {bus} the device is set to {found}, the bus to {line}",
        "Réglez cet appareil sur {line}, comme les autres.", "Set this device to {line}, like the others."),
    "GUET-306": _Words(
        "Aucun appareil ne répond sur le bus {bus}, à aucun des réglages essayés ({lines})",
        "No device answers on the bus {bus}, at none of the settings tried ({lines})",
        "Vérifiez l'alimentation des appareils, puis les fils A et B (échangez-les), puis la parité réglée sur eux.",
        "Check the devices' supply, then wires A and B (try to swap them), then the parity that is set on them."),
    "GUET-307": _Words(
        "Sur le bus CAN {bus} il n'y a aucune trame", "There is no frame at all on the CAN bus {bus}",
        "Vérifiez le débit ({rate} bit/s), les fils CAN-H et CAN-L, puis l'alimentation de la commande.",
        "Check the bit rate ({rate} bit/s), wires CAN-H and CAN-L, then the controller's supply."),
    "GUET-401": _Words(
        "À l'adresse {address} rien ne répond, alors que le reste du bus répond",
        "At address {address} nothing answers, while the rest of the bus does",
        "Vérifiez l'alimentation de {device}, puis son connecteur, puis l'adresse réglée sur l'appareil.",
        "Check the supply of {device}, then its connector, then the address that is set on it."),
    "GUET-402": _Words(
        "À l'adresse {address} la réponse est brouillée, alors que le reste du bus est net",
        "At address {address} the answer is garbled, while the rest of the bus is clear",
        "Deux appareils à cette adresse : débranchez-en un, puis : guet scan --address {address}.",
        "Two devices at this address: unplug one, then: guet scan --address {address}."),
    "GUET-403": _Words(
        "{device} n'est pas entendu, alors que la radio entend d'autres appareils",
        "{device} is not heard, while the radio hears other devices",
        "Changez sa pile, puis rapprochez-le ; vérifiez son adresse {address}.",
        "Change its battery, then bring it closer; check its address {address}."),
    "GUET-404": _Words(
        "La radio du bus {bus} n'entend rien du tout", "The radio of the bus {bus} hears nothing at all",
        "Vérifiez l'antenne et le Bluetooth de la passerelle ({said}).",
        "Check the antenna and the gateway's Bluetooth ({said})."),
    "GUET-405": _Words(
        "{device} est attendu à l'adresse {address}, mais c'est à l'adresse {found} que ce modèle répond",
        "{device} is expected at address {address}, but it is at address {found} that this model answers",
        "Réglez l'appareil sur {address}, ou écrivez address = {found} pour lui dans le fichier du site.",
        "Set the device to {address}, or write address = {found} for it in the site file."),
    "GUET-406": _Words(
        "{device} (adresse {address}) et {other} (adresse {found}) sont échangés",
        "{device} (address {address}) and {other} (address {found}) are swapped",
        "Échangez les adresses sur les deux appareils, ou dans le fichier du site.",
        "Swap the addresses on both devices, or in the site file."),
    "GUET-407": _Words(
        "Un appareil inattendu répond à l'adresse {address}", "A device that nobody expects answers at address {address}",
        "Ajoutez-le au fichier du site, ou débranchez-le.", "Add it to the site file, or unplug it."),
    "GUET-408": _Words(
        "À l'adresse {address} rien ne répond, et le bus n'a pas d'autre appareil auquel comparer",
        "At address {address} nothing answers, and the bus has no other device to compare with",
        "Vérifiez l'alimentation de {device}, les fils A et B, son adresse ; puis : guet scan.",
        "Check the supply of {device}, wires A and B, its address; then: guet scan."),
    "GUET-409": _Words(
        "{device} n'est pas entendu, alors que d'autres nœuds du bus {bus} le sont",
        "{device} is not heard, while other nodes of the bus {bus} are",
        "Vérifiez son alimentation et son numéro de nœud {address}, puis les identifiants de son profil.",
        "Check its supply and its node id {address}, then the identifiers of its profile."),
    "GUET-501": _Words(
        "{device} répond, mais n'a pas le registre de {point}", "{device} answers, but has no register for {point}",
        "Mauvais profil ou autre version de l'appareil : lancez guet scan --address {address}, qui en propose.",
        "Wrong profile or another version of the device: run guet scan --address {address}, which proposes some."),
    "GUET-502": _Words(
        "{device} refuse de donner {point} ({said})", "{device} refuses to give {point} ({said})",
        "Attendez une minute et recommencez ; si cela dure, redémarrez l'appareil.",
        "Wait a minute and try again; if it goes on, restart the device."),
    "GUET-503": _Words(
        "{point} ne se lit pas : il s'écrit seulement", "{point} cannot be read: it is only written",
        "Rien à faire : la confirmation d'écriture est dans le journal des actions.",
        "Nothing to do: the confirmation of writing is in the record of actions."),
    "GUET-504": _Words(
        "À l'adresse {address} le profil {profile} ne convient pas, {found} donne des valeurs crédibles",
        "At address {address} the profile {profile} does not fit, {found} gives credible values",
        'Comparez avec l\'étiquette de l\'appareil, puis écrivez profile = "{found}" pour {device}.',
        'Compare with the device\'s label, then write profile = "{found}" for {device}.'),
    "GUET-505": _Words(
        "{device} refuse que ses registres soient lus ensemble", "{device} refuses to have its registers read together",
        "Dans son profil, donnez un max_read ou un max_hole plus petit.",
        "In its profile, give a smaller max_read or max_hole."),
    "GUET-506": _Words(
        "À l'adresse {address} l'appareil répond, mais le profil {profile} ne convient pas",
        "At address {address} the device answers, but the profile {profile} does not fit",
        "Relevez le modèle sur l'étiquette de {device} et choisissez son profil.",
        "Read the model on the label of {device} and choose its profile."),
    "GUET-601": _Words(
        "{device} dit lui-même n'avoir pas de valeur pour {point}", "{device} says itself that it has no value for {point}",
        "Vérifiez la sonde et son câble du côté de l'appareil.", "Check the probe and its cable on the device's side."),
    "GUET-602": _Words(
        "{point} est hors de ce que le capteur peut donner ({said})",
        "{point} is outside of what the sensor can give ({said})",
        "Vérifiez le profil de {device} (type, ordre des mots, échelle), puis la sonde.",
        "Check the profile of {device} (type, word order, scale), then the probe."),
    "GUET-603": _Words(
        "{point} n'a pas bougé ({said})", "{point} has not moved ({said})",
        "Provoquez un changement, puis : guet check {point} --provoke.",
        "Provoke a change, then: guet check {point} --provoke."),
    "GUET-604": _Words(
        "{point} ne va pas avec un autre point du même ouvrage ({said})",
        "{point} does not go with another point of the same asset ({said})",
        "Vérifiez lequel des deux est au bon endroit : fermez l'un, puis : guet check.",
        "Check which of the two is in the right place: close one, then: guet check."),
    "GUET-701": _Words(
        "La mémoire de la passerelle n'accepte plus rien ({said})", "The gateway's store takes nothing more ({said})",
        "Vérifiez la carte SD : pleine, en lecture seule ou usée ; remplacez-la si besoin.",
        "Check the SD card: full, read-only or worn out; replace it if need be."),
    "GUET-702": _Words(
        "Il ne reste que {said} sur la carte de la passerelle", "Only {said} are left on the gateway's card",
        "Faites de la place ou mettez une carte plus grande.", "Make room or use a larger card."),
    "GUET-703": _Words(
        "La mémoire de la passerelle est abîmée ({said})", "The gateway's store is damaged ({said})",
        "Redémarrez la passerelle : elle met le fichier abîmé de côté ; puis changez la carte.",
        "Restart the gateway: it sets the damaged file aside; then change the card."),
    "GUET-801": _Words(
        "La plateforme n'est pas joignable ({said})", "The platform cannot be reached ({said})",
        "Rien n'est perdu : {waiting} enregistrements attendent. Vérifiez le réseau, puis l'adresse de la plateforme.",
        "Nothing is lost: {waiting} records wait. Check the network, then the platform's address."),
    "GUET-802": _Words(
        "La plateforme est reliée mais ne confirme rien depuis {said}",
        "The platform is connected but has confirmed nothing for {said}",
        "Prévenez l'exploitant de la plateforme : {waiting} enregistrements attendent.",
        "Tell whoever runs the platform: {waiting} records wait."),
    "GUET-803": _Words(
        "L'heure de la passerelle n'est pas sûre", "The gateway's clock cannot be trusted",
        "Donnez-lui le réseau, ou réglez son heure : sudo timedatectl set-time.",
        "Give it a network, or set its time: sudo timedatectl set-time."),
}  # fmt: skip
"""By id."""
_VOWELS = frozenset("aeiouyàâéèêëîïôùû")


def cause(id: str, **facts: object) -> Cause:  # noqa: A002 - the word people use
    """A cause in the language that is spoken. Facts are put in as they are."""
    words = CAUSES[id]
    sentence = say(_elided(words.french, facts), words.english).format(**facts)
    return Cause(id, sentence, say(_elided(words.do_french, facts), words.do_english).format(**facts))


def _elided(french: str, facts: Mapping[str, object]) -> str:
    """ "de" before a name that begins with a vowel."""
    for name, value in facts.items():
        if str(value)[:1].lower() in _VOWELS:
            french = french.replace(f" de {{{name}}}", f" d'{{{name}}}")
    return french


def table() -> str:
    """The page of docs/guide that lists them all."""
    rows = [
        "# Les causes et leurs numéros / Causes and their ids",
        "",
        "`guet why`, `guet scan` et `guet check` donnent une cause, un geste, un numéro qui ne change pas de sens.",
        "Entre accolades : ce que la passerelle met à la place. `python -m gateway.cause` écrit cette page.",
        "",
        "| Numéro | Ce qui ne va pas | Que faire | What is wrong | What to do |",
        "|---|---|---|---|---|",
        *(f"| {one} | {w.french} | {w.do_french} | {w.english} | {w.do_english} |" for one, w in CAUSES.items()),
    ]
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(table(), end="")
