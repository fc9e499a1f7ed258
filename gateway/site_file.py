"""The site file as a text that programs change too: comments stay, a faulty text is never put in place, the last ten stay.

The file is the one truth: command line and page change this text, and show the difference before they do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from difflib import unified_diff
from functools import cache
from pathlib import Path

from gateway.errors import SiteError
from gateway.profile import Profile, load_profile
from gateway.site import Site, parse_site

KEPT = 10
MAX_BYTES = 1024 * 1024
"""A site of a thousand devices is a tenth of it."""


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
    return list(unified_diff(before.splitlines(), after.splitlines(), name, name, lineterm="", n=2))


def put(path: Path, text: str, profiles: Path, now_s: float) -> Site:
    """Checks a text and puts it in place of the file, whole or not at all, durably; the text before it is kept. Raises
    SiteError for a text that cannot be used, and where the folder cannot be written to."""
    site = checked(text, path, profiles)
    try:
        if path.exists():
            before = path.read_bytes()
            if before == text.encode():
                return site
            folder = history_of(path)
            folder.mkdir(mode=0o750, exist_ok=True)
            _write(folder / f"{datetime.fromtimestamp(now_s, UTC):%Y%m%dT%H%M%S.%f}Z.toml", before)
        _write(path, text.encode())
        for old in versions(path)[KEPT:]:
            old.unlink()
    except OSError as error:
        raise SiteError([f"{path}: expected a file that can be written, got: {error}"]) from None
    return site


def history_of(path: Path) -> Path:
    """The folder of the texts before."""
    return path.with_name(f"{path.name}.before")


def versions(path: Path) -> list[Path]:
    """The texts that were in place before, newest first."""
    return sorted(history_of(path).glob("*.toml"), reverse=True)


def _write(path: Path, content: bytes) -> None:
    scratch = path.with_name(f".{path.name}.new")
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o640
    handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with os.fdopen(handle, "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    scratch.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
