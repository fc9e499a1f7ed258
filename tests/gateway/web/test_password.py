"""The proofs of passwords on disk, the verb that draws them, and what counts as this very address."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.web.door import from_here
from gateway.web.password import FILES, draw, known, password_verb, role_of
from gateway.web.session import Role


def test_the_verb_draws_and_withdraws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = (
        '[gateway]\nid = "a"\ncommune = "b"\ntimezone = "Europe/Paris"\nlatitude = 47.0\nlongitude = 6.0\ndata = "d"\n'
    )
    site = tmp_path / "site.toml"
    site.write_text(head + '[[device]]\nname = "r"\nprofile = "recorded"\n')
    folder = tmp_path / "d"
    assert password_verb(["officer", str(site)]) == 0
    drawn = capsys.readouterr().out.strip()
    assert role_of(folder, drawn) is Role.OFFICER
    assert (folder / FILES[Role.OFFICER]).stat().st_mode & 0o077 == 0
    assert drawn not in (folder / FILES[Role.OFFICER]).read_text()
    assert password_verb(["officer", str(site), "--withdraw"]) == 0
    assert known(folder) == frozenset()
    assert role_of(folder, drawn) is None


def test_the_highest_role_that_a_password_opens_is_given_and_none_for_nonsense(tmp_path: Path) -> None:
    drawn = {role: draw(tmp_path, role) for role in FILES}
    assert {role_of(tmp_path, text) for text in drawn.values()} == set(FILES)
    for nonsense in ("", "-", "\0", "é" * 40, drawn[Role.OFFICER][:-1], drawn[Role.OFFICER] + "A", "A" * 10_000):
        assert role_of(tmp_path, nonsense) is None


def test_a_damaged_proof_opens_nothing(tmp_path: Path) -> None:
    for content in (b"", b"{}", b"null", b"\xff", b'{"salt": "", "scrypt": ""}'):
        (tmp_path / FILES[Role.TECHNICIAN]).write_bytes(content)
        assert role_of(tmp_path, "") is None
        assert role_of(tmp_path, "ABCD") is None


@given(st.text(max_size=60), st.text(max_size=60))
def test_only_this_very_address_is_here(origin: str, referer: str) -> None:
    assert not from_here(origin, None, "127.0.0.1:8080")
    assert not from_here(None, referer, "127.0.0.1:8080")
    assert not from_here(origin, "http://127.0.0.1:8080/", "127.0.0.1:8080"), "Origin is believed before Referer"
