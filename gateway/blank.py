"""A gateway that is nobody's yet: installed, and without a site file. It runs with a site of nothing, so that its page is
there to claim it by, and begins anew once a site file has come: through the page, by `guet claim`, or by hand.

A job file may wait beside the site file (`JOB`), put there with the program: then the code on the label is all that a claim
takes. Any other comes through the page, and over a network that takes a password that was drawn on the gateway: else whoever
is there first could make it theirs.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from gateway.app import site_of
from gateway.errors import FileFault, SealError
from gateway.pack import MAX_JOB_BYTES, Job, read_job
from gateway.site import Gateway, Site, digest
from gateway.site_file import InPlace, read_text
from gateway.site_trial import SiteFile

log = logging.getLogger(__name__)

JOB = "job.guet"
LOOK_EVERY_S = 1.0


def blank_file(path: Path) -> SiteFile:
    """What a gateway runs whose site file is not there yet."""
    return SiteFile(path, "", InPlace(digest("")), blank=True)


def blank_site(path: Path) -> Site:
    """The site of nothing, where the site file will be; its data is where that of a site is that says nothing else."""
    nobody = Gateway(id="neuve", commune="-", timezone="Europe/Paris", latitude=46.5, longitude=2.5)
    return Site(nobody, None, {}, {}, {}, {}, path.parent)


def waiting_job(path: Path) -> tuple[Job, str, bytes] | None:
    """The job file that waits beside a site file, who signed it, its bytes; None where none can be read."""
    job = path.with_name(JOB)
    try:
        with job.open("rb") as file:
            content = file.read(MAX_JOB_BYTES + 1)
        found, office, _ = read_job(content)
    except FileNotFoundError:
        return None
    except (OSError, SealError) as error:
        log.warning("blank: %s is no job file: %s", job, error)
        return None
    return found, office, content


async def until_claimed(path: Path) -> None:
    """Until a site file that can be run is there. One that cannot is said to the log, once."""
    refused = ""
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        if not path.exists():
            continue
        try:
            await asyncio.to_thread(lambda: site_of(read_text(path), path))
            return
        except FileFault as error:
            if (said := "\n".join(error.faults)) != refused:
                refused = said
                log.error("blank: the site file cannot be run, still waiting:\n%s", said)
