"""Remote commands: taken once, in time, signed, for this gateway; everything else is refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from gateway.alert import from_iso
from gateway.command import MAX_IDS, Command, Desk
from gateway.errors import CommandRefused
from gateway.signed import public_key, signed

KEY, OTHER = Ed25519PrivateKey.from_private_bytes(b"k" * 32), Ed25519PrivateKey.from_private_bytes(b"o" * 32)
NOW_S = from_iso("2026-11-26T08:01:00Z")


def command(**changes: object) -> Command:
    body = {
        "id": "c-00000001", "gateway": "edge", "issued": "2026-11-26T08:00:00Z", "expires": "2026-11-26T08:05:00Z",
        "do": "set", "point": "cta/setpoint", "value": 18.0, "reason": "essai", "by": "mairie",
    }  # fmt: skip
    return Command.model_validate(body | changes)


def desk() -> Desk:
    return Desk("edge", KEY.public_key(), {})


def refused(payload: bytes, now_s: float = NOW_S, trusted: bool = True, at: Desk | None = None) -> str:
    with pytest.raises(CommandRefused) as caught:
        (at or desk()).take(payload, now_s, trusted)
    return str(caught.value)


def test_a_signed_command_is_taken_once() -> None:
    here = desk()
    assert here.take(signed(command(), KEY), NOW_S, True) == command()
    assert "taken already" in refused(signed(command(), KEY), at=here)


def test_a_repetition_is_refused_after_a_restart_and_after_it_was_forgotten_and_the_clock_put_back() -> None:
    here = desk()
    here.take(signed(command(), KEY), NOW_S, True)
    restarted = desk()
    restarted.restore(json.loads(json.dumps(here.state())))
    assert "taken already" in refused(signed(command(), KEY), at=restarted)
    later = command(id="c-00000002", issued="2026-11-26T09:00:00Z", expires="2026-11-26T09:05:00Z")
    restarted.take(signed(later, KEY), from_iso("2026-11-26T09:01:00Z"), True)
    assert set(restarted.ids) == {"c-00000002"}
    assert "was the clock put back" in refused(signed(command(), KEY), at=restarted)


def test_what_is_forged_late_early_for_another_or_at_an_unsure_time_is_refused() -> None:
    assert "signature" in refused(signed(command(), OTHER))
    altered = json.loads(signed(command(), KEY))
    altered["command"] = altered["command"].replace("18", "28")
    assert "signature" in refused(json.dumps(altered).encode())
    assert "expired" in refused(signed(command(), KEY), from_iso("2026-11-26T08:05:00Z"))
    assert "in the future" in refused(signed(command(), KEY), from_iso("2026-11-26T07:54:00Z"))
    assert "'edge'" in refused(signed(command(gateway="other"), KEY))
    assert "not trusted" in refused(signed(command(), KEY), trusted=False)


def test_a_signature_for_another_purpose_is_none() -> None:
    text = command().model_dump_json(exclude_none=True)
    import base64

    bare = json.dumps({"command": text, "signature": base64.b64encode(KEY.sign(text.encode())).decode()})
    assert "signature" in refused(bare.encode())


def test_a_signed_text_that_is_no_command_is_refused_under_its_id() -> None:
    broken = command().model_copy(update={"do": "explode"})
    with pytest.raises(CommandRefused) as caught:
        desk().take(signed(broken, KEY), NOW_S, True)
    assert caught.value.id == "c-00000001"
    assert "command: do" in str(caught.value)


def test_the_number_of_commands_in_force_is_bounded() -> None:
    here = desk()
    for number in range(MAX_IDS):
        here.take(signed(command(id=f"c-{number:08}"), KEY), NOW_S, True)
    assert "in force already" in refused(signed(command(id="c-x-more-x"), KEY), at=here)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"value": None}, "value: expected with set"),
        ({"do": "release"}, "value: expected with set"),
        ({"expires": "2026-11-26T08:00:00Z"}, "expires: expected after issued"),
        ({"expires": "2026-11-28T08:00:00Z"}, "by a day at most"),
        ({"issued": "2026-11-26T08:00:00"}, "offset"),
        ({"value": float("inf")}, "finite"),
        ({"lease": "for ever"}, "duration"),
        ({"id": "short"}, "pattern"),
        ({"more": 1}, "more"),
    ],
)
def test_what_is_no_command(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        command(**changes)


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["command", "signature", "x"]), inner),
).map(lambda body: json.dumps(body).encode()))  # fmt: skip
def test_garbage_is_only_ever_refused(payload: bytes) -> None:
    with pytest.raises(CommandRefused):
        desk().take(payload, NOW_S, True)


def test_too_much_is_refused_before_it_is_read() -> None:
    assert "at most 8192 bytes" in refused(b"x" * 8193)


def test_a_file_that_is_no_ed25519_key_is_told(tmp_path: Path) -> None:
    pem = {"encoding": serialization.Encoding.PEM, "format": serialization.PublicFormat.SubjectPublicKeyInfo}
    good, bad, other = tmp_path / "good.pem", tmp_path / "bad.pem", tmp_path / "other.pem"
    good.write_bytes(KEY.public_key().public_bytes(**pem))  # type: ignore[arg-type]
    bad.write_text("-----BEGIN")
    other.write_bytes(ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(**pem))  # type: ignore[arg-type]
    assert public_key(good) == KEY.public_key()
    for path in (bad, other):
        with pytest.raises(ValueError, match="public Ed25519 key"):
            public_key(path)
    with pytest.raises(ValueError, match="can be read"):
        public_key(tmp_path / "none.pem")
