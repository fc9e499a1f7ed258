"""Told together: which devices of a bus wait to be told the same, and the group by which one command tells them all.

What groups there are is known from the devices alone: whenever the place is read that says which ones a device is in. A
group is told only when every device of it waits for just that, so that no command reaches a device that nobody wanted told;
one that is lost does not count, and one of which nothing is known forbids every group while it does not wait too. Nobody
confirms such a command: each device is read back as if it had been told alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from gateway.codec import GroupCodec, Place, Span


@dataclass(slots=True, eq=False)
class Telling:
    """One device that waits to be told. addresses: all that wait for the same, itself among them."""

    address: int
    place: Place
    raw: bytes
    addresses: dict[int, Telling] = field(default_factory=dict, repr=False)
    told: asyncio.Event = field(default_factory=asyncio.Event, repr=False)


class Together:
    """The groups of one bus, and who waits. addresses: of all its devices."""

    def __init__(self, codec: GroupCodec, addresses: Collection[int]) -> None:
        self.codec, self._addresses = codec, frozenset(addresses)
        self._groups: dict[int, frozenset[int]] = {}
        self._waiting: dict[tuple[Place, bytes], dict[int, Telling]] = {}

    def brief(self, place: Place) -> bool:
        """Whether the place is told and asked with one request."""
        return self.codec.brief(place)

    def heard(self, address: int, span: Span, data: bytes) -> None:
        """Takes from what a device was read which groups it is in."""
        start = span.offsets.get(self.codec.membership)
        if start is not None:
            self._groups[address] = self.codec.groups(data[start:])

    def forget(self, address: int) -> None:
        """Nothing is known of a device any more: other hardware may stand there."""
        self._groups.pop(address, None)

    @contextmanager
    def waiting(self, address: int, place: Place, raw: bytes) -> Iterator[Telling]:
        """A device that waits to be told, as long as it does."""
        same = self._waiting.setdefault((place, raw), {})
        telling = Telling(address, place, raw, same)
        same[address] = telling
        try:
            yield telling
        finally:
            if same.get(address) is telling:
                del same[address]
            if not same and self._waiting.get((place, raw)) is same:
                del self._waiting[place, raw]

    def group(self, telling: Telling, lost: Collection[int]) -> int | None:
        """The group that tells this device and most others of those that wait for the same; None when it has to be told
        alone. lost: addresses that do not count."""
        waiting = telling.addresses.keys()
        others = self._addresses - waiting - set(lost)
        if not others <= self._groups.keys():
            return None
        best: tuple[int, int] | None = None
        for group in self._groups.get(telling.address, ()):
            members = {address for address, groups in self._groups.items() if group in groups}
            if len(members & waiting) > 1 and not members & others:
                best = max(best or (0, 0), (len(members & waiting), group))
        return best[1] if best else None

    def told(self, telling: Telling, group: int) -> None:
        """The group was told: those of it that wait need not be told again."""
        for address, other in telling.addresses.items():
            if group in self._groups.get(address, ()):
                other.told.set()
