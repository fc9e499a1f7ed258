"""From the office to the cabinet: a signed job file, its label, and a claim that works without the Internet."""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import logging
import os
import re
import stat
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import claim as module
from gateway.app import home
from gateway.claim import (
    FIRST_WAIT_S,
    LONGEST_WAIT_S,
    Claimed,
    announce,
    claim,
    claimed,
    password_matches,
    state,
    take_certificate,
)
from gateway.clock import SystemClock
from gateway.errors import GuetError, SealError, SiteError, WishError
from gateway.outbox import Outbox
from gateway.pack import (
    ALPHABET,
    MAX_JOB_BYTES,
    Label,
    job_file,
    label_faults,
    label_html,
    label_pdf,
    label_svg,
    new_label,
    read_job,
    wifi_file,
)
from gateway.patience import FREE_TRIES
from gateway.seal import own_key, public_pem, sealed
from gateway.store import Store
from tests.gateway.conftest import PRESSURE, Field, guet

PROFILES = home() / "device_profiles"
NOW_S = 1.79e9


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUET_LANG", "fr")
    monkeypatch.setattr("gateway.pack._COST", {"n": 16, "r": 8, "p": 1})


class Office:
    """Who prepares: a key, a site, a label."""

    def __init__(self, on_site: Field, folder: Path) -> None:
        on_site.expect("amont", PRESSURE, 3)
        on_site.site()
        self.text = (on_site.folder / "site.toml").read_text("utf-8")
        self.key = own_key(folder)
        self.label = new_label("edge-0042", "Exemple-le-Bourg")

    def job(self, **other: Any) -> bytes:
        given: dict[str, Any] = {"gateway": "edge-0042", "site": self.text, "label": self.label} | other
        return job_file(given.pop("key", self.key), by="bureau", now_s=NOW_S, **given)


@pytest.fixture
def office(on_site: Field, tmp_path: Path) -> Office:
    return Office(on_site, tmp_path / "office")


@pytest.fixture
def cabinet(tmp_path: Path) -> Path:
    """Where the site file is to be written."""
    folder = tmp_path / "cabinet"
    folder.mkdir()
    return folder / "site.toml"


def claims(
    office: Office, cabinet: Path, job: bytes | None = None, code: str = "", now_s: float = NOW_S, by: str = "AM"
) -> Claimed:
    content = office.job() if job is None else job
    return claim(content, code or office.label.code, by=by, path=cabinet, profiles=PROFILES, now_s=now_s)


def files(cabinet: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(cabinet.parent)): path.read_bytes() for path in cabinet.parent.rglob("*") if path.is_file()
    }


def test_a_claim_writes_the_site_and_keeps_its_keys_to_itself(office: Office, cabinet: Path) -> None:
    done = claims(office, cabinet)
    assert cabinet.read_text("utf-8") == office.text
    data = cabinet.parent / "data"
    assert claimed(data) == done
    assert (done.gateway, done.by) == ("edge-0042", "AM")
    assert done.public_key == public_pem(own_key(data))
    for path in data.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name
    assert password_matches(data, office.label.password.lower().replace("-", " "))
    assert not password_matches(data, office.label.code)
    assert not password_matches(cabinet.parent, office.label.password), "no claim, no password"
    assert office.label.password.encode() not in b"".join(files(cabinet).values())


def test_a_claim_may_be_done_again_and_keeps_the_key(office: Office, cabinet: Path) -> None:
    first = claims(office, cabinet)
    again = claims(office, cabinet, now_s=NOW_S + 60)
    assert again.key == first.key


@pytest.mark.parametrize("code", ["", "0000-0000", "x" * 10_000, "7K4M", "\x00"])
def test_a_wrong_code_changes_nothing_but_the_count(
    office: Office, cabinet: Path, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), pytest.raises(WishError, match="relisez l'étiquette"):
        claim(office.job(), code, by="AM", path=cabinet, profiles=PROFILES, now_s=NOW_S)
    assert set(files(cabinet)) == {"data/claim-tries.json"}
    assert "claim refused" in caplog.text
    assert office.label.code not in caplog.text


