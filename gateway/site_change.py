"""A change of the site file as a verb makes it: asked of the gateway that runs, and followed until all works again or it is
gone back from; without a gateway made here, to go on trial when one next starts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.app import site_of
from gateway.errors import HatchError
from gateway.hatch import Job, ask_running
from gateway.language import say, words_given
from gateway.settings import (
    BackWish,
    KeepWish,
    PutWish,
    Settings,
    SettingsWish,
    back,
    keep,
    put,
    settings,
    show,
    trial_of,
    version_text,
)
from gateway.site_file import data_folders, go_back, put_on_trial
from gateway.site_file import keep as keep_here

SITE = Job("site", SettingsWish, Settings, show)
PUT_SITE = Job("put-site", PutWish, Settings, put, alone=True)
KEEP_SITE = Job("keep-site", KeepWish, Settings, keep)
SITE_BACK = Job("site-back", BackWish, Settings, back, alone=True)

BACK_WITHIN_S = 60.0
"""How long the gateway may be away, beyond what the trial allows, before a verb no longer waits for it."""
ASK_EVERY_S = 0.5
Progress = Callable[[int, int, str], None]
"""Told how many seconds passed, of how many, and what is waited for."""


async def state(path: Path) -> Settings:
    """How the site file stands. Raises GuetError."""
    try:
        return await _asked(path, SITE, SettingsWish()) or settings(path)
    except HatchError:  # it may just have ended to begin anew
        await asyncio.sleep(ASK_EVERY_S)
        return await _asked(path, SITE, SettingsWish()) or settings(path)


async def change(path: Path, wish: PutWish, progress: Progress) -> Settings:
    """Puts a text on trial; gives how that went. Raises GuetError."""
    found = await _asked(path, PUT_SITE, wish)
    if found is None:
        by, trial = words_given("--by", wish.by, 200), trial_of(wish, "")
        site_of(wish.text, path)
        put_on_trial(path, wish.text, wish.base, trial, time.time(), by)
        return settings(path)
    return found if found.trial is None else await _followed(path, wish.healthy_within_s, progress)


async def keep_change(path: Path, wish: KeepWish) -> Settings:
    """What is on trial stays. Raises GuetError."""
    found = await _asked(path, KEEP_SITE, wish)
    if found is None:
        keep_here(path, words_given("--by", wish.by, 200))
        return settings(path)
    return found


async def undo_change(path: Path, wish: BackWish, progress: Progress) -> Settings:
    """Ends a trial, or puts a version before on trial. Raises GuetError."""
    found = await _asked(path, SITE_BACK, wish)
    if found is not None:
        return found if found.trial is None else await _followed(path, PutWish("", "").healthy_within_s, progress)
    by, known = words_given("--by", wish.by, 200), settings(path)
    if known.trial is not None and not wish.version:
        go_back(path, say(f"annulée par {by}", f"undone by {by}"), time.time())
    else:
        text = version_text(path, wish.version)
        site_of(text, path)
        put_on_trial(path, text, known.sha256, trial_of(PutWish("", ""), ""), time.time(), by)
    return settings(path)


async def _followed(path: Path, healthy_within_s: float, progress: Progress) -> Settings:
    """How a change goes, until all works again or it is gone back from. Raises HatchError where the gateway does not come
    back."""
    began_s, limit_s = time.monotonic(), healthy_within_s + BACK_WITHIN_S
    while (elapsed_s := time.monotonic() - began_s) < limit_s:
        await asyncio.sleep(ASK_EVERY_S)
        found = await state(path)
        if found.running and (found.trial is None or found.trial.healthy):
            return found
        waits = found.trial.lacking if found.trial is not None else ()
        said = " ; ".join(waits) or say("la passerelle repart", "the gateway begins anew")
        progress(int(elapsed_s), int(healthy_within_s), said)
    raise HatchError(say("la passerelle ne revient pas : journalctl -u guet ; elle repartira avec le texte d'avant",
                         "the gateway does not come back: journalctl -u guet; it will start with the text before")
                     )  # fmt: skip


async def _asked(path: Path, job: Job[Any, Settings], wish: Any) -> Settings | None:
    """What the gateway that runs this site answers; None where none does. Raises GuetError."""
    for data in dict.fromkeys(data_folders(path)):
        if rows := await ask_running(data, job, wish):
            return rows[-1]
    return None


# -- in words ----------------------------------------------------------------------------------------------------------


def lines(found: Settings) -> Iterator[str]:
    """How the site file stands, for people."""
    by = found.by or say("à la main", "by hand")
    since = f", {when(found.at_s)}" if found.at_s is not None else ""
    yield f"{found.file} : {found.sha256[:12]}, {by}{since}"
    if found.by_hand:
        yield say("  changé à la main depuis, la passerelle tourne avec un autre texte : systemctl reload guet",
                  "  changed by hand since, the gateway runs another text: systemctl reload guet")  # fmt: skip
    if (trial := found.trial) is not None and trial.begun:
        left = f"{trial.left_s / 60:.0f} min"
        yield (
            say(f"  À L'ESSAI, tout marche : encore {left} pour dire guet site keep, sinon le texte d'avant revient",
                f"  ON TRIAL, all works: {left} left to say guet site keep, else the text before comes back")
            if trial.healthy
            else say("  À L'ESSAI, pas encore bon : ", "  ON TRIAL, not good yet: ") + " ; ".join(trial.lacking)
        )  # fmt: skip
    elif trial is not None:
        yield (
            say(
                "  à l'essai : la passerelle repart avec ce texte", "  on trial: the gateway begins anew with this text"
            )
            if found.running
            else say("  à l'essai dès que la passerelle démarrera", "  on trial as soon as the gateway starts")
        )
    elif found.undone is not None:
        who, at = found.undone.by or "?", when(found.undone.at_s)
        yield say(f"  la modification de {who} a été annulée, {at} : {found.undone.why}",
                  f"  the change of {who} was undone, {at}: {found.undone.why}")  # fmt: skip
        if found.undone.version:
            yield say(f"  son texte : guet site show --version {found.undone.version}",
                      f"  its text: guet site show --version {found.undone.version}")  # fmt: skip
    else:
        yield say("  en place", "  in place")


def when(time_s: float) -> str:
    """UTC, to the second."""
    return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
