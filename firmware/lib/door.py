"""Lift door cycles out of two contacts: the door is closed, the door is open. Observes; commands nothing.

A cycle: the closed contact opens, (the open contact makes, breaks,) the closed contact makes. A door that turns round
while closing has reopened. `features` are what the forest judges, in units of 10 ms, held at 32,767.
"""

from array import array

from micropython import const

OPENING = const(0)
DWELL = const(1)
CLOSING = const(2)
REOPENINGS = const(3)
STALLED = const(4)
N_FEATURES = const(5)

_CLOSED = const(0)
_MOVING_OPEN = const(1)
_OPEN = const(2)
_MOVING_CLOSED = const(3)


class DoorCycles:
    """step() once a sample. True when a cycle has just ended; then `features` hold

    OPENING, DWELL, CLOSING: how long the door took to open, stood open, took to close, the last time of each
    REOPENINGS: how often it turned round while closing
    STALLED: the longest time between the contacts, in one direction
    """

    def __init__(self):
        self.features = array("h", [0] * N_FEATURES)
        self._state = _CLOSED
        self._since = 0
        self.cycles = 0

    def step(self, elapsed: int, closed: bool, opened: bool) -> bool:
        """elapsed: units of 10 ms since the step before."""
        self._since = min(self._since + elapsed, 32767)
        state = self._state
        features = self.features
        if closed and opened:  # a broken contact; the times would be lies
            return False
        if state == _CLOSED:
            if not closed:
                for i in range(N_FEATURES):
                    features[i] = 0
                self._enter(_OPEN if opened else _MOVING_OPEN)
        elif closed:
            if state == _MOVING_CLOSED:
                features[CLOSING] = self._since
            if state != _OPEN:
                features[STALLED] = max(features[STALLED], self._since)
            self._enter(_CLOSED)
            self.cycles += 1
            return True
        elif opened and state != _OPEN:
            if state == _MOVING_OPEN:
                features[OPENING] = self._since
            else:
                features[REOPENINGS] = min(features[REOPENINGS] + 1, 32767)
            features[STALLED] = max(features[STALLED], self._since)
            self._enter(_OPEN)
        elif not opened and state == _OPEN:
            features[DWELL] = self._since
            self._enter(_MOVING_CLOSED)
        return False

    def _enter(self, state: int) -> None:
        self._state = state
        self._since = 0
