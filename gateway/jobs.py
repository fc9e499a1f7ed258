"""Every job that a verb or a page may ask of a gateway, as one plain table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.check import Checked, CheckWish, check
from gateway.hatch import Job
from gateway.leave import Item, LeaveWish, Left, leave
from gateway.look import Account, Finding, Found, Row, ScanWish
from gateway.outcome import Outcome, OutcomeWish, tell
from gateway.progress import Progress
from gateway.replace import Replaced, ReplaceWish, replace
from gateway.scan import scan
from gateway.site_change import KEEP_SITE, PUT_SITE, SITE, SITE_BACK
from gateway.why import Why, WhyWish, why

SCAN: Job[ScanWish, Row] = Job("scan", ScanWish, Progress | Found | Finding | Account, scan, alone=True)
WHY = Job("why", WhyWish, Why, why)
LEAVE = Job("leave", LeaveWish, Progress | Item | Left, leave, alone=True)
REPLACE = Job("replace", ReplaceWish, Replaced, replace, alone=True)
CHECK = Job("check", CheckWish, Progress | Checked, check, alone=True)
OUTCOME = Job("outcome", OutcomeWish, Outcome, tell)
JOBS: Mapping[str, Job[Any, Any]] = {
    job.name: job for job in (SCAN, WHY, CHECK, REPLACE, LEAVE, SITE, PUT_SITE, KEEP_SITE, SITE_BACK, OUTCOME)
}
"""By name."""
