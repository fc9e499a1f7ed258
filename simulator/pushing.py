"""The soak's platform changes the site of its gateway, and so does somebody who is not the platform: sound texts and faulty
ones, ones that do not work, forged, older, twice, and all of them while everything else goes wrong too.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.alert import iso
from gateway.push import Push, packed
from gateway.signed import signed
from simulator.board import Board
from simulator.centre import Centre
from simulator.place import Place

Kind = Literal["sound", "faulty", "not working", "unreachable", "forged", "older"]
KINDS: Final[tuple[Kind, ...]] = ("sound", "sound", "sound", "faulty", "not working", "unreachable", "forged", "older")
GOOD_FOR_S: Final = 3 * 86_400.0
AGAIN_S: Final = 900.0
EVERY_S: Final = 2 * 86_400.0
KEY_FILE: Final = "platform.pem"
KEEP_WITHIN_S: Final = 1800.0
FINAL: Final = ("refused", "kept", "returned")
ABSENT: Final = """
[[device]]
name = "m9"
profile = "energy/eastron_sdm120"
bus = "tcp"
address = 99
every = "300s"
"""


class Pushing:
    """See the module. text: of a site after so many changes, without a fault. May run: `allowed`, the texts that a gateway
    may ever begin with."""

    def __init__(
        self, chance: Random, folder: Path, centre: Centre, board: Board, text: Callable[[int], str], seed: int
    ) -> None:
        self._chance, self._centre, self._board, self._text = chance, centre, board, text
        self._key = Ed25519PrivateKey.from_private_bytes(Random(f"key {seed}").randbytes(32))
        self._forger = Ed25519PrivateKey.from_private_bytes(Random(f"forger {seed}").randbytes(32))
        pem = self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / KEY_FILE).write_bytes(pem)
        self.counts: Counter[str] = Counter()
        self.allowed: set[str] = set()
        self._outdated: set[str] = set()
        self._sent: dict[str, tuple[Kind, str]] = {}
        """Kind and text, by id."""
        self._found: dict[str, dict[str, list[str]]] = {}
        self._heard = 0

    async def run(self) -> None:
        """Until cancelled."""
        number = 0
        while True:
            await asyncio.sleep(self._chance.expovariate(1 / EVERY_S))
            number += 1
            kind = self._chance.choice(KINDS)
            if kind == "older" and number < 3:
                kind = "sound"
            await self._push(number, kind)

    async def _push(self, number: int, kind: Kind) -> None:
        text = f"# {kind} {number}\n" + self._text(number)
        match kind:
            case "faulty":
                text = text.replace("energy/eastron_sdm120", "energy/nothing").replace("above = 30", "above = 'hot'")
            case "not working":
                text += ABSENT
            case "unreachable":
                text = text.replace(f"mqtt://127.0.0.1:{self._centre.port}", "mqtt://127.0.0.1:9")
        if kind in ("sound", "not working", "unreachable"):
            self.allowed.add(text)
        elif kind == "older":
            self._outdated.add(text)
        now_s = self._board.true_s()
        push = Push(
            id=f"push-{number:06d}", gateway="soak", number=10 * number if kind != "older" else 10 * number - 25,
            issued=iso(now_s), expires=iso(now_s + GOOD_FOR_S), site=packed(text), reason="soak", by=kind,
        )  # fmt: skip
        self._sent[push.id] = kind, text
        self.counts[f"site pushed, {kind}"] += 1
        payload = signed(push, self._forger if kind == "forged" else self._key)
        loop = asyncio.get_running_loop()
        until_s = loop.time() + (GOOD_FOR_S if kind != "forged" else 4 * AGAIN_S)
        while loop.time() < until_s:
            for _ in range(1 + (self._chance.random() < 0.2)):
                self._centre.command(payload)
            await asyncio.sleep(AGAIN_S * (0.5 + self._chance.random()))
            if self._answers().get(push.id, {}).keys() & FINAL:
                return
        self.counts["site pushed, without an answer" if kind != "forged" else "site pushed, forged in vain"] += 1

    def forgot(self) -> None:
        """A store is ruined: which number was the newest is not known any more, only until when each is good."""
        self.allowed |= self._outdated

    def _answers(self) -> dict[str, dict[str, list[str]]]:
        """By id and answer, the faults."""
        for body in self._centre.remembered[self._heard :]:
            if body["kind"] == "audit":
                self._found.setdefault(str(body["id"]), {})[str(body["answer"])] = list(body["faults"])
        self._heard = len(self._centre.remembered)
        return self._found

    def settle(self, place: Place, break_: Callable[[str], None]) -> None:
        """What must be true of all that was pushed."""
        for text in place.ran:
            if text not in self.allowed:
                break_(f"a gateway began with a site that nothing allows: {text[:40]!r}")
        for name, answers in self._answers().items():
            kind, text = self._sent.get(name, ("forged", ""))
            self.counts.update(f"site {answer}" for answer in answers)
            if kind == "forged" and answers.keys() - {"refused"}:
                break_(f"a forged site was answered {sorted(answers)}")
            if kind == "faulty" and "refused" in answers and len(answers["refused"]) < 2:
                break_(f"a site with two faults was refused with {answers['refused']}")
            if answers.keys() & {"kept", "begun"} and text not in place.ran:
                break_(f"{name} was answered {sorted(answers)} and never ran")
            if kind in ("not working", "unreachable") and "kept" in answers:
                break_(f"a site that does not work was kept ({name}, {kind})")
