"""The site file as a text that programs change too: comments stay, a faulty text is never put in place, the last ten stay,
and a change is on trial until somebody says that it may stay.

The file is the one truth: command line and page change this text, and show the difference before they do. Beside it, in
`site.toml.before/`, stand the texts before, each with who had put it in place and when, and `in-place.json`: the same of the
text in place, and its trial. A trial belongs to one process: whoever starts and finds one that another process had begun
goes back, for that one never came to its end. No step leaves anything half-done: texts before are written first, the file is
replaced in one step, and what is known of a text counts only while the file is that text.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from gateway.errors import SiteError, WishError
from gateway.language import say
from gateway.profile import Profile, load_profile
from gateway.site import Site, digest, parse_site

log = logging.getLogger(__name__)

KEPT = 10
MAX_BYTES = 1024 * 1024
"""A site of a thousand devices is a tenth of it."""
IN_PLACE = "in-place.json"
_STAMP = "%Y%m%dT%H%M%S.%fZ"


@dataclass(frozen=True, slots=True)
class Trial:
    """A text on trial. before, before_sha256: the version to go back to. process: whose trial it is; empty: of the next one
    to start. healthy_within_s, keep_within_s: how long it may take until all is well, and until somebody says that it
    stays."""

    before: str
    before_sha256: str
    process: str
    healthy_within_s: float
    keep_within_s: float


@dataclass(frozen=True, slots=True)
class Undone:
    """A change that was gone back from: when, why, who had made it, and the version that holds its text (empty where there
    was no room for it)."""

    at_s: float
    why: str
    by: str
    version: str


@dataclass(frozen=True, slots=True)
class InPlace:
    """What is known of the text in place. by is empty and at_s None where somebody wrote the file by hand."""

    sha256: str
    by: str = ""
    at_s: float | None = None
    trial: Trial | None = None
    undone: Undone | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """A text that was in place before. by, at_s: who had put it there and when, as far as known; until_s: when another came
    in its place; why: what it was gone back from for, if it was."""

    path: Path
    until_s: float
    by: str = ""
    at_s: float | None = None
    why: str = ""

    @property
    def name(self) -> str:
        return self.path.name


# -- texts -------------------------------------------------------------------------------------------------------------


def read_text(path: Path) -> str:
    """The text of a file, byte for byte. Raises SiteError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise SiteError([f"{path.name}: expected at most {MAX_BYTES} bytes"])
        return content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise SiteError([f"{path.name}: cannot be read: {error}; expected a site file in UTF-8"]) from None


def checked(text: str, path: Path, profiles: Path) -> Site:
    """The site that a text would make in the place of a file. Raises SiteError with all its faults."""
    if len(text.encode()) > MAX_BYTES:
        raise SiteError([f"{path.name}: expected at most {MAX_BYTES} bytes, got {len(text.encode())}"])
    profile_of: Callable[[str], Profile] = cache(lambda name: load_profile(profiles, name))
    return parse_site(text, path.name, path.parent, profile_of)


