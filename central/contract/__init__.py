"""The contract between gateways and platform: what one message holds. The JSON Schemas beside this file are made from it
(`python -m central.contract`); asyncapi.yaml says on which topics they travel.

Readers are tolerant: a newer gateway may say more, so unknown keys are kept and not refused. What is known must be right.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from central.errors import ContractError

GATEWAY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
SUBJECT: Final = re.compile(rf"guet\.v1\.({GATEWAY.pattern})\.(summary|alert|gap|status|audit|reading)")
EPOCH: Final = re.compile(r"[0-9A-Za-z-]{1,40}")
MAX_BYTES: Final = 64 * 1024
MAX_SEQ: Final = 2**63 - 2

Name = Annotated[str, Field(min_length=1, max_length=200)]
_TIME: Final = r"^(19[7-9]\d|20\d\d)-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)$"


def _exists(time: str) -> str:
    """Not the thirtieth of February."""
    datetime.fromisoformat(time)
    return time


Time = Annotated[
    str,
    Field(
        pattern=_TIME,
        description="ISO 8601 with Z or an offset, 1970 to 2099",
        json_schema_extra={"format": "date-time"},
    ),
    AfterValidator(_exists),
]
Seq = Annotated[int, Field(ge=1, le=MAX_SEQ)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", frozen=True)


class Record(_Part):
    """What every message says: the identity of the record (gateway, epoch, seq), its kind and time."""

    gateway: Annotated[str, Field(pattern=rf"^{GATEWAY.pattern}$", description="the gateway's id, as in the topic")]
    epoch: Annotated[
        str, Field(pattern=rf"^{EPOCH.pattern}$", description="names the store; changes when it is made anew")
    ]
    seq: Annotated[Seq, Field(description="counts from 1 within the epoch, never reused, without holes")]
    kind: str
    time: Annotated[Time, Field(description="what the record is about, not when it was sent")]
    time_trusted: Annotated[bool | None, Field(description="false while the gateway's clock was a guess")] = None
    time_moved_s: Annotated[
        Number | None,
        Field(description="by how much a guess of the time was put right before this record left; `time` is right now"),
    ] = None
    replayed: Annotated[bool | None, Field(description="sent once more, because the platform asked for it")] = None


class Summary(Record):
    """A device over a period that begins at `time`."""

    kind: Literal["summary"]
    device: Name
    period_s: Annotated[float, Field(gt=0, le=366 * 86400)]
    points: Annotated[
        dict[Name, tuple[Count, Count, Number | None, Number | None, Number | None, Number | None]],
        Field(description="by point: readings used, readings not used, mean, min, max, last (null without any used)"),
    ]


class Reason(_Part):
    """One piece of evidence; `weight` is the share of the score that it explains, `text` a French sentence; `value` was seen
    where `usual` is usual, both in `unit` (UCUM), where that is a number."""

    point: str
    feature: str
    weight: Number
    text: str
    value: Number | None = None
    usual: Number | None = None
    unit: str | None = None


class Baseline(_Part):
    """What the simple rule beside the model says of the same data."""

    rule: str
    fired: bool
    score: Number


class Confidence(_Part):
    """Of `n` alerts of about this score, while the model was calibrated on what is `made`, the share `value` was right."""

    value: Share
    n: Count
    made: Literal["simulated", "recorded"]


class Change(_Part):
    """The point's departure from its usual, had it been only `share` of what it was; `value` is what it would have shown."""

    point: str
    feature: str
    share: Share
    value: Number | None = None
    unit: str | None = None


class Counterfactual(_Part):
    """The smallest change of the inputs named in the reasons with which the score would have stayed below the threshold."""

    score: Number
    changes: list[Change]
    text: Annotated[str, Field(description="a French sentence")]


class Alert(_Part):
    """Something that people should look into; it lasts from `raised` to `cleared`."""

    id: Name
    kind: Literal[
        "leak",
        "lamp_failure",
        "lift_failure",
        "pump_failure",
        "energy_anomaly",
        "bin_overflow",
        "sensor_fault",
        "no_data",
    ]
    subject: Annotated[Name, Field(description="the watch's or the device's name")]
    onset: Annotated[Time, Field(description="when it probably began")]
    raised: Time
    cleared: Time | None
    severity: Literal["info", "minor", "major", "critical"]
    score: Number
    threshold: Number
    model: str
    model_sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$", description="empty where a rule alone decided")]
    reasons: list[Reason]
    baseline: Baseline
    confidence: Annotated[Confidence | None, Field(description="null where the model has no calibration")] = None
    counterfactual: Annotated[Counterfactual | None, Field(description="null where no such change is enough")] = None


class AlertRecord(Record):
    """An alert that was raised or cleared, whole each time: the latest record (by seq) of an id is how it stands."""

    kind: Literal["alert"]
    alert: Alert


