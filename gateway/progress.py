"""How far a job is, for who waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Progress:
    """done of `of` (0: nobody knows); said: what is being done. ask: something that the person has to do now. bus: where,
    if on one."""

    done: int
    of: int
    said: str
    ask: bool = False
    bus: str = ""
    kind: Literal["progress"] = "progress"
