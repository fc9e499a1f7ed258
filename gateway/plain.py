"""Rules in plain words, French or English: for the audit trail, for alerts, and for whoever has to read a site."""

from __future__ import annotations

from gateway.condition import DAYS, ConditionEntry

_FRENCH_DAYS = dict(zip(DAYS, ("lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche"), strict=True))
_ENGLISH_DAYS = dict(
    zip(DAYS, ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"), strict=True)
)
_SUN = {"dusk": ("le coucher du soleil", "sunset"), "dawn": ("le lever du soleil", "sunrise")}


def condition_text(entry: ConditionEntry, english: bool = False) -> str:
    """One condition as part of a sentence."""

    def say(french: str, other: str) -> str:
        return other if english else french

    if entry.point:
        text = f"{entry.point} {_compared(entry, english)}"
        if entry.until is not None:
            text += say(f" (jusqu'à {entry.until:g})", f" (until {entry.until:g})")
    elif entry.verdict:
        alert = entry.state == "alert"
        text = say(
            f"{entry.verdict} est en alerte" if alert else f"{entry.verdict} est suspect ou en alerte",
            f"{entry.verdict} is in alert" if alert else f"{entry.verdict} is suspect or in alert",
        )
    elif entry.lost:
        text = say(f"{entry.lost} ne donne plus de valeur", f"{entry.lost} gives no value any more")
    else:
        text = _hours(entry, english)
    if entry.lasting:
        text += say(f" depuis {entry.lasting}", f" for {entry.lasting}")
    return text


def _compared(entry: ConditionEntry, english: bool) -> str:
    if entry.equals is not None:
        return f"is {entry.equals:g}" if english else f"vaut {entry.equals:g}"
    parts = []
    if entry.above is not None:
        parts.append(f"above {entry.above:g}" if english else f"au-dessus de {entry.above:g}")
    if entry.below is not None:
        parts.append(f"below {entry.below:g}" if english else f"au-dessous de {entry.below:g}")
    return (" and " if english else " et ").join(parts)


def _hours(entry: ConditionEntry, english: bool) -> str:
    parts = []
    if entry.between is not None:
        first, last = (_SUN[at][english] if at in _SUN else at for at in entry.between)
        parts.append(f"between {first} and {last}" if english else f"entre {first} et {last}")
    if entry.days:
        names = [(_ENGLISH_DAYS if english else _FRENCH_DAYS)[day] for day in entry.days]
        parts.append(f"on {', '.join(names)}" if english else f"le {', '.join(names)}")
    return (", " if parts else "").join(parts)
