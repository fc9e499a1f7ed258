"""The page's passwords: of each only a proof is kept (scrypt), in the data folder, for this user alone.

The label's opens the page as a technician; a claim brings it. Two more may be drawn on the gateway: a viewer's, and an
officer's, which only an officer can change once there is one. All are drawn, none is chosen, and each is shown once. There
is no other: a gateway that has none lets nobody in.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from gateway.app import home
from gateway.blank import blank_site
from gateway.claim import PASSWORD, keep, password_matches
from gateway.language import say
from gateway.pack import fresh, proof
from gateway.site import load_site
from gateway.web.session import Role

FILES: Mapping[Role, str] = {
    Role.OFFICER: "password-officer.json",
    Role.TECHNICIAN: PASSWORD,
    Role.VIEWER: "password-viewer.json",
}
"""Where the proof of each is, the highest role first."""
GROUPS = 3
"""Of four letters: 55 bits, with scrypt and patience in front of them."""
LONGEST = 100
NAMES: Mapping[str, Role] = {role.name.lower(): role for role in FILES}


def known(folder: Path) -> frozenset[Role]:
    """The roles that somebody can sign in for."""
    return frozenset(role for role, file in FILES.items() if (folder / file).exists())


def role_of(folder: Path, text: str) -> Role | None:
    """The highest role that a password opens. Takes the same time whether it opens one or not: a twentieth of a second of a
    processor for each password that there is."""
    found = [role for role in FILES if role in known(folder) and password_matches(folder, text, FILES[role])]
    return found[0] if found and 0 < len(text) <= LONGEST else None


def draw(folder: Path, role: Role) -> str:
    """A new password for a role, in the place of the one before. Raises OSError."""
    text = fresh(GROUPS)
    keep(folder / FILES[role], json.dumps(proof(text)).encode())
    return text


def withdraw(folder: Path, role: Role) -> None:
    """Lets nobody in as that role any more. Raises OSError."""
    (folder / FILES[role]).unlink(missing_ok=True)


def password_verb(argv: list[str]) -> int:
    """Tire un mot de passe de la page, ou le retire / Draws a password of the page, or withdraws it"""
    parser = argparse.ArgumentParser(prog="guet password", description=password_verb.__doc__)
    parser.add_argument("role", choices=sorted(NAMES))
    parser.add_argument("site", type=Path, metavar="SITE.toml")
    parser.add_argument("--withdraw", action="store_true", help="plus personne dans ce rôle / nobody in that role")
    options = parser.parse_args(argv)
    site = load_site(options.site, home() / "device_profiles") if options.site.exists() else blank_site(options.site)
    folder, role = site.data, NAMES[options.role]
    folder.mkdir(parents=True, exist_ok=True)
    if options.withdraw:
        withdraw(folder, role)
        print(say(f"plus aucun mot de passe pour {options.role}", f"no password for {options.role} any more"))
        return 0
    print(draw(folder, role))
    return 0
