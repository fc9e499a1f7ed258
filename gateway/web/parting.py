"""Ready to leave? The job `leave` as a page; then the signed report as a page, a PDF and JSON."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from gateway.errors import WishError
from gateway.jobs import LEAVE
from gateway.language import say, words_given
from gateway.leave import Item, LeaveWish, Left, last_line
from gateway.web.asked import Asked, Refusal, Row
from gateway.web.door import LONGEST_NAME
from gateway.web.visit import holder, refresh_of

if TYPE_CHECKING:
    from starlette.responses import Response

OUTAGES = (0, 10, 60, 300)
"""Seconds for which the platform may be cut off as a test."""
_STYLE = re.compile(rb"<style>(.*?)</style>", re.DOTALL)


async def leave_page(asked: Asked) -> Response:
    """What is red still, and what to do about it; the report once nothing is."""
    errand = asked.house.errands.last("leave")
    rows = errand.rows if errand is not None else []
    left = next((row for row in rows if isinstance(row, Left)), None)
    report = asked.gateway.store.state("report")
    return await asked.page(
        "leave.html", refresh_s=refresh_of(errand), errand=errand, holder=holder(asked), left=left,
        items=[row for row in rows if isinstance(row, Item)], ending=last_line(left) if left else "",
        number=report["number"] if report else "", outages=OUTAGES, longest_name=LONGEST_NAME,
        platform=asked.gateway.site.upstream is not None,
    )  # fmt: skip


async def leave(asked: Asked) -> Response:
    """Looks at everything, tries what is wished, makes the report where all is well."""
    who = words_given(say("nom", "name"), asked.text("who"), LONGEST_NAME)
    if not who:
        raise WishError(say("Dites qui part : vos initiales suffisent.", "Say who leaves: your initials are enough."))
    outage = asked.text("outage") or "0"
    if outage not in map(str, OUTAGES):
        raise WishError(say(f"Essai de coupure : attendu {OUTAGES} s.", f"Outage test: expected {OUTAGES} s."))
    defer = words_given(say("raison", "reason"), asked.text("defer"))
    asked.house.errands.begin(LEAVE, LeaveWish(who, float(outage), defer), who)
    return asked.to("/leave")


async def _document(asked: Asked) -> tuple[str, dict[str, Any], str]:
    """Number and document of the last report, and its text. Raises Refusal where there is none."""
    report = asked.gateway.store.state("report")
    if report is None:
        raise Refusal(404, say("Il n'y a pas encore de procès-verbal : finissez la visite.",
                               "There is no report yet: finish the visit."), asked.speech("Page introuvable"))  # fmt: skip
    return str(report["number"]), json.loads(report["document"]), str(report["document"])


async def report_html(asked: Asked) -> Response:
    """The report as it prints. Its style is named by its digest: nothing else that stands in it may style it."""
    from starlette.responses import HTMLResponse

    from gateway.report import page

    _, document, _ = await _document(asked)
    content = await asyncio.to_thread(page, document)
    style = _STYLE.search(content)
    named = base64.b64encode(hashlib.sha256(style[1] if style else b"").digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{named}'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    )
    return HTMLResponse(content, headers={"Content-Security-Policy": policy})


async def report_pdf(asked: Asked) -> Response:
    """The report as PDF."""
    from gateway.report import paper

    number, document, _ = await _document(asked)
    return _file(await asyncio.to_thread(paper, document), "application/pdf", f"{number}.pdf")


async def report_json(asked: Asked) -> Response:
    """The report as it was signed."""
    number, _, text = await _document(asked)
    return _file(text.encode(), "application/json", f"{number}.json")


def _file(content: bytes, kind: str, name: str) -> Response:
    from starlette.responses import Response as Answer

    plain = re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)
    return Answer(content, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{plain}"'})


ROWS = (
    Row("/leave", leave_page, post=leave),
    Row("/report.html", report_html),
    Row("/report.pdf", report_pdf),
    Row("/report.json", report_json),
)
