"""What people found out about an alert: confirmed or refuted, with a reason; and what came of all such alerts in 90 days.

A refuted alert changes no model: it is counted, and whoever reads the next one sees how many were right. What is found out
goes to the platform as an audit record; a later finding takes the place of an earlier one, and both stay in the audit.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.alert import Alert, iso
from gateway.cost import Cost, cost_of
from gateway.errors import WishError
from gateway.language import say, words_given

if TYPE_CHECKING:
    from gateway.app import Gateway
    from gateway.store import Store

RECORD_DAYS = 90
OUTCOMES_SQL: Final = "select name, body from state where name >= 'outcome/' and name < 'outcome0'"
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class OutcomeWish:
    """alert: its id. reason: why; needed to refute."""

    alert: str
    confirmed: bool
    reason: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What somebody found out about an alert. at_s: when it was said, UTC seconds."""

    alert: str
    confirmed: bool
    reason: str
    by: str
    at_s: float


@dataclass(frozen=True, slots=True)
class TrackRecord:
    """Alerts of one kind and model on this site within `days`: confirmed and refuted by people; lasting without a word from
    anybody (`open`), and over without one (`cleared`)."""

    days: int
    confirmed: int = 0
    refuted: int = 0
    open: int = 0
    cleared: int = 0

    @property
    def total(self) -> int:
        return self.confirmed + self.refuted + self.open + self.cleared


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands beside an alert for who decides: what was found out about it, what came of others, what an error costs."""

    outcome: Outcome | None
    record: TrackRecord
    cost: Cost


async def tell(gateway: Gateway, wish: OutcomeWish) -> AsyncGenerator[Outcome, None]:
    """Keeps what somebody found out about an alert, and tells the platform. Raises WishError for an alert that is not there,
    or a refusal without a reason; StoreError."""
    alert = next((one for one in gateway.store.alerts() if one.id == wish.alert), None)
    if alert is None:
        raise WishError(say(f"pas d'alerte {wish.alert!r} dans la mémoire de cette passerelle",
                            f"there is no alert {wish.alert!r} in the memory of this gateway"))  # fmt: skip
    by, reason = words_given("--by", wish.by, 200), words_given("--reason", wish.reason)
    if not wish.confirmed and not reason:
        raise WishError(say("--reason : dites pourquoi l'alerte est fausse", "--reason: say why the alert is false"))
    found = Outcome(alert.id, wish.confirmed, reason, by, gateway.clock.now())
    audit: dict[str, Any] = {
        "what": "alert confirmed" if wish.confirmed else "alert refuted", "alert": alert.id, "alert_kind": alert.kind.value,
        "subject": alert.subject, "raised": iso(alert.raised_s), "model": alert.model, "model_sha256": alert.model_sha256,
        "reason": reason, "by": by,
    }  # fmt: skip
    await gateway.store.decide({f"outcome/{alert.id}": asdict(found)}, audits=[(found.at_s, audit)])
    yield found


def outcomes(store: Store) -> dict[str, Outcome]:
    """All that was found out, by alert. Raises StoreError."""
    return outcomes_from(store.rows(OUTCOMES_SQL))


def outcomes_from(rows: Iterable[tuple[str, str]]) -> dict[str, Outcome]:
    """The same from rows of the table `state`; what the disk has garbled is passed over."""
    found = {}
    for _, body in rows:
        try:
            one = Outcome(**json.loads(body)["state"])
        except (ValueError, KeyError, TypeError):
            continue
        found[one.alert] = one
    return found


def track_record(
    alert: Alert, alerts: Iterable[Alert], found: Mapping[str, Outcome], now_s: float, days: int = RECORD_DAYS
) -> TrackRecord:
    """What came of the alerts of this one's kind and model that were raised within `days` before `now_s`, itself among
    them."""
    counts = dict.fromkeys(("confirmed", "refuted", "open", "cleared"), 0)
    for one in alerts:
        if (one.kind, one.model) != (alert.kind, alert.model) or not now_s - days * _DAY_S <= one.raised_s <= now_s:
            continue
        if (outcome := found.get(one.id)) is not None:
            counts["confirmed" if outcome.confirmed else "refuted"] += 1
        else:
            counts["open" if one.cleared_s is None else "cleared"] += 1
    return TrackRecord(days, **counts)


def standing(gateway: Gateway, alert: Alert) -> Standing:
    """What stands beside an alert of a gateway. Raises StoreError."""
    now_s, found = gateway.clock.now(), outcomes(gateway.store)
    alerts = gateway.store.alerts(now_s - RECORD_DAYS * _DAY_S)
    cost = cost_of(alert, gateway.site.cost, gateway.site.place)
    return Standing(found.get(alert.id), track_record(alert, alerts, found, now_s), cost)


def record_words(record: TrackRecord) -> str:
    """A record for people."""
    if not record.total:
        return say(
            f"aucune alerte de ce modèle en {record.days} jours", f"no alert of this model in {record.days} days"
        )
    parts = [
        say(f"{record.confirmed} confirmées", f"{record.confirmed} confirmed"),
        say(f"{record.refuted} fausses", f"{record.refuted} false"),
        say(f"{record.open} sans réponse encore", f"{record.open} without an answer yet"),
        say(f"{record.cleared} finies d'elles-mêmes", f"{record.cleared} over by themselves"),
    ]
    head = say(f"{record.total} en {record.days} jours", f"{record.total} in {record.days} days")
    return say(f"{head} : ", f"{head}: ") + ", ".join(parts)


def outcome_words(outcome: Outcome | None) -> str:
    """What was found out about one alert, for people."""
    if outcome is None:
        return say("personne n'a encore dit si elle était juste", "nobody has said yet whether it was right")
    by = f" ({outcome.by})" if outcome.by else ""
    said = say("confirmée", "confirmed") if outcome.confirmed else say("fausse", "false")
    why = say(f" : {outcome.reason}", f": {outcome.reason}") if outcome.reason else ""
    return f"{said}{why}{by}, {iso(outcome.at_s)}"
