"""Other hardware in a role (the job `replace`), and the whole gateway made a site's (`claim`)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.app import home, site_of
from gateway.blank import JOB, waiting_job
from gateway.claim import MAX_BY, claim, claimed, state, state_words
from gateway.errors import SealError, WishError
from gateway.jobs import REPLACE
from gateway.language import say
from gateway.pack import MAX_JOB_BYTES, read_job
from gateway.replace import ReplaceWish, file_keys, hardware, lines
from gateway.settings import TOLD_WITHIN_S, PutWish, put
from gateway.site import digest
from gateway.site_file import difference, read_text, with_device
from gateway.web.asked import MOST_FORM_BYTES, Asked, Refusal, Row
from gateway.web.session import Role
from gateway.web.sight import no_device
from gateway.web.visit import holder, refresh_of

if TYPE_CHECKING:
    from starlette.responses import Response

    from gateway.pack import Job
    from gateway.site import Device

# -- replace -----------------------------------------------------------------------------------------------------------


async def replace_page(asked: Asked) -> Response:
    """What stood and stands in a role; other hardware comes."""
    device = asked.gateway.site.devices.get(asked.request.path_params["device"])
    if device is None:
        return await no_device(asked)
    errand = asked.house.errands.last("replace", device.name)
    done = errand.rows[0] if errand is not None and errand.rows else None
    changes = _file_change(asked, device) if done is not None and done.changes_file else []
    return await asked.page(
        "replace.html", refresh_s=refresh_of(errand), device=device, errand=errand, holder=holder(asked), done=done,
        said=list(lines(done)) if done is not None else [], changes=changes, can_write=asked.gateway.file is not None,
        stood=hardware(asked.gateway.store, device.name),
    )  # fmt: skip


def _wished(asked: Asked, device: str) -> ReplaceWish:
    given = asked.text
    return ReplaceWish(
        device, given("serial"), given("old_serial"), given("address").strip(), given("profile").strip(),
        given("reason"), asked.who, given("anyway") == "1",
    )  # fmt: skip


def _after(asked: Asked, device: str, wish: ReplaceWish) -> tuple[str, str]:
    """The text of the site file now, and with what a replacement changes. Raises SiteError."""
    assert asked.gateway.file is not None
    before = read_text(asked.gateway.file.path)
    return before, with_device(before, device, file_keys(wish))


def _changed(asked: Asked, device: Device) -> ReplaceWish:
    """What the last replacement changes in the site file."""
    errand = asked.house.errands.last("replace", device.name)
    if errand is None or not errand.rows or not errand.rows[0].changes_file:
        raise WishError(say("Rien à écrire : remplacez d'abord.", "Nothing to write: replace first."))
    new = errand.rows[0].new
    return ReplaceWish(
        device.name,
        address=new.address if new.address != str(device.address) else "",
        profile=new.profile if new.profile != device.profile_name else "",
    )


def _file_change(asked: Asked, device: Device) -> list[str]:
    if asked.gateway.file is None:
        return []
    return difference(*_after(asked, device.name, _changed(asked, device)), asked.gateway.file.path.name)


async def replace(asked: Asked) -> Response:
    """Replaces; or puts what follows for the site file on trial."""
    device = asked.gateway.site.devices.get(asked.request.path_params["device"])
    if device is None:
        return await no_device(asked)
    if asked.text("what") == "file":
        if asked.gateway.file is None:
            raise WishError(_no_file())
        before, after = _after(asked, device.name, _changed(asked, device))
        async for _ in put(asked.gateway, PutWish(after, digest(before), asked.who)):
            pass
        return asked.to("/settings")
    wish = _wished(asked, device.name)
    if file_keys(wish) and asked.gateway.file is not None:  # all faults of the new text, before anything is done
        _, after = _after(asked, device.name, wish)
        await asyncio.to_thread(site_of, after, asked.gateway.file.path)
    asked.house.errands.begin(REPLACE, wish, asked.who, device.name)
    return asked.to(f"/replace/{device.name}")


# -- claim -------------------------------------------------------------------------------------------------------------


def _may_claim(asked: Asked) -> bool:
    """A gateway that has a password is claimed anew by whoever may change things; one that has none, from this very machine,
    or with the job that waits on it: else anybody on a network could make it theirs."""
    if _waiting(asked) is not None:
        return True
    if asked.house.door.roles():
        return asked.role >= Role.TECHNICIAN
    return asked.house.door.home


def _waiting(asked: Asked) -> tuple[Job, str, bytes] | None:
    """The job that waits on a gateway that is nobody's yet, who signed it, and its bytes."""
    file = asked.gateway.file
    return waiting_job(file.path) if file is not None and file.blank else None


