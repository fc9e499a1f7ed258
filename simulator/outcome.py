"""What came of a night: what the centre holds, held against what the simulator did. Nothing in it is written by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from gateway.alert import Alert, iso
from simulator.scenario import HOUR_S, Event, Scenario

EARLY_S = HOUR_S
"""How long before its cause an alert may seem to have been raised, since periods are summed up at their ends."""


@dataclass(frozen=True, slots=True)
class Centre:
    """What the centre holds, read from its database. statuses: the last one of each boot of the gateway."""

    counts: Mapping[str, int]
    alerts: Sequence[Alert]
    audits: Sequence[Mapping[str, Any]]
    statuses: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Night:
    """How the night was played."""

    scenario: Scenario
    played_until_s: float
    wall_s: float
    kills: int
    uplink_cut_h: float
    last_seq: int
    pending: int


def matched(scenario: Scenario, alerts: Sequence[Alert], until_s: float) -> tuple[dict[str, Event], list[Event]]:
    """Which alert (by id) is which event, each event at most once; and the events that were due and not found: all is due
    when the night is over."""
    found: dict[str, Event] = {}
    missed: list[Event] = []
    for event in scenario.events:
        if not event.expect:
            continue
        for alert in alerts:
            same = alert.kind.value == event.expect and alert.subject == event.subject and alert.id not in found
            if same and event.at_s - EARLY_S <= alert.raised_s <= event.due_s:
                found[alert.id] = event
                break
        else:
            if min(event.due_s, scenario.end_s) <= until_s:
                missed.append(event)
    return found, missed


def outcome(night: Night, centre: Centre) -> dict[str, Any]:
    """The report of `guet demo --json`."""
    scenario = night.scenario
    alerts = sorted(centre.alerts, key=lambda alert: alert.raised_s)
    found, missed = matched(scenario, alerts, night.played_until_s)
    received = centre.counts["records"]
    return {
        "scenario": scenario.name,
        "seed": scenario.seed,
        "simulated_hours": round((night.played_until_s - scenario.start_s) / HOUR_S, 2),
        "wall_s": round(night.wall_s, 1),
        "alerts": [
            {
                "kind": alert.kind.value,
                "subject": alert.subject,
                "onset": iso(alert.onset_s),
                "raised": iso(alert.raised_s),
                "delay_h": round((alert.raised_s - found[alert.id].at_s) / HOUR_S, 2) if alert.id in found else None,
                "expected": alert.id in found,
            }
            for alert in alerts
        ],
        "missed": [{"kind": event.expect, "subject": event.subject, "since": iso(event.at_s)} for event in missed],
        "actions": [
            {key: audit[key] for key in ("point", "value", "read_back", "while_offline", "confirmed", "time", "reason")}
            for audit in centre.audits
            if audit.get("what") == "action"
        ],
        "central": {
            "summaries": centre.counts["summaries"],
            "alerts": len(alerts),
            "records": received,
            "sent": night.last_seq,
            "lost": night.last_seq - night.pending - received,
            "undelivered": night.pending,
            "duplicates": centre.counts["duplicates"],
            "redelivered": centre.counts["redelivered"],
            "gaps": centre.counts["gaps"],
        },
        "uplink_cut_h": round(night.uplink_cut_h, 2),
        "kills": night.kills,
        "protocols": _protocols(centre.statuses),
    }


def _protocols(statuses: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Requests and readings by protocol, added up over the boots of the gateway as its status records give them."""
    total: dict[str, dict[str, int]] = {}
    for status in statuses:
        for bus in status["buses"].values():
            sums = total.setdefault(bus["protocol"], {"requests": 0, "readings": 0})
            sums["requests"] += bus["requests"]
            sums["readings"] += bus["readings"]
    return total


def shortcomings(report: Mapping[str, Any], scenario: Scenario) -> list[str]:
    """Why the night did not go as it should, in sentences; empty when it did."""
    said = [f"alerte attendue et non levée : {miss['kind']} sur {miss['subject']}" for miss in report["missed"]]
    said += [
        f"alerte inattendue : {alert['kind']} sur {alert['subject']} à {alert['raised']}"
        for alert in report["alerts"]
        if not alert["expected"]
    ]
    centre = report["central"]
    for name, what in (("lost", "enregistrements perdus"), ("duplicates", "enregistrements en double")):
        if centre[name]:
            said.append(f"{what} : {centre[name]}")
    if centre["undelivered"]:
        said.append(f"restés dans la file à la fin : {centre['undelivered']}")
    if scenario.of("uplink_cut") and not any(a["while_offline"] and a["confirmed"] for a in report["actions"]):
        said.append("aucune action confirmée pendant la coupure")
    if scenario.of("kill") and not report["kills"]:
        said.append("la passerelle n'a pas été tuée : la nuit a été trop courte")
    if not report["protocols"]:
        said.append("la passerelle n'a jamais dit son état : rien n'est su des protocoles")
    said += [f"aucune lecture par {name}" for name, did in report["protocols"].items() if not did["readings"]]
    return said


def in_short(report: Mapping[str, Any]) -> str:
    """The report, for people."""
    lines = []
    for alert in report["alerts"]:
        delay = "inattendue" if alert["delay_h"] is None else f"{alert['delay_h']:.1f} h après le début du défaut"
        lines.append(f"  alerte    {alert['kind']:<14} {alert['subject']:<18} {alert['raised']}  {delay}")
    offline = [action for action in report["actions"] if action["while_offline"] and action["confirmed"]]
    centre = report["central"]
    lines += [
        f"  actions   {len(report['actions'])}, dont {len(offline)} pendant la coupure, relues et confirmées",
        *_alone(report["actions"]),
        (
            f"  centre    {centre['records']} enregistrements reçus sur {centre['sent']} : {centre['lost']} perdu(s), "
            f"{centre['duplicates']} en double ; {report['kills']} kill -9, {report['uplink_cut_h']:.1f} h de coupure"
        ),
    ]
    lines += [
        f"  protocole {name:<14} {did['requests']:>6} requêtes, {did['readings']:>6} lectures"
        for name, did in report["protocols"].items()
    ]
    return "\n".join(lines)


def _alone(actions: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was done while nobody could be asked, with what was read back; what was told to several at once on one line."""
    told = [action for action in actions if action["while_offline"]]
    lines = []
    for (value, read_back, reason), same in groupby(told, itemgetter("value", "read_back", "reason")):
        each = list(same)
        times = Counter(action["point"] for action in each)
        points = ", ".join(point if count == 1 else f"{point} ({count} fois)" for point, count in times.items())
        back = "non relu" if read_back is None else f"relu {read_back:g}"
        lines.append(f"    coupé {each[0]['time'][11:16]}  {points} : {value:g}, {back} ({reason})")
    return lines