def with_device(text: str, name: str, keys: Mapping[str, str | int]) -> str:
    """The text with some keys of a [[device]] changed; all else stays as the person wrote it. Raises SiteError."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(text)
    except TOMLKitError as error:
        raise SiteError([f"site: not TOML: {error}"]) from None
    for device in document.get("device", []):
        if device.get("name") == name:
            for key, value in keys.items():
                device[key] = value
            return tomlkit.dumps(document)
    raise SiteError([f"device {name!r}: there is no [[device]] of that name"])


def difference(before: str, after: str, name: str = "site.toml") -> list[str]:
    """Unified difference, line by line; empty where nothing changes."""
    from difflib import unified_diff

    return list(unified_diff(before.splitlines(), after.splitlines(), name, name, lineterm="", n=2))


# -- putting, keeping, going back --------------------------------------------------------------------------------------


def put(path: Path, text: str, profiles: Path, now_s: float, by: str = "") -> Site:
    """Checks a text and puts it in place of the file for good, whole or not at all, durably; the text before it is kept.
    Raises SiteError for a text that cannot be used, and where the folder cannot be written to."""
    site = checked(text, path, profiles)
    with _alone(path):
        if not path.exists():
            _write(path, text.encode())
            _note(path, InPlace(digest(text), by, now_s))
        elif read_text(path) != text:
            _set_aside(path, read_text(path), in_place(path), now_s)
            _replace(path, text, InPlace(digest(text), by, now_s))
    return site


def put_on_trial(
    path: Path, text: str, base: str, trial: Trial, now_s: float, by: str = "", running: str | None = None
) -> InPlace:
    """Puts a checked text in place on trial. base: `digest` of the text that it was made from. trial: without `before`,
    which is what runs (`running`), or else what is in place. Raises WishError where another text came in place meanwhile, or
    is on trial; SiteError where the folder cannot be written to. Nothing is changed then."""
    with _alone(path):
        before, known = read_text(path), in_place(path)
        if known.sha256 != base:
            who = known.by or say("quelqu'un, à la main", "somebody, by hand")
            raise WishError(
                say(f"le fichier a changé entre-temps (par {who}) : reprenez le texte en place, et refaites la modification",
                    f"the file has changed meanwhile (by {who}): take the text in place, and make the change again")
            )  # fmt: skip
        if known.trial is not None:
            raise WishError(say("une modification est déjà à l'essai : guet site keep ou guet site back d'abord",
                                "a change is on trial already: guet site keep or guet site back first"))  # fmt: skip
        running = before if running is None else running
        if before == text == running:
            return known
        if before != text:
            kept = _set_aside(path, before, known, now_s)
        if running != before:  # somebody wrote the file by hand, and that never ran
            kept = _set_aside(path, running, InPlace(digest(running)), now_s)
        found = replace(trial, before=kept.name, before_sha256=digest(running))
        return _replace(path, text, InPlace(digest(text), by, now_s, found))


def keep(path: Path, by: str = "") -> InPlace:
    """Ends a trial: the text in place stays. Raises WishError where nothing is on trial, SiteError as `put`."""
    with _alone(path):
        known = in_place(path)
        if known.trial is None:
            raise WishError(say("rien n'est à l'essai", "nothing is on trial"))
        return _note(path, replace(known, trial=None, by=known.by or by))


def go_back(path: Path, why: str, now_s: float) -> InPlace:
    """Ends a trial: the text before it is in place again, even on a disk without room. The refused text is kept among the
    versions where there is room for it. Raises WishError where nothing is on trial, SiteError where the text before is not
    there any more or cannot be put in place."""
    with _alone(path):
        known = in_place(path)
        if known.trial is None:
            raise WishError(say("rien n'est à l'essai", "nothing is on trial"))
        before = history_of(path) / known.trial.before
        if digest(text := read_text(before)) != known.trial.before_sha256:
            raise SiteError([f"{before}: expected the text that was in place before, got another; put one by hand"])
        refused = ""
        with suppress(SiteError):
            refused = _set_aside(path, read_text(path), known, now_s, why).name
        of_before = _read(before.with_suffix(".json"))
        try:
            before.replace(path.resolve())  # takes no room
            _sync(path.resolve().parent)
        except OSError as error:
            raise SiteError([f"{path}: expected a file that can be replaced, got: {error}"]) from None
        before.with_suffix(".json").unlink(missing_ok=True)
        at_s = of_before.get("at_s")
        undone = Undone(now_s, why, known.by, refused)
        found = InPlace(
            digest(text), str(of_before.get("by", "")), at_s if isinstance(at_s, float) else None, None, undone
        )
        with suppress(SiteError):  # what is noted of the refused text counts no more: the file is another
            _note(path, found)
        return found


def taken_up(path: Path, process: str, now_s: float) -> InPlace:
    """To be called by a process that is about to run the site: a trial that waits for it is its own from now on, one of
    another process is gone back from. Where that cannot be written, what is in place is run. Raises SiteError where there
    is no file."""
    known = in_place(path)
    if known.trial is None or known.trial.process == process:
        return known
    try:
        if known.trial.process:
            why = say("la passerelle s'est arrêtée pendant l'essai", "the gateway ended during the trial")
            return go_back(path, why, now_s)
        with _alone(path):
            return _note(path, replace(known, trial=replace(known.trial, process=process)))
    except SiteError as error:
        log.error("site: on trial, and cannot be gone back from: %s", error)
        return known


# -- what stands beside the file ---------------------------------------------------------------------------------------


def history_of(path: Path) -> Path:
    """The folder of the texts before."""
    return path.with_name(f"{path.name}.before")


def versions(path: Path) -> list[Version]:
    """The texts that were in place before, newest first."""
    return [
        Version(found, until_s, str(more.get("by", "")), at_s if isinstance(at_s := more.get("at_s"), float) else None,
                str(more.get("why", "")))
        for found in sorted(history_of(path).glob("*.toml"), reverse=True)
        if (until_s := _until(found)) is not None and (more := _read(found.with_suffix(".json"))) is not None
    ]  # fmt: skip


def data_folders(path: Path) -> Iterator[Path]:
    """Where the gateway that runs may keep its data: as the text in place says, or, where that is faulty or new, as those
    before do."""
    for file in (path, *(version.path for version in versions(path))):
        try:
            table = tomllib.loads(read_text(file)).get("gateway", {})
            yield path.parent / str(table.get("data", "guet-data"))
        except (SiteError, ValueError, AttributeError):
            continue


def in_place(path: Path) -> InPlace:
    """What is known of the text in place. Raises SiteError where there is none."""
    sha256 = digest(read_text(path))
    body = _read(history_of(path) / IN_PLACE)
    try:
        trial, undone = body.get("trial"), body.get("undone")
        known = InPlace(
            str(body["sha256"]), str(body["by"]), body["at_s"], trial and Trial(**trial), undone and Undone(**undone)
        )
    except (KeyError, TypeError):
        return InPlace(sha256)
    return known if known.sha256 == sha256 else InPlace(sha256)


def _until(path: Path) -> float | None:
    try:
        return datetime.strptime(path.stem, _STAMP).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none, or the disk has garbled it."""
    try:
        body = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


