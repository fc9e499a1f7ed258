"""Every error of ours, divided by whose fault it is and so by what to do about it.

    GuetError
      SiteError, ProfileError, ModelError   a file of ours is wrong: say all faults at once, exit 2
      BusError                              something on a bus went wrong
        LinkError                           the port or connection itself: reopen, with back-off
        NoAnswer                            silence: wiring, power, address
        GarbledAnswer                       bytes came, but not an answer: speed, parity, noise, two devices
        Refused                             the device understood and said no: carries its code
          Busy                              it will, but not now: ask again
          NoSuchPlace                       it has nothing at a place that was asked for: ask for less at once
      ActionError                           a write was not allowed, or its read-back did not confirm it
        NotNow                              it may be later: rate, dwell, or somebody of higher rank holds the point
      CommandRefused                        a remote command is forged, late, a repetition, or not allowed
      StoreError, UplinkError               our disk; the way to the platform
      WishError                             what was asked for is not there, or may not be; nothing was done
      SealError                             a signed document is not what it says it is
      HatchError                            the way between a verb and the gateway that runs

Parsers raise; only `poll`, `action` and `app` catch, and turn a failure into the quality of a reading.
A message reads: where: expected X, got Y; what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

_SHOWN = 32
"""Bytes of the evidence that a message shows; `raw` has them all."""


class GuetError(Exception):
    """Whatever goes wrong in Guet and is understood."""


class FileFault(GuetError):
    """One or more faults in a file that a person wrote. `faults` are complete sentences, each naming file and key."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


class SiteError(FileFault):
    """The site file cannot be used."""


class ProfileError(FileFault):
    """A device profile cannot be used."""


class ModelError(FileFault):
    """A model folder cannot be used: card, file or runtime."""


class BusError(GuetError):
    """An exchange on a bus failed. `raw` is the evidence: the bytes that did come."""

    def __init__(self, message: str, raw: bytes = b"") -> None:
        self.raw = bytes(raw)
        shown = self.raw[:_SHOWN].hex(" ") + (" ..." if len(self.raw) > _SHOWN else "")
        super().__init__(f"{message} (received {shown})" if raw else message)


class LinkError(BusError):
    """The port or the connection itself is unusable; it may come back."""


class NoAnswer(BusError):
    """Nothing came back in time: power, wiring or address."""


class GarbledAnswer(BusError):
    """Bytes came back that are no answer to what was asked: checksum, unit, function, count."""


class Refused(BusError):
    """The device answered that it will not. `code` is the device's own (Modbus: exception code)."""

    def __init__(self, message: str, code: int, raw: bytes = b"") -> None:
        self.code = code
        super().__init__(message, raw)


class Busy(Refused):
    """The device says that it has no time (Modbus: exceptions 5 and 6)."""


class NoSuchPlace(Refused):
    """The device says that there is nothing at one of the places asked for (Modbus: illegal data address)."""


class ActionError(GuetError):
    """A write was not allowed, or could not be confirmed by reading it back."""


class NotNow(ActionError):
    """A write may not be made yet. `wait_s`: in how many seconds of site time it may."""

    def __init__(self, message: str, wait_s: float) -> None:
        self.wait_s = wait_s
        super().__init__(message)


class CommandRefused(GuetError):
    """A remote command that is not carried out. `id`: as it calls itself, where that could be read."""

    def __init__(self, message: str, id: str = "") -> None:  # noqa: A002 - the contract's word
        self.id = id
        super().__init__(message)


class StoreError(GuetError):
    """The store on disk cannot be read or written."""


class UplinkError(GuetError):
    """The central platform cannot be reached, or refuses us."""


class WishError(GuetError):
    """What was asked for is not there, or may not be done. Nothing was."""


class SealError(GuetError):
    """A signed document was changed, is signed by somebody else, or cannot be read; or a key cannot be used."""


class HatchError(GuetError):
    """A verb cannot reach the gateway that runs, or is told no by it."""


@contextmanager
def collecting(kind: type[FileFault]) -> Iterator[list[str]]:
    """A list to add faults to; raises them all at once, as `kind`, on leaving."""
    faults: list[str] = []
    yield faults
    if faults:
        raise kind(faults)
