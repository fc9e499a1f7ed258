"""What there is to see: the overview, a device with its curves, an alert on one page. No device is asked for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cost import lines as cost_lines
from gateway.errors import WishError
from gateway.language import say
from gateway.outcome import OutcomeWish, record_words, standing
from gateway.outcome import tell as found_out
from gateway.snippet import csv_lines, unpacked
from gateway.web.asked import Asked, Row
from gateway.web.picture import CURVES_A_PAGE, Pictures
from gateway.web.session import Role
from gateway.web.view import DEVICES_A_PAGE, POINTS_A_DEVICE

if TYPE_CHECKING:
    from starlette.responses import Response

REFRESH_S, SIMULATED_REFRESH_S = 20, 5
"""Each costs the gateway the page; a simulation runs many times as fast."""
PROGRESS_BYTES = 64 * 1024
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#0d4f5c"/>'
    '<path d="M4 16q12-15 24 0q-12 15-24 0z" fill="none" stroke="#fff" stroke-width="2.5"/>'
    '<circle cx="16" cy="16" r="4.5" fill="#ffc861"/></svg>'
)


async def overview(asked: Asked) -> Response:
    """Everything at a glance."""
    view = asked.view
    devices = view.devices()
    start = min(asked.number("from"), max(0, (len(devices) - 1) // DEVICES_A_PAGE * DEVICES_A_PAGE))
    live = asked.request.query_params.get("pause") != "1"
    progress = progress_of(asked.house.progress)
    refresh_s = SIMULATED_REFRESH_S if progress is not None else REFRESH_S
    return await asked.page(
        "overview.html",
        refresh_s=refresh_s if live else 0,
        live=live,
        state=view.state(),
        progress=progress,
        alerts=view.alerts(),
        watches=view.watches(),
        devices=devices[start : start + DEVICES_A_PAGE],
        shown=POINTS_A_DEVICE,
        working=sum(device.kind == "works" for device in devices),
        total=len(devices),
        first=start,
        step=DEVICES_A_PAGE,
        actions=view.actions(),
    )


async def device(asked: Asked) -> Response:
    """One device: what it says now, its curves, its data sheet."""
    gateway, view = asked.gateway, asked.view
    device = gateway.site.devices.get(asked.request.path_params["name"])
    if device is None:
        return await no_device(asked)
    names_of = list(device.points)
    start = min(asked.number("from"), max(0, (len(names_of) - 1) // CURVES_A_PAGE * CURVES_A_PAGE))
    names = names_of[start : start + CURVES_A_PAGE]
    return await asked.page(
        "device.html",
        device=view.device(gateway.live.state(device)),
        pictures=await Pictures(gateway, view.speech).of_device(device, names),
        sheet=view.sheet(device),
        bus=device.bus,
        first=start,
        step=CURVES_A_PAGE,
        total=len(names_of),
    )


async def no_device(asked: Asked) -> Response:
    """There is none of that name; which there are."""
    known = list(asked.gateway.site.devices)
    listed = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
    said = asked.speech("Il n'y a pas d'appareil de ce nom sur ce site. Appareils connus : {known}.", known=listed)
    return await asked.told(404, asked.speech("Page introuvable"), said)


async def alert(asked: Asked) -> Response:
    """One alert on one page."""
    view, gateway = asked.view, asked.gateway
    alert = view.alert(asked.request.path_params["name"])
    if alert is None:
        said = view.speech(
            "Il n'y a pas d'alerte de ce nom dans la mémoire de la passerelle. "
            "Les alertes connues sont dans la vue d'ensemble."
        )
        return await asked.told(404, view.speech("Page introuvable"), said)
    watch = gateway.judge.watches.get(alert.subject)
    model = watch.model if watch is not None and watch.model.card.name == alert.model else None
    pictures = await Pictures(gateway, view.speech).of_alert(alert)
    beside = standing(gateway, alert)
    return await asked.page(
        "alert.html", alert=alert, model=model, pictures=pictures, devices=view.devices_of(alert),
        raw=gateway.store.snippet(alert.id) is not None,
        outcome=beside.outcome, costs=list(cost_lines(alert, beside.cost)), record=record_words(beside.record),
    )  # fmt: skip


async def around(asked: Asked) -> Response:
    """The raw samples around an alert, as `guet replay` reads them."""
    from starlette.responses import Response as Answer

    alert = asked.view.alert(asked.request.path_params["name"])
    kept = asked.gateway.store.snippet(alert.id) if alert is not None else None
    if alert is None or kept is None:
        said = asked.speech("Aucune mesure brute n'est gardée autour de cette alerte.")
        return await asked.told(404, asked.speech("Page introuvable"), said)
    text = "\n".join([*csv_lines(unpacked(kept), alert.raised_s), ""])
    headers = {"Content-Disposition": f'attachment; filename="{alert.id}.csv"'}
    return Answer(text, media_type="text/csv", headers=headers)


async def tell(asked: Asked) -> Response:
    """Somebody found out whether an alert was right."""
    if (what := asked.text("what")) not in ("confirm", "refute"):
        raise WishError(say("Attendu : confirmée ou fausse.", "Expected: confirmed or false."))
    alert = asked.request.path_params["name"]
    wish = OutcomeWish(alert, what == "confirm", asked.text("reason"), asked.who)
    async for _ in found_out(asked.gateway, wish):
        pass
    return asked.to(f"/alert/{alert}")


async def overview_json(asked: Asked) -> Response:
    """The overview for machines."""
    from starlette.responses import Response as Answer

    body = asked.view.as_json() | {"simulation": progress_of(asked.house.progress)}
    return Answer(json.dumps(body, ensure_ascii=False), media_type="application/json")


async def style(asked: Asked) -> Response:
    """The one style sheet."""
    from starlette.responses import Response as Answer

    kept = {"Cache-Control": "max-age=31536000, immutable"}
    return Answer(asked.house.press.style, media_type="text/css", headers=kept)


async def icon(asked: Asked) -> Response:
    """The eye in a browser's tab."""
    from starlette.responses import Response as Answer

    return Answer(ICON, media_type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})


def progress_of(path: Path | None) -> dict[str, Any] | None:
    """What a simulation says of itself; None without one, or when its file is not what it should be."""
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            body = json.loads(file.read(PROGRESS_BYTES))
        return {
            "title": str(body["title"]),
            "elapsed_h": max(0.0, float(body["elapsed_h"])),
            "hours": max(0.1, float(body["hours"])),
            "cut": body["uplink"] == "cut",
            "events": [
                {"at_h": float(event["at_h"]), "text": str(event["text"]), "done": bool(event["done"])}
                for event in body["events"][-4:]
            ],
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


ROWS = (
    Row("/", overview, Role.VIEWER),
    Row("/device/{name}", device, Role.VIEWER),
    Row("/alert/{name}", alert, Role.VIEWER, tell, Role.OFFICER),
    Row("/alert/{name}/readings.csv", around, Role.VIEWER),
    Row("/api/overview.json", overview_json, Role.VIEWER),
    Row("/style.css", style, Role.NOBODY),
    Row("/icon.svg", icon, Role.NOBODY),
)
