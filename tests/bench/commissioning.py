"""`guet bench commissioning`: a technician's visit to a simulated cabinet with planted faults, by both faces.

Packed in the office, claimed at the cabinet, scanned, mended as the scan says, checked, left with a report, verified;
without any network but loopback. `--face command`: by the verbs, as processes. `--face page`: by the page, in a real
Chromium with its JavaScript off. Both by default; without a Chromium the page is skipped, which is said, and in CI is a
miss. Named is a fault whose cause the scan gives by its id, for the right device, with the right remedy.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

from gateway.language import say
from tests.bench._cabinet import Cabinet, missed, standing
from tests.bench._commissioning_page import visit_by_page
from tests.browser.chromium import chromium


def run(seed: int = 1, devices: int = 7, face: str = "both", pictures: str = "") -> dict[str, Any]:
    """One visit a face. pictures: a folder for those of the guide."""
    faces: dict[str, dict[str, Any]] = {}
    lost: list[str] = []
    if face in ("both", "command"):
        faces["command"] = asyncio.run(_by_command(seed, devices))
    if face in ("both", "page"):
        if chromium() is None:
            skipped = say("PAGE NON ESSAYÉE : pas de Chromium (apt-get install chromium)",
                          "PAGE NOT TRIED: no Chromium (apt-get install chromium)")  # fmt: skip
            sys.stderr.write(f"guet bench commissioning : {skipped}\n")
            faces["page"] = {"skipped": skipped, "missed": [skipped] if face == "page" or os.environ.get("CI") else []}
        else:
            folder = Path(pictures) if pictures else None
            faces["page"] = asyncio.run(visit_by_page(seed, devices, folder))
    if not faces:
        lost.append(f"--face {face}: expected command, page or both")
    lost += [f"{name}: {line}" for name, found in faces.items() for line in found["missed"]]
    return {"simulated": True, "seed": seed, "devices": devices, "missed": lost, "faces": faces}


async def _by_command(seed: int, count: int) -> dict[str, Any]:
    async with standing(seed, count) as cabinet:
        began_s = time.monotonic()
        claimed = await cabinet.claim()
        _, rows = await cabinet.guet("scan", "site.toml", "--json")
        findings = [(row["device"], row["cause"]["id"], row["cause"]["sentence"] + " " + row["cause"]["action"])
                    for row in rows if row["kind"] == "finding"]  # fmt: skip
        proposals: list[dict[str, Any]] = next(
            (row["proposals"] for row in rows if row.get("expected") == cabinet.other_model), []
        )
        planted = cabinet.named(findings, [one["profile"] for one in proposals])
        _, (why, *_) = await cabinet.guet("why", f"{cabinet.dead}", "--json")
        planted["dead sensor"]["why"] = why["cause"]["id"]
        cabinet.mend()
        other = cabinet.other_model
        await cabinet.guet(
            "replace", other, "site.toml", "--profile", cabinet.true_profile[other], "--by", "AM", "--json"
        )
        _, again = await cabinet.guet("scan", "site.toml", "--json")
        left = [row["cause"]["id"] for row in again if row["kind"] == "finding"]
        report = await _leave(cabinet)
        seconds = round(time.monotonic() - began_s, 1)
        found = {"planted": planted, "left_after_mending": left, "claimed": claimed, "report": report,
                 "verify": await cabinet.verify(), "visit_s": seconds, "calls": cabinet.calls}  # fmt: skip
        return {"missed": missed(found), **found}


async def _leave(cabinet: Cabinet) -> dict[str, Any]:
    """Checks everything with the gateway running, accepts with a reason what is doubted, leaves."""
    async with cabinet.running():
        early, _ = await cabinet.guet("leave", "--by", "AM", "--json")
        _, rows = await cabinet.guet("check", "--by", "AM", "--json")
        doubted = [row["point"] for row in rows if row["verdict"] not in ("plausible", "accepted")]
        for point in doubted:
            accept = ("--reads", "2", "--accept", "appareil simulé", "--by", "AM", "--json")
            await cabinet.guet("check", point, *accept)
        done = ("leave", "--by", "AM", "--out", "pv", "--outage", "5", "--defer", "banc sans réseau", "--json")
        code, rows = await cabinet.guet(*done)
    items = {row["name"]: row["said"] for row in rows if row["kind"] == "item"}
    return {"ready": code == 0, "red_before_checks": early == 1, "accepted": len(doubted), "items": items}
