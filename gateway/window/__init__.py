"""Windows: the recent past of a watch's points, as the features that a model or a rule judges.

A window is causal (what it gives for an hour depends on nothing later), takes summaries in order of time, tolerates gaps,
and is the same code in training, replay and service. One file a kind of watch: `sector` (water), `lamp`, `lift`, `rig`,
`bin`, `building`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from gateway.alert import Reason
from gateway.summary import Aggregate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Inputs = Mapping[str, Sequence[str]]
"""The points of a watch by role, as in the site: {"flow": ["debit/flow"], "pressure": ["amont/pressure", ...]}."""


@dataclass(frozen=True, slots=True)
class Features:
    """What a scorer sees at one instant.

    x: (steps, channels) float32, channels as named in the model's card; dimensionless, clipped to the card's range.
    evidence: candidate reasons, by descending strength, their weights not yet normalised; a rule scores on these.
    rule_score: what the simple rule of this kind of watch says; above 1 it would alert.
    ease: these features as they would be had some points, by name, departed from their usual by only a share (0 to 1) of
    what they did; what explains a score asks for it (gateway.explanation). None where a window cannot say.
    certain: something that needs no network, such as a device that reports its own failure. suspects: sensors that measure
    something else than what they are there for, each with why; the weight is how sure that is, above 1. informed: the same
    features with reasons told by a network's forecast of each step; None where a window makes nothing of one.
    narrow: little of what such a watch can read is read here, so that a network must be surer than elsewhere.
    alike: points that a scorer cannot tell apart, since it sees the largest or the mean of them, each with how far it
    departs.
    """

    time_s: float
    x: NDArray[np.float32]
    evidence: Sequence[Reason]
    rule_score: float
    ease: Callable[[Mapping[str, float]], Features] | None = None
    certain: bool = False
    suspects: Sequence[Reason] = ()
    informed: Callable[[NDArray[np.float64]], Features] | None = None
    narrow: bool = False
    alike: Mapping[str, float] = field(default_factory=dict)


class Window(Protocol):
    """One watch's window."""

    step_s: float
    """How often the watch is judged, in seconds."""

    steps: int
    channels: Sequence[str]
    """The shape of `Features.x`; no channels where they are the points of the site."""

    def add(self, point: str, start_s: float, period_s: float, aggregate: Aggregate, unit: str) -> None:
        """Takes in one point's summary; points of one watch come in any order within a step, steps in order of time.
        `unit` is the point's (UCUM); the window converts. Raises ValueError for a unit that its role cannot have."""
        ...

    def features(self, now_s: float) -> Features | None:
        """The features as known at `now_s` (a multiple of `step_s`); None while there is not enough data yet."""
        ...

    def missing(self, now_s: float) -> str:
        """Why `features` is None, as a French sentence for people ("12 jours sur 28 ..."); empty when it is not."""
        ...


@runtime_checkable
class Remembers(Protocol):
    """A window that knows something which stored summaries are too young to teach it again after a restart."""

    def state(self) -> dict[str, Any]:
        """All of that, for JSON."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`. Raises ValueError when it is not one."""
        ...


@runtime_checkable
class Settles(Protocol):
    """A window that takes what was alerted, once it lasts, for the new level, and sees from there what comes next."""

    levelled: bool
    """Whether there was such a level lately: what comes on top of it must show more clearly."""

    def is_more(self, now_s: float) -> bool:
        """Whether what would be raised now is only more of what is known; if so it belongs to the level from now on."""
        ...

    def raised(self, now_s: float, since_s: float) -> None:
        """An alert was raised."""
        ...

    def cleared(self) -> None:
        """It has ended."""
        ...

    def settle(self, now_s: float) -> bool:
        """Asked after every step: whether levels changed, so that features are others from now on."""
        ...

    def running(self, now_s: float) -> bool:
        """Whether something that was alerted goes on, though features do not show it any more."""
        ...
