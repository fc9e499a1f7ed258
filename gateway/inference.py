"""Models: a folder with a card, and the int8 network that the card describes, run by LiteRT.

A card is a closed schema; a model is used only if its file has the hash in the card. `ai-edge-litert` runs it, with its
default XNNPACK delegate: then its int8 outputs are the same bytes on every x86 and ARM core. The library falls back to
other kernels without a word when it cannot read /proc and /sys; that is found out here and said. `tflite-runtime` is used
where it is what is installed; it has other kernels too, so it is said as well.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import math
import tomllib
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from gateway.alert import AlertKind, Confidence, Severity
from gateway.errors import ModelError
from gateway.point import Closed
from gateway.profile import sentences
from gateway.verdict import Decision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gateway.window import Features

log = logging.getLogger(__name__)

CARD = "card.toml"
RUNTIMES = ("ai_edge_litert", "tflite_runtime")
Positive = Annotated[float, Field(gt=0)]


class Network(Closed):
    """The file of the network: int8 in, int8 out. steps, channels: the shape of its input, channels by name in order.
    forecast: beside the score it gives what it expected of each step, in the window's own units. handicap:
    taken from its score where little is read (Features.narrow)."""

    file: str = Field(pattern=r"^[a-z0-9_]+\.tflite$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(gt=0, le=32768)
    steps: int = Field(gt=0)
    channels: list[str] = Field(min_length=1)
    forecast: bool = False
    handicap: float = Field(default=0.0, ge=0)


class DecisionTable(Closed):
    """See gateway.verdict.Decision."""

    threshold: float
    evidence: Positive
    cap: Positive
    clear: float
    clear_s: Positive
    grace_s: float = Field(ge=0)
    rise: Positive
    hold_s: float = Field(ge=0)
    relax_s: Positive
    power: float = Field(default=1.0, ge=1, le=4)
    jump: float = Field(default=math.inf, gt=0)
    fade_s: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _hysteresis(self) -> Self:
        if self.clear > self.threshold:
            raise ValueError(f"clear: expected at most the threshold {self.threshold}, got {self.clear}")
        return self


class SeverityTable(Closed):
    """The scores from which an alert is major and critical; below it is minor."""

    major: float
    critical: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.critical < self.major:
            raise ValueError(f"critical: expected at least major {self.major}, got {self.critical}")
        return self


class Rule(Closed):
    """The simple rule beside the model. margin: by how many points of detection a model must beat it to be used."""

    name: str
    margin: float = Field(ge=0)


class Data(Closed):
    """What the model learnt from."""

    made: Literal["simulated", "recorded", "none"]
    text: str


class Figure(Closed):
    """One measured figure, with its 95 % interval and on how many cases it rests."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int = Field(ge=0)


class Metrics(Closed):
    """What was measured, when, with what."""

    date: date
    runtime: str
    text: str
    figure: list[Figure] = []


class Band(Closed):
    """Of `alerts` raised at this score or higher, up to the next band, `right` were right."""

    score: float
    right: int = Field(ge=0)
    alerts: int = Field(gt=0)

    @model_validator(mode="after")
    def _counted(self) -> Self:
        if self.right > self.alerts:
            raise ValueError(f"right: expected at most {self.alerts}, the alerts of the band, got {self.right}")
        return self


