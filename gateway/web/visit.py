"""Why a point has no data, and whether its value is believable: the jobs `why` and `check`, as pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cause import CAUSES
from gateway.check import CheckWish, outcome_words, provocation, remembered, selected, test_words, verdict_words
from gateway.errors import WishError
from gateway.jobs import CHECK, WHY
from gateway.language import language, say, words_given
from gateway.site import Device
from gateway.web.asked import Asked, Refusal, Row
from gateway.web.picture import title_of
from gateway.web.work import Errand
from gateway.why import WhyWish, located, step_title

if TYPE_CHECKING:
    from starlette.responses import Response

REFRESH_S = 2
DEVICES_A_PAGE = 15
POINTS_A_DEVICE = 16
READS_AT_ONCE = 18


def refresh_of(errand: Errand | None) -> int:
    """After how many seconds the page of a job is to be fetched again; 0: never."""
    return REFRESH_S if errand is not None and errand.runs else 0


def _point(asked: Asked) -> tuple[Device, str]:
    """The point that the path names. Raises Refusal."""
    found = asked.request.path_params
    try:
        return located(asked.gateway.site, f"{found['device']}/{found['point']}")
    except WishError as error:
        raise Refusal(404, str(error), asked.speech("Page introuvable")) from None


# -- why ---------------------------------------------------------------------------------------------------------------


async def why_page(asked: Asked) -> Response:
    """How the value goes, or where its way is broken; the one action."""
    device, name = _point(asked)
    point = f"{device.name}/{name}"
    errand = asked.house.errands.last("why", point)
    found = errand.rows[0] if errand is not None and errand.rows else None
    return await asked.page(
        "why.html", refresh_s=refresh_of(errand), point=point, device=device, name=name, errand=errand, found=found,
        step_title=step_title, title=title_of(asked.gateway.site, point),
    )  # fmt: skip


async def ask_why(asked: Asked) -> Response:
    """Walks the way."""
    device, name = _point(asked)
    point = f"{device.name}/{name}"
    known = asked.house.errands.last("why", point)
    if known is None or not known.runs:
        asked.house.errands.begin(WHY, WhyWish(point), asked.who, point)
    return asked.to(f"/why/{point}")


async def causes(asked: Asked) -> Response:
    """The causes and their ids, as the guide has them."""
    english = language() == "en"
    rows = [
        (id_, w.english if english else w.french, w.do_english if english else w.do_french) for id_, w in CAUSES.items()
    ]
    return await asked.page("causes.html", rows=rows)


# -- check -------------------------------------------------------------------------------------------------------------


async def check_list(asked: Asked) -> Response:
    """Every point that can be read, with what was last found of it; those that need somebody first within a device."""
    site, gateway = asked.gateway.site, asked.gateway
    devices = [
        (device, [name for name, point in device.points.items() if not point.write_only])
        for device in site.devices.values()
        if device.bus
    ]
    start = min(asked.number("from"), max(0, (len(devices) - 1) // DEVICES_A_PAGE * DEVICES_A_PAGE))
    shown = [
        (device, [(name, remembered(gateway, f"{device.name}/{name}")) for name in names[:POINTS_A_DEVICE]], len(names))
        for device, names in devices[start : start + DEVICES_A_PAGE]
        if names
    ]
    errand = asked.house.errands.last("check")
    return await asked.page(
        "check.html", refresh_s=refresh_of(errand), devices=shown, errand=errand, verdict_words=verdict_words,
        first=start, step=DEVICES_A_PAGE, total=len(devices), holder=holder(asked),
    )  # fmt: skip


async def check_some(asked: Asked) -> Response:
    """Checks all points, or those of a device."""
    point = asked.text("point")
    selected(asked.gateway, point)  # a name that there is not is told before anything begins
    asked.house.errands.begin(CHECK, CheckWish(point, READS_AT_ONCE, by=asked.who), asked.who)
    return asked.to("/check")


async def check_page(asked: Asked) -> Response:
    """One point: its value, its verdict, why."""
    device, name = _point(asked)
    point = f"{device.name}/{name}"
    state = asked.gateway.live.state(device)
    reading = next((asked.view.point(device, one) for one in state.readings if one.point == point), None)
    errand = asked.house.errands.last("check")
    mine = errand if errand is not None and errand.subject in ("", point) else None
    return await asked.page(
        "check_point.html", refresh_s=refresh_of(errand), point=point, device=device, name=name, reading=reading,
        checked=remembered(asked.gateway, point), errand=mine, verdict_words=verdict_words, test_words=test_words,
        outcome_words=outcome_words, provocation=provocation(device.points[name]), holder=holder(asked),
        write_only=device.points[name].write_only or not device.bus, title=title_of(asked.gateway.site, point),
    )  # fmt: skip


async def check_one(asked: Asked) -> Response:
    """Checks one point; with a provocation; or accepts its value with a reason, which stays in the report."""
    device, name = _point(asked)
    point, what = f"{device.name}/{name}", asked.text("what")
    selected(asked.gateway, point)
    match what:
        case "check":
            wish = CheckWish(point, READS_AT_ONCE, by=asked.who)
        case "provoke":
            wish = CheckWish(point, READS_AT_ONCE, provoke=True, by=asked.who)
        case "accept":
            reason = words_given(say("raison", "reason"), asked.text("reason"))
            if not reason:
                raise WishError(say("Pour forcer une valeur, il faut une raison : elle reste dans le procès-verbal.",
                                    "To accept a value takes a reason: it stays in the report."))  # fmt: skip
            wish = CheckWish(point, 2, accept=reason, by=asked.who)
        case _:
            raise WishError(say("Attendu : vérifier, essai ou forcer.", "Expected: check, provoke or accept."))
    asked.house.errands.begin(CHECK, wish, asked.who)
    return asked.to(f"/check/{point}")


# -- what all jobs share -----------------------------------------------------------------------------------------------


def holder(asked: Asked) -> str:
    """Who keeps a job that is alone from being begun now; empty where nobody does."""
    from gateway.desk import job_words

    work = next((work for work in asked.house.errands.desk.works() if work.alone), None)
    if work is None:
        return ""
    name = work.who or say("Quelqu'un, par la ligne de commande,", "Somebody at the command line")
    return say(
        f"{name} occupe la passerelle : {job_words(work.job)}.", f"{name} holds the gateway: {job_words(work.job)}."
    )


async def cancel(asked: Asked) -> Response:
    """Ends a job, whoever began it."""
    number, to = asked.text("work"), asked.text("to")
    for work in asked.house.errands.desk.works():
        if str(work.number) == number:
            work.cancel()
    return asked.to(
        to if to in ("/check", "/scan", "/leave") or to.startswith(("/check/", "/why/", "/replace/")) else "/"
    )


ROWS = (
    Row("/why/{device}/{point}", why_page, post=ask_why),
    Row("/causes", causes),
    Row("/check", check_list, post=check_some),
    Row("/check/{device}/{point}", check_page, post=check_one),
    Row("/cancel", post=cancel),
)