async def claim_page(asked: Asked) -> Response:
    """Whose this gateway is; the form that makes it a site's."""
    folder = asked.gateway.store.path.parent
    known, waiting = claimed(folder), _waiting(asked)
    return await asked.page(
        "claim.html", known=known if asked.role >= Role.TECHNICIAN else None, state=state_words(state(asked.gateway.store)),
        may_claim=_may_claim(asked), can_write=asked.gateway.file is not None, longest_by=MAX_BY,
        code=asked.request.path_params.get("code", "")[:20], most_kib=MAX_JOB_BYTES // 1024,
        roles=asked.house.door.roles(), waiting=waiting[0] if waiting is not None else None,
    )  # fmt: skip


async def claim_it(asked: Asked) -> Response:
    """Takes a job file and the label's code; the gateway begins anew as that site's. Raises SealError, WishError or
    SiteError, each with what is wrong; nothing is changed then, but a wrong code is counted."""
    from starlette.datastructures import UploadFile

    if not _may_claim(asked):
        raise Refusal(403, say("Connectez-vous d'abord, ou enrôlez sur la passerelle : guet claim.",
                               "Sign in first, or claim on the gateway: guet claim."))  # fmt: skip
    gateway, file = asked.gateway, asked.gateway.file
    if file is None:
        raise WishError(_no_file())
    upload = asked.form.get("job") if asked.form is not None else None
    content = await upload.read(MAX_JOB_BYTES + 1) if isinstance(upload, UploadFile) else b""
    waiting = _waiting(asked)
    if not content:
        if waiting is None:
            raise WishError(say("Choisissez le fichier de mission (.guet).", "Choose the job file (.guet)."))
        content = waiting[2]

    def done() -> None:
        job, office, _ = read_job(content)
        if waiting is not None and office != waiting[1]:
            raise SealError(say(f"cette mission est signée par {office}, celle qui attend ici par {waiting[1]}",
                                f"this job is signed by {office}, the one that waits here by {waiting[1]}"))  # fmt: skip
        site_of(job.site, file.path)  # what could not be run is refused before it is put in place
        claim(content, asked.text("code"), by=asked.text("who"), path=file.path, profiles=home() / "device_profiles",
              now_s=gateway.clock.now(), time_trusted=gateway.clock.trusted)  # fmt: skip
        if waiting is not None:
            file.path.with_name(JOB).unlink(missing_ok=True)

    await asyncio.to_thread(done)
    asked.house.door.sessions.end(Role.TECHNICIAN)  # the password is another now
    asked.session = None
    gateway.anew = True
    asyncio.get_running_loop().call_later(TOLD_WITHIN_S, gateway.stop.set)
    said = say("La passerelle repart avec son site ; dans quelques secondes, connectez-vous avec le mot de passe de "
               "l'étiquette. La plateforme confirmera plus tard.",
               "The gateway begins anew with its site; in a few seconds, sign in with the password on the label. The "
               "platform will confirm later.")  # fmt: skip
    return await asked.told(200, state_words("local").capitalize(), said)


def _no_file() -> str:
    return say(
        "Cette passerelle n'a pas de fichier de site à changer (démonstration).",
        "This gateway has no site file to change (a demonstration).",
    )


ROWS = (
    Row("/replace/{device}", replace_page, post=replace),
    Row("/claim", claim_page, Role.NOBODY, claim_it, Role.NOBODY, file=True, most=MAX_JOB_BYTES + MOST_FORM_BYTES),
    Row("/c/{code}", claim_page, Role.NOBODY),
)