class Calibration(Closed):
    """What became of alerts, by their score. text: of whose, and how rare what was watched for was among them: where it is
    rarer, an alert is right less often."""

    made: Literal["simulated", "recorded"]
    text: str
    band: list[Band] = Field(min_length=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        scores = [band.score for band in self.band]
        if scores != sorted(set(scores)):
            raise ValueError(f"band: expected rising scores, got {scores}")
        return self


class Card(Closed):
    """A model's data sheet. decides: whether the network or the rule gives the score. explains: whether the weights of
    reasons are asked of the scorer (gateway.explanation), or are the window's own evidence."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    purpose: str
    not_for: str
    kind: AlertKind
    window: Literal["sector", "lamp", "lift", "rig", "bin", "building"]
    decides: Literal["model", "rule"]
    explains: Literal["scorer", "evidence"] = "evidence"
    model: Network | None = None
    decision: DecisionTable
    severity: SeverityTable
    rule: Rule
    data: Data
    metrics: Metrics
    calibration: Calibration | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.decides == "model" and self.model is None:
            raise ValueError("model: missing, but decides = 'model'; add [model] or let the rule decide")
        return self


class Model:
    """A model ready to judge. One thread at a time.

    card: its data sheet. sha256: of the network, empty where the rule decides. fallback: empty, or a sentence that says
    which other kernels compute it than those its golden examples were made with.
    """

    def __init__(self, card: Card, interpreter: Any = None, fallback: str = "") -> None:
        self.card, self.fallback = card, fallback
        self.sha256 = card.model.sha256 if card.model and interpreter is not None else ""
        self.decision = Decision(**card.decision.model_dump())
        self._interpreter = interpreter
        if interpreter is not None:
            self._input = interpreter.get_input_details()[0]
            # The score is the one value; the order of outputs is the converter's.
            self._output, *self._more = sorted(
                interpreter.get_output_details(), key=lambda one: int(one["shape"].prod())
            )

    @property
    def refused(self) -> bool:
        """There is a network, but the card lets the rule decide: it was not enough better than the rule."""
        return self.card.model is not None and self.card.decides == "rule"

    def judge(self, features: Features) -> float:
        """The score of these features: the network's, or the rule's where the card says so. What is certain is critical
        whatever a network says."""
        if self._interpreter is None or self.card.model is None:
            return features.rule_score
        score = self.score(features.x) - (self.card.model.handicap if features.narrow else 0.0)
        return max(score, self.card.severity.critical) if features.certain else score

    def score(self, x: NDArray[np.float32]) -> float:
        """The network's output for x (steps, channels) as in the card: the natural logarithm of the odds that what is
        watched is wrong, so 0 is even odds; higher = more anomalous. A value that is not finite counts as 0, which the
        windows use for "not known". Raises ValueError for another shape."""
        return self.dequantised(self.raw(self.quantised(x)))

    def quantised(self, x: NDArray[np.float32]) -> NDArray[np.int8]:
        """x as the network takes it: (1, steps, channels) int8, rounded to even, held at -128 and 127."""
        import numpy as np

        if x.shape != tuple(self._input["shape"][1:]):
            raise ValueError(f"model {self.card.name}: expected input {tuple(self._input['shape'][1:])}, got {x.shape}")
        scale, zero = self._input["quantization"]
        whole = np.rint(np.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0) / np.float32(scale)) + zero
        return np.asarray(np.clip(whole, -128, 127).astype(np.int8)[None])

    def raw(self, x: NDArray[np.int8]) -> int:
        """The network's int8 output for an int8 input of (1, steps, channels)."""
        self._interpreter.set_tensor(self._input["index"], x)
        self._interpreter.invoke()
        return int(self._interpreter.get_tensor(self._output["index"]).reshape(-1)[0])

    def forecast(self) -> NDArray[np.int8]:
        """Of the input that was scored last: what was expected of each step, int8 as the network gives it; (0,) without."""
        import numpy as np

        if not self._more:
            return np.zeros(0, np.int8)
        return np.asarray(self._interpreter.get_tensor(self._more[0]["index"]), np.int8).reshape(-1)

    def dequantised(self, raw: int) -> float:
        """An int8 output as a score."""
        scale, zero = self._output["quantization"]
        return float((raw - zero) * scale)

    def informed(self, features: Features) -> Features:
        """The same, told by the network's own forecast where it gives one and decides."""
        if self._interpreter is None or features.informed is None or not self._more:
            return features
        self.score(features.x)
        scale, zero = self._more[0]["quantization"]
        return features.informed((self.forecast().astype(float) - zero) * scale)

    def severity(self, score: float) -> Severity:
        """How soon somebody must act on an alert of this score."""
        if score >= self.card.severity.critical:
            return Severity.CRITICAL
        return Severity.MAJOR if score >= self.card.severity.major else Severity.MINOR

    def confidence(self, score: float) -> Confidence | None:
        """How often alerts of such a score were right; None where the card does not know."""
        calibration = self.card.calibration
        bands = [band for band in calibration.band if band.score <= score] if calibration else []
        if calibration is None or not bands:
            return None
        return Confidence(round(bands[-1].right / bands[-1].alerts, 3), bands[-1].alerts, calibration.made)


def load_model(folder: Path, even_refused: bool = False) -> Model:
    """The model in a folder. even_refused: its network also where the card lets the rule decide, to be measured. Raises
    ModelError with all that is wrong with it."""
    card = load_card(folder / CARD)
    if card.model is None or (card.decides == "rule" and not even_refused):
        return Model(card)
    content = _checked(folder, card.model)
    interpreter, fallback = _interpreter(folder / card.model.file, content)
    if faults := list(_misfits(folder, card.model, interpreter)):
        raise ModelError(faults)
    if fallback:
        log.warning("model=%s %s", card.name, fallback)
    return Model(card, interpreter, fallback)


def load_card(file: Path) -> Card:
    """A card. Raises ModelError with all its faults."""
    where = f"{file.parent.name}/{file.name}"
    try:
        return TypeAdapter(Card).validate_python(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError([f"{where}: cannot be read: {error}; expected a model's card in UTF-8"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ModelError([f"{where}: not TOML: {error}"]) from None
    except ValidationError as error:
        raise ModelError(sentences(error, where)) from None


def _checked(folder: Path, network: Network) -> bytes:
    """The network's file, if it is the one of the card."""
    where, file = f"{folder.name}/{CARD}", folder / network.file
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ModelError([f"{where}: model.file: {network.file} cannot be read: {error}; restore the folder"]) from None
    faults = []
    if len(content) != network.bytes:
        faults.append(
            f"{where}: model.bytes: expected {network.bytes}, got {len(content)} in {network.file}; restore the file"
        )
    if (found := hashlib.sha256(content).hexdigest()) != network.sha256:
        faults.append(
            f"{where}: model.sha256: expected {network.sha256}, got {found} for {network.file}; "
            "the file is not the one that was measured: restore the folder, or run its fit.py again"
        )
    if faults:
        raise ModelError(faults)
    return content


def _interpreter(file: Path, content: bytes) -> tuple[Any, str]:
    """An interpreter with its tensors, and the sentence about other kernels, if they are."""
    for name in RUNTIMES:
        try:
            runtime = importlib.import_module(f"{name}.interpreter")
            break
        except ImportError:
            continue
    else:
        raise ModelError([f"{file.parent.name}/{file.name}: no runtime; install it: pip install ai-edge-litert==2.3.0"])
    try:
        interpreter = runtime.Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelError(
            [f"{file.parent.name}/{file.name}: the runtime refuses it: {error}; restore the file"]
        ) from None
    if name == "tflite_runtime":
        return interpreter, "runs on tflite-runtime: outputs may differ by up to 4 steps from the golden examples"
    if not any(op["op_name"] == "DELEGATE" for op in interpreter._get_ops_details()):  # noqa: SLF001 nothing public tells it
        return (
            interpreter,
            "runs without XNNPACK, which it cannot start here (are /proc and /sys readable?): outputs may differ",
        )
    return interpreter, ""


def _misfits(folder: Path, network: Network, interpreter: Any) -> list[str]:
    """Where the network is not what the card says."""
    where = f"{folder.name}/{CARD}"
    given, wanted = interpreter.get_input_details(), [1, network.steps, len(network.channels)]
    results = interpreter.get_output_details()
    faults = []
    if len(given) != 1 or given[0]["shape"].tolist() != wanted:
        found = [tensor["shape"].tolist() for tensor in given]
        faults.append(f"{where}: model.steps, model.channels: expected an input of {wanted}, the file has {found}")
    sizes = [1, network.steps] if network.forecast else [1]
    if sorted(int(one["shape"].prod()) for one in results) != sizes:
        faults.append(
            f"{where}: model.file, model.forecast: expected outputs of {' and '.join(map(str, sizes))} value(s), got "
            f"{[r['shape'].tolist() for r in results]}"
        )
    types = {tensor["dtype"].__name__ for tensor in (*given, *results)}
    if types != {"int8"}:
        faults.append(f"{where}: model.file: expected int8 in and out, got {', '.join(sorted(types))}; quantise it")
    return faults