class Gap(Record):
    """Records that the gateway had to drop. `seqs`: the numbers they had, first and last included; empty where they had
    none yet (reason "queue") or nobody knows (reason "damaged": the store of `epoch_lost` could not be read)."""

    kind: Literal["gap"]
    reason: Literal["queue", "space", "damaged"]
    dropped: Annotated[Name | None, Field(description="kind of the dropped records")]
    count: Count | None
    from_: Annotated[Time | None, Field(alias="from")]
    to: Time | None
    seqs: list[tuple[Seq, Seq]]
    epoch_lost: str | None = None


class Status(Record):
    """How the gateway is: its buses with their traffic, its devices in words."""

    kind: Literal["status"]
    version: str | None = None
    boot: str | None = None
    buses: dict[str, dict[str, Any]] | None = None
    devices: dict[str, str] | None = None
    backlog: Annotated[
        Count | None, Field(description="records that waited for the platform then, this one not counted")
    ] = None
    days_until_full: Annotated[
        float | None, Field(ge=0, allow_inf_nan=False, description="days without the platform that there is room for")
    ] = None


class Audit(Record):
    """Who did what: `what` is "action" for a write to a device, with point, value and read_back."""

    kind: Literal["audit"]
    what: Name
    point: str | None = None
    value: Number | None = None
    read_back: Number | None = None
    confirmed: bool | None = None
    while_offline: bool | None = None
    reason: str | None = None
    error: str | None = None


class Reading(Record):
    """What one device said at one instant; null where it gave no usable value."""

    kind: Literal["reading"]
    device: Name
    values: dict[Name, Number | None]


class Acknowledgement(_Part):
    """To the gateway, on `ack`: all records of `epoch` from `from` to `to`, both included, are committed."""

    epoch: str
    from_: Annotated[Seq, Field(alias="from")]
    to: Seq


class Stretch(_Part):
    """A stretch of time; its end is not part of it."""

    from_: Annotated[Time, Field(alias="from")]
    to: Time


class Replay(_Part):
    """To the gateway, on `cmd`: send once more, as new records marked `replayed`, what you remember of this time."""

    replay: Stretch


class SignedCommand(_Part):
    """To the gateway, on `cmd`: `command` is a JSON object as text, signed as it stands."""

    command: str
    signature: Annotated[str, Field(description="base64 of an Ed25519 signature of 'guet/v1/cmd\\n' and the text")]


class SignedConfiguration(_Part):
    """To the gateway, on `cmd`: `configuration` is a JSON object as text (id, gateway, number, issued, expires, site,
    reason, by), signed as it stands; `site` in it is base64 of zlib of the text of a site file."""

    configuration: str
    signature: Annotated[
        str, Field(description="base64 of an Ed25519 signature of 'guet/v1/configuration\n' and the text")
    ]


ANSWERS: Final[dict[str, type[_Part]]] = {
    "ack": Acknowledgement,
    "replay": Replay,
    "command": SignedCommand,
    "configuration": SignedConfiguration,
}
KINDS: Final[dict[str, type[Record]]] = {
    "summary": Summary,
    "alert": AlertRecord,
    "gap": Gap,
    "status": Status,
    "audit": Audit,
    "reading": Reading,
}
_ADAPTERS: Final[dict[str, TypeAdapter[Record]]] = {kind: TypeAdapter(model) for kind, model in KINDS.items()}


def parse(subject: str, payload: bytes) -> Record:
    """A message as it came from the log. Raises ContractError with why it is refused."""
    found = SUBJECT.fullmatch(subject)
    if found is None:
        raise ContractError("topic", f"{subject[:100]!r}: expected guet.v1.GATEWAY.KIND")
    gateway, kind = found.groups()
    if len(payload) > MAX_BYTES:
        raise ContractError("oversized", f"{subject}: expected at most {MAX_BYTES} bytes, got {len(payload)}")
    try:
        record = _ADAPTERS[kind].validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        reason = "not JSON" if first["type"] == "json_invalid" else "malformed"
        where = ".".join(str(part) for part in first["loc"])
        raise ContractError(
            reason, f"{subject}: {where}: {first['msg']}" if where else f"{subject}: {first['msg']}"
        ) from None
    if record.gateway != gateway:
        raise ContractError("forged", f"{subject}: expected a record of {gateway!r}, got one of {record.gateway!r}")
    return record


def schema(kind: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a kind of message, or of what a platform says (ANSWERS)."""
    model: type[BaseModel] = ANSWERS.get(kind) or KINDS[kind]
    made = model.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"guet/v1/{kind}.schema.json", **made}


def schema_text(kind: str) -> str:
    """The same as the file holds it."""
    return json.dumps(schema(kind), indent=2, ensure_ascii=False, sort_keys=True) + "\n"
