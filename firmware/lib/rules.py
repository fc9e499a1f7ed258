"""Rules a node applies to its own values when nobody else can: a threshold with hysteresis and delays."""


class Threshold:
    """True above `on`, false below `off` (or, where on < off, true below and false above), each only after the value
    has stayed there for `hold_s`. In between nothing changes.

    A missing value (None) keeps the state for `missing_s` and then gives `safe`: losing an input is never silently
    "all is well". Times are whole seconds that never go back.
    """

    def __init__(self, on: int, off: int, hold_s: int = 0, missing_s: int = 0, safe: bool = False):
        if on == off:
            raise ValueError("threshold: on and off must differ, got %d" % on)
        self.on = on
        self.off = off
        self.hold_s = hold_s
        self.missing_s = missing_s
        self.safe = safe
        self.state = safe
        self._since = -1  # when the value began to say otherwise than the state
        self._seen = -1  # when there last was a value

    def step(self, now: int, value) -> bool:
        if value is None:
            if self._seen < 0:
                self._seen = now
            if now - self._seen >= self.missing_s:
                self.state = self.safe
            self._since = -1
            return self.state
        self._seen = now
        rising = self.on > self.off
        if self.state:
            contrary = value < self.off if rising else value > self.off
        else:
            contrary = value > self.on if rising else value < self.on
        if not contrary:
            self._since = -1
            return self.state
        if self._since < 0:
            self._since = now
        if now - self._since >= self.hold_s:
            self.state = not self.state
            self._since = -1
        return self.state


class Lease:
    """A command from afar that holds only while it is renewed; `active` tells whether it still does."""

    def __init__(self, longest_s: int = 3600):
        self.longest_s = longest_s
        self._until = -1

    def grant(self, now: int, seconds: int) -> None:
        """Hold from now for so many seconds, at most `longest_s`; 0 ends it."""
        self._until = now + min(max(seconds, 0), self.longest_s)

    def active(self, now: int) -> bool:
        return now < self._until
