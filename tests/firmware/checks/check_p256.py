"""ECDSA P-256 against RFC 6979 A.2.5, whose signatures are not ours."""

import hashlib

from p256 import verification

KEY = bytes.fromhex(
    "60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6"
    "7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299"
)
SAMPLE = bytes.fromhex(
    "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"
    "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"
)
TEST = bytes.fromhex(
    "F1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367"
    "019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083"
)
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def digest(text):
    return hashlib.sha256(text).digest()


def verify(key, digested, signature):
    return [answer for answer in verification(key, digested, signature)][-1]


def test_rfc_6979_signatures():
    assert verify(KEY, digest(b"sample"), SAMPLE)
    assert verify(KEY, digest(b"test"), TEST)


def test_another_message_or_signature_is_refused():
    assert not verify(KEY, digest(b"samplf"), SAMPLE)
    assert not verify(KEY, digest(b"sample"), TEST)
    for i in (0, 31, 32, 63):
        bad = bytearray(SAMPLE)
        bad[i] ^= 1
        assert not verify(KEY, digest(b"sample"), bytes(bad))


def test_malformed_input_is_refused():
    zero, order = bytes(32), ORDER.to_bytes(32, "big")
    for signature in (
        b"",
        SAMPLE[:63],
        SAMPLE + b"\0",
        zero + SAMPLE[32:],
        SAMPLE[:32] + zero,
        order + SAMPLE[32:],
        SAMPLE[:32] + order,
    ):
        assert not verify(KEY, digest(b"sample"), signature)
    assert not verify(KEY[:63] + b"\0", digest(b"sample"), SAMPLE)  # not on the curve
    assert not verify(bytes(64), digest(b"sample"), SAMPLE)
    assert not verify(b"\xff" * 64, digest(b"sample"), SAMPLE)
    assert not verify(KEY, b"", SAMPLE)


def test_the_work_comes_in_steps():
    steps = [answer for answer in verification(KEY, digest(b"test"), TEST)]
    assert len(steps) > 256 and steps[-1] is True and not any(steps[:-1])