def test_after_a_few_wrong_codes_one_has_to_wait_ever_longer(office: Office, cabinet: Path) -> None:
    for _ in range(FREE_TRIES):
        with pytest.raises(WishError, match="relisez"):
            claims(office, cabinet, code="2222-2222")
    with pytest.raises(WishError, match="trop de codes faux"):
        claims(office, cabinet)
    with pytest.raises(WishError, match="relisez"):
        claims(office, cabinet, code="2222-2222", now_s=NOW_S + FIRST_WAIT_S)
    with pytest.raises(WishError, match="trop de codes faux"):
        claims(office, cabinet, now_s=NOW_S + 2 * FIRST_WAIT_S)
    claims(office, cabinet, now_s=NOW_S + 3 * FIRST_WAIT_S + 1)
    assert not (cabinet.parent / "data" / module.TRIES).exists()


def test_a_clock_that_was_put_back_locks_nobody_out(office: Office, cabinet: Path) -> None:
    for _ in range(FREE_TRIES):
        with pytest.raises(WishError):
            claims(office, cabinet, code="2222-2222")
    with pytest.raises(WishError, match="attendez encore 30 s"):
        claims(office, cabinet, now_s=NOW_S - 1e6)
    assert LONGEST_WAIT_S < 3600


def test_a_forged_job_file_is_refused_and_nothing_is_changed(office: Office, cabinet: Path, tmp_path: Path) -> None:
    document = json.loads(office.job())
    changed = {**document, "body": {**document["body"], "site": office.text.replace("address = 3", "address = 4")}}
    for forged, said in (
        (json.dumps(changed).encode(), "contenu a été changé"),
        (b"", "pas de JSON"),
        (b"x" * (MAX_JOB_BYTES + 1), "au plus"),
        (json.dumps(sealed({"kind": "guet-job", "format": 1}, office.key)).encode(), "missing"),
        (json.dumps(sealed({**document["body"], "extra": 1}, office.key)).encode(), "unknown key"),
        (office.job(gateway="edge-0043"), "la mission est pour edge-0043"),
    ):
        with pytest.raises(SealError, match=said):
            claims(office, cabinet, forged)
    assert files(cabinet) == {}


def test_somebody_else_s_job_file_needs_the_label_s_code(office: Office, cabinet: Path, tmp_path: Path) -> None:
    stranger = own_key(tmp_path / "stranger")
    forged = office.job(key=stranger, label=new_label("edge-0042", "x"))
    with pytest.raises(WishError):
        claims(office, cabinet, forged)
    assert not cabinet.exists()


def test_after_the_first_claim_only_the_same_office_is_obeyed(office: Office, cabinet: Path, tmp_path: Path) -> None:
    claims(office, cabinet)
    before = files(cabinet)
    with pytest.raises(SealError, match="obéit à une autre clé"):
        claims(office, cabinet, office.job(key=own_key(tmp_path / "stranger")))
    assert files(cabinet) == before


def test_a_faulty_site_in_a_sound_job_says_all_its_faults(office: Office, cabinet: Path) -> None:
    faulty = office.text.replace("address = 3", "adress = 3").replace("47.24", "147.24")
    with pytest.raises(SiteError) as told:
        claims(office, cabinet, office.job(site=faulty))
    assert len(told.value.faults) == 2
    assert files(cabinet) == {}


