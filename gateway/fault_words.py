"""The faults of a site file, and of ports, in French: they are found and logged in English, and a technician reads them in
French with the English beside it. Pure.

One table, from a sentence with `{}` where values stand to the same in French with `{0}`, `{1}`, ... The name of the file and
of the key in front of a sentence are the same in both languages. A sentence that the table does not have stays English, and
is said to be.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

FRENCH = {
    # the file
    "not TOML: {}": "ce n'est pas du TOML : {0}",
    "cannot be read: {}; expected a site file in UTF-8": "illisible : {0} ; attendu un fichier de site en UTF-8",
    "expected at most {} bytes": "attendu au plus {0} octets",
    "expected at most {} bytes, got {}": "attendu au plus {0} octets, reçu {1}",
    "there is no [[device]] of that name": "il n'y a pas de [[device]] de ce nom",
    "expected the text that was in place before, got another; put one by hand":
        "attendu le texte qui était en place avant, trouvé un autre ; remettez-en un à la main",
    "expected a folder that can be written to, got: {}": "attendu un dossier où l'on peut écrire, trouvé : {0}",
    "expected a file that can be written, got: {}": "attendu un fichier où l'on peut écrire, trouvé : {0}",
    "expected a file that can be replaced, got: {}": "attendu un fichier que l'on peut remplacer, trouvé : {0}",
    "expected a file that can be read, got: {}": "attendu un fichier lisible, trouvé : {0}",
    # what TOML readers say
    "Expected '=' after a key in a key/value pair {}": "il manque « = » après une clé {0}",
    "Expected ']' at the end of a table declaration {}": "il manque « ] » à la fin d'un titre de table {0}",
    "Expected ']]' at the end of an array declaration {}": "il manque « ]] » à la fin d'un titre de liste {0}",
    "Expected newline or end of document after a statement {}": "une seule clé par ligne : il reste quelque chose {0}",
    "Invalid value {}": "ce n'est pas une valeur (un texte se met entre guillemets) {0}",
    "Invalid statement {}": "ceci n'est ni une clé ni un titre {0}",
    "Invalid initial character for a key part {}": "une clé ne commence pas ainsi {0}",
    "Unterminated string {}": "il manque le guillemet de la fin {0}",
    "Unclosed array {}": "il manque « ] » à la fin d'une liste {0}",
    "Unclosed inline table {}": "il manque « }} » à la fin d'une table {0}",
    "Cannot overwrite a value {}": "cette clé est donnée deux fois {0}",
    "Cannot declare {} twice {}": "ce titre est donné deux fois, {0} {1}",
    "Illegal character {} {}": "ce signe n'a rien à faire ici, {0} {1}",
    "(at line {}, column {})": "(ligne {0}, colonne {1})",
    "(at end of document)": "(à la fin du fichier)",
    # any key
    "unknown key; correct or remove it": "clé inconnue ; corrigez-la ou enlevez-la",
    "missing; add it": "il manque ; ajoutez-le",
    "expected one of {}, got {}": "attendu l'un de {0}, reçu {1}",
    "Input should be a valid string, got {}": "attendu un texte entre guillemets, reçu {0}",
    "Input should be a valid integer, got {}": "attendu un nombre entier, reçu {0}",
    "Input should be a valid integer, got a number with a fractional part, got {}": "attendu un nombre entier, reçu {0}",
    "Input should be a valid integer, unable to parse string as an integer, got {}":
        "attendu un nombre entier, sans guillemets, reçu {0}",
    "Input should be a valid number, got {}": "attendu un nombre, reçu {0}",
    "Input should be a valid number, unable to parse string as a number, got {}":
        "attendu un nombre, sans guillemets, reçu {0}",
    "Input should be a finite number, got {}": "attendu un nombre fini, reçu {0}",
    "Input should be a valid boolean, got {}": "attendu true ou false, reçu {0}",
    "Input should be a valid boolean, unable to interpret input, got {}": "attendu true ou false, reçu {0}",
    "Input should be a valid list, got {}": "attendu une liste entre crochets, reçu {0}",
    "Input should be a valid tuple, got {}": "attendu une liste entre crochets, reçu {0}",
    "Input should be a valid dictionary, got {}": "attendu une table, reçu {0}",
    "Input should be a valid dictionary or instance of {}, got {}": "attendu une table [{0}], reçu {1}",
    "Input should be a valid date or datetime, {}, got {}": "attendu une date comme 2026-11-23, reçu {1}",
    "Input should be a valid date, got {}": "attendu une date comme 2026-11-23, reçu {0}",
    "Input should be greater than or equal to {}, got {}": "attendu au moins {0}, reçu {1}",
    "Input should be greater than {}, got {}": "attendu plus de {0}, reçu {1}",
    "Input should be less than or equal to {}, got {}": "attendu au plus {0}, reçu {1}",
    "Input should be less than {}, got {}": "attendu moins de {0}, reçu {1}",
    "Input should be {}, got {}": "attendu {0}, reçu {1}",
    "String should match pattern '^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$', got {}":
        "attendu un nom fait de lettres sans accent, de chiffres, de - et de _, reçu {0}",
    "String should match pattern '^$|^(1200|2400|4800|9600|19200|38400|57600|115200) 8[NEO][12]$', got {}":
        "attendu la vitesse et le caractère de la ligne, comme '9600 8N1' ou '19200 8E1', reçu {0}",
    "String should match pattern '^(1200|2400|4800|9600|19200|38400|57600|115200) 8[NEO][12]$', got {}":
        "attendu la vitesse et le caractère de la ligne, comme '9600 8N1' ou '19200 8E1', reçu {0}",
    "String should match pattern {}, got {}": "attendu un texte de la forme {0}, reçu {1}",
    "String should have at most {} character, got {}": "attendu au plus {0} signe, reçu {1}",
    "String should have at most {} characters, got {}": "attendu au plus {0} signes, reçu {1}",
    "String should have at least {} character, got {}": "attendu au moins {0} signe, reçu {1}",
    "String should have at least {} characters, got {}": "attendu au moins {0} signes, reçu {1}",
    "List should have at least {} item after validation, not {}, got {}": "attendu au moins {0} élément, reçu {2}",
    "List should have at least {} items after validation, not {}, got {}": "attendu au moins {0} éléments, reçu {2}",
    "List should have at most {} items after validation, not {}, got {}": "attendu au plus {0} éléments, reçu {2}",
    "{}: expected a duration such as '500ms', '60s', '15min', '1h', a year at most":
        "{0} : attendu une durée comme '500ms', '60s', '15min', '1h', un an au plus",
    "min {} is above max {}": "min {0} est au-dessus de max {1}",
    # gateway, upstream
    "{}: expected whole seconds that divide an hour, such as '15min'":
        "{0} : attendu des secondes entières qui divisent une heure, comme '15min'",
    "{}: expected a zone such as 'Europe/Paris' (of the system's package tzdata)":
        "{0} : attendu un fuseau comme 'Europe/Paris' (du paquet tzdata du système)",
    "{}: expected 'mqtts://host:port'": "{0} : attendu 'mqtts://machine:port'",
    "expected no user or password in the address; use the keys user and password_file":
        "ni utilisateur ni mot de passe dans l'adresse ; il y a les clés user et password_file",
    "{}: plain mqtt is only for this machine (127.0.0.1); use 'mqtts://{}:8883'":
        "{0} : mqtt en clair n'est permis que vers cette machine (127.0.0.1) ; écrivez 'mqtts://{1}:8883'",
    "{}: expected a Sparkplug id, without '+', '/', '#' or spaces":
        "{0} : attendu un nom Sparkplug, sans '+', '/', '#' ni espace",
    "{}: expected the platform's public Ed25519 key in PEM; ask the platform for it":
        "{0} : attendu la clé publique Ed25519 de la plateforme, en PEM ; demandez-la lui",
    # bus, device
    "expected at least one [[device]]": "attendu au moins un [[device]]",
    "there are {} of that name; give each its own": "il y en a {0} de ce nom ; donnez à chacun le sien",
    "{} is the port of bus {} already; one port is one bus": "{0} est déjà le port du bus {1} ; un port, un bus",
    "missing; give speed and framing, its profiles suggest {}":
        "il manque ; donnez vitesse et trame, ses profils proposent {0}",
    "missing; give speed and framing, for example {}": "il manque ; donnez vitesse et trame, par exemple {0}",
    "patience_ms, interval_ms, gap_ms: expected of a device that is asked; {} speaks {}; remove them":
        "patience_ms, interval_ms, gap_ms : pour un appareil que l'on interroge ; {0} parle {1} ; enlevez-les",
    "a recorded device has none, got {}; remove it": "un appareil enregistré n'en a pas, reçu {0} ; enlevez-le",
    "expected the name of a [[bus]] ({}), got {}": "attendu le nom d'un [[bus]] ({0}), reçu {1}",
    "{} speaks {}, the profile {} speaks {}; choose another bus or profile":
        "{0} parle {1}, le profil {2} parle {3} ; prenez un autre bus ou un autre profil",
    "expected a unit id, a short address or a MAC in quotes, got {}":
        "attendu un numéro d'appareil, une adresse courte ou une adresse MAC entre guillemets, reçu {0}",
    "expected a unit id from 1 to 247, got {}": "attendu un numéro d'appareil de 1 à 247, reçu {0}",
    "expected a short address from 0 to 63, got {}": "attendu une adresse courte de 0 à 63, reçu {0}",
    "expected a primary address from 0 to 250, or the eight digits on the type plate in quotes {}, got {}":
        "attendu une adresse primaire de 0 à 250, ou les huit chiffres de la plaque entre guillemets {0}, reçu {1}",
    "expected a node id from 1 to {}, got {}": "attendu un numéro de nœud de 1 à {0}, reçu {1}",
    "expected a MAC such as 'A4:C1:38:00:00:01', got {}":
        "attendu une adresse MAC comme 'A4:C1:38:00:00:01', reçu {0}",
    "{} on bus {} is taken by {}; give one of them another address, on the device too":
        "{0} sur le bus {1} est pris par {2} ; donnez à l'un des deux une autre adresse, aussi sur l'appareil",
    "identifier {} on bus {} is what {} sends; one of the two profiles is not this node's":
        "l'identifiant {0} sur le bus {1} est celui de {2} ; un des deux profils n'est pas celui de ce nœud",
    "only BTHome devices have a key, {} speaks {}; remove it":
        "seuls les appareils BTHome ont une clé, {0} parle {1} ; enlevez-la",
    "{} is open to every user of this machine; run `chmod o= {}`":
        "{0} est ouvert à tous sur cette machine ; tapez `chmod o= {1}`",
    "{}: expected 32 hexadecimal digits and nothing else; copy the device's key anew":
        "{0} : attendu 32 chiffres hexadécimaux et rien d'autre ; recopiez la clé de l'appareil",
    "expected a profile of that name in {}, found none; {}": "il n'y a pas de profil de ce nom dans {0} ; {1}",
    "{}: expected 'folder/name' of a profile in {}; {}": "{0} : attendu 'dossier/nom' d'un profil de {1} ; {2}",
    "{} cannot be used: {}": "{0} ne peut pas servir : {1}",
    "the plan keeps it busy {} of the time, expected {} at most; {} alone takes {}. Multiply every period on it by {} ({}: "
    "{}), raise the speed of the line, or divide the bus":
        "il serait occupé {0} du temps, attendu {1} au plus ; {2} en prend {3} à lui seul. Multipliez toutes les périodes "
        "par {4} ({5} : {6}), montez la vitesse de la ligne, ou partagez le bus",
    # points
    "{}: there is no device {}; known: {}": "{0} : il n'y a pas d'appareil {1} ; connus : {2}",
    "{}: device {} has no point {}; its profile has {}":
        "{0} : l'appareil {1} n'a pas de point {2} ; son profil a {3}",
    "{} is in {}; expected {}": "{0} est en {1} ; attendu {2}",
    "{}: there is no such watch; known: {}": "{0} : il n'y a pas de veille de ce nom ; connues : {1}",
    "{}: expected 'device/point'": "{0} : attendu 'appareil/point'",
    "known there: {}": "il y a : {0}",
    "folders: {}": "dossiers : {0}",
    "none is described": "aucun n'est décrit",
    # watches
    "school_zone, closed: expected of a building's watch; {} has no use for them":
        "school_zone, closed : pour la veille d'un bâtiment ; {0} n'en fait rien",
    "inputs of a sector: expected the roles flow and pressure, got {}":
        "entrées d'un secteur : attendu les rôles flow et pressure, reçu {0}",
    "inputs of a sector: expected 0 to 6 flows and 0 to 40 pressures, at least one in all, got {} and {}":
        "entrées d'un secteur : attendu 0 à 6 débits et 0 à 40 pressions, au moins un en tout, reçu {0} et {1}",
    "inputs of a sector: a point is named twice; name each once":
        "entrées d'un secteur : un point y est deux fois ; nommez chacun une fois",
    # permits
    "expected of rule, remote, lighting; setup and fail_safe need no permit of their own":
        "attendu parmi rule, remote, lighting ; setup et fail_safe n'ont pas besoin de permis",
    "lease: expected a day at most, got {}": "lease : attendu un jour au plus, reçu {0}",
    "read_back: expected a minute at most, got {}": "read_back : attendu une minute au plus, reçu {0}",
    "a {} is observed and never written to": "on observe « {0} », on n'y écrit jamais",
    "its profile gives no limits of a write": "son profil ne donne pas de limites d'écriture",
    "{}: {}; remove the permit": "{0} : {1} ; enlevez le permis",
    "expected {} to {} {}, got {}": "attendu {0} à {1} {2}, reçu {3}",
    "a lamp of a [[lighting]] falls back to its schedule; remove it":
        "une lampe d'un [[lighting]] revient à son calendrier ; enlevez-le",
    "missing; give the value that the device returns to when nobody holds it any more":
        "il manque ; donnez la valeur où l'appareil revient quand plus personne ne le tient",
    "{}: expected within the profile's {} to {} {}, got {}": "{0} : attendu dans les {1} à {2} {3} du profil, reçu {4}",
    "there are {} for that point; keep one": "il y en a {0} pour ce point ; gardez-en un",
    # lighting
    "slot from {}: expected 'dusk', 'dawn' or a local time such as '22:30'":
        "tranche de {0} : attendu 'dusk', 'dawn' ou une heure locale comme '22:30'",
    "slot from {}: there are two of them; keep one": "tranche de {0} : il y en a deux ; gardez-en une",
    "slot from {}: expected a level from 0 to 100 %, got {}": "tranche de {0} : attendu un niveau de 0 à 100 %, reçu {1}",
    "slots: expected one from 'dusk', which says how bright the evening is":
        "slots : attendu une tranche de 'dusk', qui dit la lumière du soir",
    "slot: expected one from 'dusk', which says how bright the evening is":
        "slot : attendu une tranche de 'dusk', qui dit la lumière du soir",
    "light: expected 0 to 100 %, got {}": "lumière : attendu 0 à 100 %, reçu {0}",
    "arc power level: expected 0 to 254, got {}": "niveau DALI : attendu 0 à 254, reçu {0}",
    "class {}: expected of the family of {}": "classe {0} : attendu de la famille de {1}",
    "class {}: needs more light than the installation, made for {}, can give":
        "classe {0} : il faut plus de lumière que l'installation, faite pour {1}, ne peut donner",
    "expected either level or class": "attendu level ou class, l'un des deux",
    "light: expected more than dark = {}, got {}": "light : attendu plus que dark = {0}, reçu {1}",
    "most: expected two hours at most, got {}": "most : attendu deux heures au plus, reçu {0}",
    "co2_source: missing; say where co2_g_per_kwh is from, with its year":
        "co2_source : il manque ; dites d'où vient co2_g_per_kwh, avec l'année",
    "ramp: expected half an hour at most, got {}": "ramp : attendu une demi-heure au plus, reçu {0}",
    "activity: missing; the hours of category {} hang on when it ends":
        "activity : il manque ; les heures de la catégorie {0} dépendent de sa fin",
    "activity: missing; the hours of category {} hang on when the activity ends":
        "activity : il manque ; les heures de la catégorie {0} dépendent de la fin de l'activité",
    "activity: expected a begin and another end": "activity : attendu un début et une autre fin",
    "presence.in_curfew: the decree knows no such adaptation for category {}":
        "presence.in_curfew : l'arrêté ne connaît pas cette adaptation pour la catégorie {0}",
    "design: missing; slot from {} gives a class": "design : il manque ; la tranche de {0} donne une classe",
    "to: expected {} or later, got {}": "to : attendu {0} ou après, reçu {1}",
    "{}: expected the first day before the last one": "{0} : attendu le premier jour avant le dernier",
    "{} cannot be written; {}: choose another point": "{0} ne peut pas être écrit ({1}) : prenez un autre point",
    "{} is in {}; expected a level in % or as arc power level":
        "{0} est en {1} ; attendu un niveau en % ou un niveau DALI",
    "{} is in {} already; a lamp follows one street": "{0} est déjà dans {1} ; une lampe suit une seule rue",
    "{} has no DALI groups; remove group, or the lamp": "{0} n'a pas de groupes DALI ; enlevez group, ou la lampe",
    "{} is {}'s on bus {} already; a command to it would move the lamps of both: choose another":
        "{0} est déjà à {1} sur le bus {2} ; un ordre au groupe bougerait les lampes des deux : prenez-en un autre",
    # rules
    "expected set, alert or both; a rule that does nothing can go":
        "attendu set, alert ou les deux ; une règle qui ne fait rien peut partir",
    "set: a point twice; keep one": "set : un point y est deux fois ; gardez-en un",
    "expected exactly one of point, verdict, lost, or between and days":
        "attendu un seul de point, verdict, lost, ou between et days",
    "point {}: expected above, below or equals": "point {0} : attendu above, below ou equals",
    "above, below, equals, until: only with point": "above, below, equals, until : seulement avec point",
    "equals: not together with above or below; keep one": "equals : pas avec above ni below ; gardez-en un",
    "between: expected two times, got {} twice; for all day leave it out":
        "between : attendu deux heures, reçu {0} deux fois ; pour toute la journée, enlevez-le",
    "until: expected with above, or with below, and not with both":
        "until : attendu avec above ou avec below, pas avec les deux",
    "until: expected less than above = {}, got {}": "until : attendu moins que above = {0}, reçu {1}",
    "until: expected more than below = {}, got {}": "until : attendu plus que below = {0}, reçu {1}",
    "can never fire: {}": "ne peut jamais jouer : {0}",
    "{}: the hours are shorter than that": "{0} : les heures sont plus courtes que cela",
    "{}: the point gives {} to {}": "{0} : le point donne {1} à {2}",
    'no [[permit]] allows a rule to write it; add one with by = ["rule"]':
        "aucun [[permit]] ne permet à une règle de l'écrire ; ajoutez-en un avec by = ['rule']",
    "{}: expected {} to {}, as the [[permit]] says, got {}": "{0} : attendu {1} à {2}, comme dit le [[permit]], reçu {3}",
    "{} the earlier rule {}: whenever this one fires that one has set {} to {} already; put this one first, or change one "
    "of them":
        "{0} la règle d'avant {1} : quand celle-ci joue, l'autre a déjà mis {2} à {3} ; mettez celle-ci en premier, ou "
        "changez l'une des deux",
    "contradicts the earlier rule {}: whenever this one fires that one has set {} to {} already; put this one first, or "
    "change one of them":
        "contredit la règle d'avant {0} : quand celle-ci joue, l'autre a déjà mis {1} à {2} ; mettez celle-ci en premier, "
        "ou changez l'une des deux",
    "repeats the earlier rule {}: whenever this one fires that one has set {} to {} already; put this one first, or change "
    "one of them":
        "répète la règle d'avant {0} : quand celle-ci joue, l'autre a déjà mis {1} à {2} ; mettez celle-ci en premier, ou "
        "changez l'une des deux",
    "contradicts the earlier rules {} together: whenever this one fires one of them has set {} already; put this one first, "
    "or change one of them":
        "contredit ensemble les règles d'avant {0} : quand celle-ci joue, l'une d'elles a déjà mis {1} ; mettez celle-ci en "
        "premier, ou changez l'une d'elles",
    "its hours never come together: {}": "ses heures ne se rencontrent jamais : {0}",
    "{}, and {}, exclude each other": "{0} et {1} s'excluent",
    "{} cannot be lost and be compared at once": "{0} ne peut être perdu et comparé à la fois",
    "its own unless ({}) holds whenever {}": "son propre unless ({0}) tient à chaque fois que {1}",
    "its own unless ({}) cannot be known while {} is lost": "son propre unless ({0}) ne peut être su quand {1} est perdu",
    "{}: the point gives {} to {} in steps of {}": "{0} : le point donne {1} à {2}, de {3} en {3}",
    "can never end: {}: the point gives {} to {}; give an until that it comes to":
        "ne peut jamais finir : {0} : le point donne {1} à {2} ; donnez un until qu'il atteint",
    "can never forbid: {}": "ne peut jamais interdire : {0}",
    "{}: its [[permit]] forbids it whenever this rule fires ({}); change one of them":
        "{0} : son [[permit]] l'interdit à chaque fois que cette règle joue ({1}) ; changez l'un des deux",
    "{} can only be written, so nothing is ever known of it; choose a point that can be read":
        "{0} ne peut qu'être écrit, on n'en sait donc jamais rien ; choisissez un point qui se lit",
    "below: expected more than above = {}, got {}; no value is both":
        "below : attendu plus que above = {0}, reçu {1} ; aucune valeur n'est les deux",
    "contradicts itself: it sets {} to {} and waits for {}; it would switch back and forth":
        "se contredit : elle met {0} à {1} et attend {2} ; elle ferait le va-et-vient",
    # ports and connections
    "no connection within {} s; check address, cable and firewall":
        "pas de connexion en {0} s ; vérifiez l'adresse, le câble et le pare-feu",
    "cannot connect: {}; check address and port": "connexion impossible : {0} ; vérifiez l'adresse et le port",
    "Connect call failed {}": "personne n'écoute là",
    "the other end closed the connection": "l'autre bout a fermé la connexion",
    "the other end closed the connection{}": "l'autre bout a fermé la connexion{0}",
    "closed": "fermé",
    "lost while waiting for silence": "perdu en attendant le silence",
    "the port went away": "le port a disparu",
    "the port went away; is the adapter still plugged in?": "le port a disparu ; l'adaptateur est-il encore branché ?",
    "the port went away; is the CAN adapter still plugged in?":
        "le port a disparu ; l'adaptateur CAN est-il encore branché ?",
    "{}; is the adapter still plugged in?": "{0} ; l'adaptateur est-il encore branché ?",
    "{}; is the CAN adapter still plugged in?": "{0} ; l'adaptateur CAN est-il encore branché ?",
    "expected to send {} bytes, the port took {}; replug it":
        "{0} octets à envoyer, le port en a pris {1} ; rebranchez-le",
    "the CAN adapter refuses to listen only (command L); use one whose firmware knows it":
        "l'adaptateur CAN refuse d'écouter seulement (commande L) ; prenez-en un dont le programme le sait",
    "the CAN adapter takes nothing any more; replug it": "l'adaptateur CAN ne prend plus rien ; rebranchez-le",
    "BlueZ did not answer within {} s; run `systemctl restart bluetooth`":
        "BlueZ n'a pas répondu en {0} s ; tapez `systemctl restart bluetooth`",
    "the connection is refused ({})": "la connexion est refusée ({0})",
    "the connection fails ({})": "la connexion échoue ({0})",
    "short circuit or no bus supply; check the bus wires and the DALI power supply":
        "court-circuit ou bus sans alimentation ; vérifiez les fils du bus et l'alimentation DALI",
    "Connection refused": "connexion refusée",
    "Connection reset by peer": "l'autre bout a coupé",
    "Input/output error": "erreur d'entrée ou de sortie",
    "No such file or directory": "n'existe pas",
    "No such device": "pas d'appareil là",
    "No such device or address": "pas d'appareil là",
    "No route to host": "machine injoignable",
    "Network is unreachable": "réseau injoignable",
    "Permission denied": "accès refusé",
}  # fmt: skip
"""By the English sentence. Longer ones are tried first."""
BEFORE = {
    "not TOML: ": "ce n'est pas du TOML : ",
    "can never fire: ": "ne peut jamais jouer : ",
    "can never forbid: ": "ne peut jamais interdire : ",
}
"""What stands before a sentence that is one by itself."""


def told(faults: Iterable[str], english: bool) -> list[str]:
    """Faults as lines for people: in French each with the English below it; or in English alone."""
    lines = []
    for fault in faults:
        french = "" if english else in_french(fault)
        lines += [french, f"    {fault}"] if french else [fault]
    return lines


def in_french(fault: str) -> str:
    """A fault in French; empty where the table does not have it."""
    for parts, french in _longest_first():
        if (found := _taken_apart(fault, parts)) is not None:
            where, values = found
            for english, said in BEFORE.items():
                where = where.replace(english, said)
            return where + french.format(*(in_french(value) or value.replace("' or '", "' ou '") for value in values))
    return ""


def _taken_apart(fault: str, parts: list[str]) -> tuple[str, list[str]] | None:
    """What stands before a sentence, and the values in it; None where the fault is not that sentence. Each part is taken
    where it comes first: no searching back and forth, whatever stands in the values."""
    first, *rest = parts
    if not rest:
        where = fault.removesuffix(first)
        return (where, []) if where != fault and (not where or where.endswith(": ")) else None
    values = []
    if first:
        at = 0 if fault.startswith(first) else fault.find(f": {first}") + 2
        if at == 1:
            return None
        here = at + len(first)
    else:
        if (end := fault.find(rest[0])) < 1:
            return None
        at = fault.rfind(": ", 0, end) + 2 if ": " in fault[:end] else 0
        values.append(fault[at:end])
        here = end + len(rest.pop(0))
    for part in rest:
        end = fault.find(part, here) if part and part is not rest[-1] else len(fault) - len(part)
        if end <= here or not fault.startswith(part, end):
            return None
        values.append(fault[here:end])
        here = end + len(part)
    return (fault[:at], values) if here == len(fault) else None


@cache
def _longest_first() -> list[tuple[list[str], str]]:
    ordered = sorted(FRENCH.items(), key=lambda row: -len(row[0].replace("{}", "")))
    return [(english.split("{}"), french) for english, french in ordered]