def _set_aside(path: Path, text: str, known: InPlace, now_s: float, why: str = "") -> Version:
    """Keeps a text among the versions; makes room among them."""
    newest_us = max((round(found.until_s * 1e6) for found in versions(path)), default=0)
    us = max(round(now_s * 1e6), newest_us + 1)  # the newest stays the newest, although the clock was put back
    kept = history_of(path) / f"{datetime.fromtimestamp(0, UTC) + timedelta(microseconds=us):{_STAMP}}.toml"
    _write(kept.with_suffix(".json"), json.dumps({"by": known.by, "at_s": known.at_s, "why": why}).encode(), path)
    _write(kept, text.encode(), path)
    for old in versions(path)[KEPT:]:
        old.path.with_suffix(".json").unlink(missing_ok=True)
        old.path.unlink(missing_ok=True)
    return Version(kept, us / 1e6, known.by, known.at_s, why)


def _replace(path: Path, text: str, known: InPlace) -> InPlace:
    """The file, and what is known of it. Noted first: it counts only once the file is that text."""
    noted = _read(history_of(path) / IN_PLACE)
    _note(path, known)
    try:
        _write(path, text.encode(), path)
    except SiteError:
        with suppress(SiteError, OSError):
            _write(history_of(path) / IN_PLACE, json.dumps(noted).encode(), path)
        raise
    return known


def _note(path: Path, known: InPlace) -> InPlace:
    _write(history_of(path) / IN_PLACE, json.dumps(asdict(known), ensure_ascii=False).encode(), path)
    return known


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Within it no other process changes the file. Raises SiteError where the folder cannot be written to."""
    folder = history_of(path)
    try:
        if not folder.exists():
            folder.mkdir(mode=0o700)
            above = folder.parent.stat()
            with suppress(PermissionError):
                os.chown(folder, above.st_uid, above.st_gid)
            folder.chmod(above.st_mode & 0o770)  # whoever may change the file may change this
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise SiteError([f"{folder}: expected a folder that can be written to, got: {error}"]) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # held for some milliseconds by whoever has it
        yield
    finally:
        os.close(lock)


def _write(path: Path, content: bytes, like: Path | None = None) -> None:
    """Whole or not at all, durably. like: whose mode and owner it gets, as far as we may give a file away; a new file is for
    the folder's group to read, so that the service can read what root has written. Raises SiteError."""
    path = path.resolve()
    scratch = path.with_name(f".{path.name}.new")
    try:
        known = like.stat() if like is not None and like.exists() else None
        try:
            scratch.unlink(missing_ok=True)
            with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as out:
                with suppress(PermissionError):
                    os.fchown(out.fileno(), known.st_uid if known else -1, (known or path.parent.stat()).st_gid)
                os.fchmod(out.fileno(), known.st_mode & 0o777 if known else 0o640)
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
            scratch.replace(path)
        except OSError:
            scratch.unlink(missing_ok=True)
            raise
        _sync(path.parent)
    except OSError as error:
        raise SiteError([f"{path}: expected a file that can be written, got: {error}"]) from None


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