def test_a_disk_that_fills_up_at_any_write_leaves_the_gateway_as_it_was(
    office: Office, cabinet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def counts() -> dict[str, bytes]:
        return {name: text for name, text in files(cabinet).items() if ".before/" not in name}

    claims(office, cabinet)
    before, sync, room = counts(), os.fsync, 0
    label = new_label("edge-0042", "Bourg-Neuf")
    job = office.job(site=office.text.replace("Exemple-le-Bourg", "Bourg-Neuf"), label=label)

    def fills_up(handle: int) -> None:
        nonlocal left
        left -= stat.S_ISREG(os.fstat(handle).st_mode)
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    monkeypatch.setattr(os, "fsync", fills_up)
    while room < 50:
        left = room
        try:
            claims(office, cabinet, job, label.code)
            break
        except (WishError, SiteError):
            room += 1
        assert counts() == before, f"with room for {room - 1} writes"
    assert room > 4
    assert "Bourg-Neuf" in cabinet.read_text("utf-8")
    assert password_matches(cabinet.parent / "data", label.password)


def test_a_place_that_is_none_is_said_and_nothing_is_kept(office: Office, cabinet: Path) -> None:
    (cabinet.parent / "data").write_text("a file")
    for code in (office.label.code, "2222-2222"):
        with pytest.raises(WishError, match=r"data : attendu un endroit où écrire, reçu : File exists"):
            claims(office, cabinet, code=code)
    assert set(files(cabinet)) == {"data"}


@pytest.mark.skipif(os.geteuid() == 0, reason="NOT TRIED: root may write everywhere")
def test_who_has_no_right_to_write_is_told_to_use_sudo(office: Office, cabinet: Path) -> None:
    cabinet.parent.chmod(0o500)
    with pytest.raises(WishError, match="recommencez avec sudo"):
        claims(office, cabinet)
    assert files(cabinet) == {}


@pytest.mark.parametrize("by", ["", "  ", "\x1b[2J", "x" * 201])
def test_who_claims_must_be_said(office: Office, cabinet: Path, by: str) -> None:
    with pytest.raises(WishError, match="--by"):
        claims(office, cabinet, by=by)
    assert files(cabinet) == {}


@given(st.binary(max_size=400))
@settings(max_examples=40)
def test_garbage_gives_only_our_errors(garbage: bytes) -> None:
    with pytest.raises(GuetError):
        read_job(garbage)


# Confirmed later


async def test_the_platform_confirms_when_it_takes_the_record_over(office: Office, cabinet: Path) -> None:
    done = claims(office, cabinet)
    async with Store.open(cabinet.parent / "data", SystemClock()) as store:
        assert state(store) == "local"
        await announce(store)
        await announce(store)
        outbox = Outbox(store)
        (record,) = outbox.take(10, 10)
        assert json.loads(record.body)["what"] == "gateway claimed"
        assert json.loads(record.body)["key"] == done.key
        assert state(store) == "local"
        outbox.acknowledge([record.seq])
        async with asyncio.timeout(5):
            while state(store) != "confirmed":
                await asyncio.sleep(0.01)


async def test_an_unclaimed_gateway_says_so(tmp_path: Path) -> None:
    async with Store.open(tmp_path, SystemClock()) as store:
        await announce(store)
        assert state(store) == "none"


# The certificate


def issued(for_key: Any, office: Office) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edge-0042")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(for_key)
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    return builder.sign(office.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def test_the_request_is_signed_by_the_device_and_carries_the_token(office: Office, cabinet: Path) -> None:
    claims(office, cabinet, office.job(token="once-only"))
    data = cabinet.parent / "data"
    request = x509.load_pem_x509_csr((data / module.REQUEST).read_bytes())
    assert request.is_signature_valid
    assert request.subject.rfc4514_string() == "CN=edge-0042"
    assert request.attributes.get_attribute_for_oid(AttributeOID.CHALLENGE_PASSWORD).value == b"once-only"
    path = take_certificate(issued(request.public_key(), office), data)
    assert path.read_bytes().startswith(b"-----BEGIN CERTIFICATE")
    for wrong in (issued(ec.generate_private_key(ec.SECP256R1()).public_key(), office), b"x", b""):
        with pytest.raises(SealError):
            take_certificate(wrong, data)


# The label


def test_the_secrets_are_fresh_and_can_be_read_in_the_rain() -> None:
    labels = [new_label("edge-0042", "Exemple") for _ in range(20)]
    assert len({label.code for label in labels}) == len({label.password for label in labels}) == 20
    for label in labels:
        assert re.fullmatch(f"[{ALPHABET}]{{4}}-[{ALPHABET}]{{4}}", label.code)
    assert not any(set(alike) <= set(ALPHABET) for alike in ("O0", "I1", "L1", "S5", "Z2", "B8", "G6", "QO"))


def test_the_label_says_what_phones_understand() -> None:
    label = Label("edge-0042", "L'Isle <&>", "7K4M-2Q9X", "AAAA-BBBB-CCCC", 'gu;et"', "pass:word", "http://10.42.0.1")
    assert label.wifi_text == 'WIFI:T:WPA;S:gu\\;et\\";P:pass\\:word;;'
    assert label.page_text == "http://10.42.0.1/c/7K4M-2Q9X"
    svg = label_svg(label)
    assert svg.count("<title>") == 2
    assert "L'Isle &lt;&amp;&gt;" in svg
    assert "2 ouvrir http://10.42.0.1<" in svg
    page = label_html(label)
    assert label_svg(label) in page
    assert "@page{size:100mm 60mm;margin:0}" in page
    assert "<h1>Étiquette de la passerelle edge-0042</h1>" in page
    assert label_pdf(label).startswith(b"%PDF")


def test_the_wifi_of_the_label_is_a_connection_file_as_networkmanager_writes_it() -> None:
    """The escaped lines are those of `nmcli --offline connection add ... ` (1.42) for the same texts."""
    label = Label("edge-0042", "X", "c", "p", "L'Isle; été", "a b;c\\d\"e'12", "http://192.168.4.1:8080")
    lines = wifi_file(label).splitlines()
    assert r"ssid=L'Isle\\; été" in lines
    assert r"""psk=a b;c\\d"e'12""" in lines
    assert "address1=192.168.4.1/24" in lines
    assert {"mode=ap", "key-mgmt=wpa-psk", "method=shared", "autoconnect-priority=-10"} <= set(lines)
    plain = wifi_file(Label("edge-0042", "X", "c", "p", " x\n[y]", " z", "http://armoire.example"))
    assert r"ssid=\sx\n[y]" in plain
    assert "address1=10.42.0.1/24" in plain


@pytest.mark.parametrize(
    ("fault", "option"),
    [
        ({"wifi": "é" * 17}, "--wifi "),
        ({"wifi": ""}, "--wifi "),
        ({"wifi_password": "courte"}, "--wifi-password"),
        ({"wifi_password": "été à la mer"}, "--wifi-password"),
        ({"wifi_password": "x" * 64}, "--wifi-password"),
        ({"address": "javascript:alert(1)"}, "--address"),
        ({"address": "http://armoire.local"}, "--address"),
        ({"address": "http://10.42.0.1:99999"}, "--address"),
        ({"address": "http://10.42.0.1/page"}, "--address"),
        ({"address": "http://nom@10.42.0.1"}, "--address"),
        ({"address": "http://[::1"}, "--address"),
    ],
)
def test_a_label_that_would_fail_before_the_cabinet_is_refused_in_the_office(
    fault: dict[str, str], option: str
) -> None:
    sound = new_label("edge-0042", "X")
    for address in ("http://192.168.1.20:8080", "http://[fd00::1]", sound.address):
        assert list(label_faults(replace(sound, address=address))) == []
    assert list(label_faults(new_label("e" * 64, "X"))) == [], "the longest name that a gateway may have"
    (told,) = label_faults(replace(sound, **fault))
    assert told.startswith(option)


# The command


async def test_the_office_signs_nothing_that_a_cabinet_would_refuse(office: Office, on_site: Field) -> None:
    pack = ("pack", "site.toml", "--out", "stick", "--keys", "k")
    code, _, err = await guet(*pack, "--wifi", "s" * 40, "--wifi-password", "x", "--address", "", folder=on_site.folder)
    assert code == 2
    assert [line.split()[0] for line in err.splitlines()] == ["--wifi", "--wifi-password", "--address"]
    for option in ("--by", "--token"):
        code, _, err = await guet(*pack, option, "x" * 201, folder=on_site.folder)
        assert (code, err) == (1, f"{option} : attendu au plus 200 signes imprimables\n")
    assert not (on_site.folder / "stick").exists()
    assert not (on_site.folder / "k").exists()


async def test_from_the_office_to_the_cabinet(office: Office, cabinet: Path, on_site: Field, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    code, out, err = await guet(
        "pack", "site.toml", "--out", str(stick), "--keys", str(tmp_path / "k"), folder=on_site.folder
    )
    assert (code, err) == (0, "")
    assert sorted(path.name for path in stick.iterdir()) == [
        "edge-0042.guet",
        "label-edge-0042.html",
        "label-edge-0042.pdf",
        "label-edge-0042.svg",
        "wifi-edge-0042.nmconnection",
    ]
    assert "portent les secrets" in out
    label_code = re.search(r"code ([2-9A-Z]{4}-[2-9A-Z]{4})", (stick / "label-edge-0042.svg").read_text("utf-8"))
    assert label_code
    job = str(stick / "edge-0042.guet")
    code, out, err = await guet("claim", job, "--by", "AM", "--code", "2222-2222", folder=cabinet.parent)
    assert (code, out) == (1, "")
    assert "relisez l'étiquette" in err
    code, out, err = await guet(
        "claim", job, "--by", "AM", folder=cabinet.parent, stdin=label_code[1].lower().encode() + b"\n"
    )
    assert code == 0, err
    assert "enrôlée localement, à confirmer par la plateforme" in out
    assert cabinet.exists()
    code, out, _ = await guet(
        "claim", job, "--by", "AM", "--code", label_code[1], "--json", folder=cabinet.parent, lang="en"
    )
    assert json.loads(out)["state"] == "local"
    code, out, _ = await guet("claim", job, "--by", "AM", "--code", label_code[1], folder=cabinet.parent, lang="en")
    assert "claimed locally, to be confirmed by the platform" in out


async def test_a_gigabyte_is_refused_without_being_read(cabinet: Path, tmp_path: Path) -> None:
    huge = tmp_path / "huge.guet"
    with huge.open("wb") as file:
        os.ftruncate(file.fileno(), 1 << 30)
    began_s = time.monotonic()
    code, _, err = await guet("claim", str(huge), "--by", "AM", "--code", "2222-2222", folder=cabinet.parent)
    assert (code, "au plus" in err) == (1, True)
    code, out, _ = await guet("verify", str(huge), folder=cabinet.parent)
    assert (code, "REFUSÉ" in out) == (1, True)
    assert time.monotonic() - began_s < 30
    assert files(cabinet) == {}


async def test_files_that_are_not_there_and_sites_that_are_wrong(cabinet: Path, on_site: Field) -> None:
    assert (await guet("claim", "none.guet", "--by", "AM", "--code", "x", folder=cabinet.parent))[0] == 1
    assert (await guet("pack", "none.toml", folder=cabinet.parent))[0] == 2
    (cabinet.parent / "bad.toml").write_text("x", "utf-8")
    assert (await guet("pack", "bad.toml", folder=cabinet.parent))[0] == 2
    assert [path.name for path in cabinet.parent.iterdir()] == ["bad.toml"]


def test_signatures_are_no_decoration(office: Office) -> None:
    document = json.loads(office.job())
    raw = bytearray(base64.b64decode(document["seal"]["signature"]))
    raw[-1] ^= 1
    document["seal"]["signature"] = base64.b64encode(bytes(raw)).decode()
    with pytest.raises(SealError):
        read_job(json.dumps(document).encode())
