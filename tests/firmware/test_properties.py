"""The cores against anything at all, and against independent implementations: pymodbus, bthome-ble, cryptography, numpy."""

from __future__ import annotations

import hashlib
import io
import struct
from datetime import UTC, datetime, timedelta
from random import Random

import numpy as np
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU

import bthome
import ccm
import civil
import dense
import forest
import journal
import modbus_rtu
import p256
import registers
import release
import slots
from hearing import heard

quick = settings(max_examples=60, deadline=None)
MAP = "\n".join(
    [f"holding {i} h{i} u16 - 0 0 40000 5" for i in range(150)]
    + [f"input {i} i{i} u16 - 0" for i in range(150)]
    + [f"coil {i} c{i} bit - 0" for i in range(2100)]
    + [f"discrete {i} d{i} bit - 0" for i in range(2100)]
)
IDENTITY = (b"Guet", b"pressure", b"1")
BANK = registers.Registers(MAP)


class Files:
    def write(self, file: int, record: int, count: int, buf: bytes, at: int) -> int:
        assert at + 2 * count <= len(buf)
        return 0

    def read(self, file: int, record: int, count: int, out: bytearray, at: int) -> int:
        assert at + 2 * count <= 254
        return 0


def server() -> modbus_rtu.Server:
    return modbus_rtu.Server(17, BANK, IDENTITY, Files())


def sealed(body: bytes) -> bytes:
    return body + modbus_rtu.crc16(body, len(body)).to_bytes(2, "little")


@given(st.binary(max_size=256))
def test_crc_is_that_of_pymodbus(data: bytes) -> None:
    assert modbus_rtu.crc16(data, len(data)).to_bytes(2, "little") == FramerRTU.compute_CRC(data).to_bytes(2, "big")


@given(st.binary(max_size=300))
def test_any_bytes_never_raise(data: bytes) -> None:
    assert 0 <= server().handle(data, len(data)) <= 256


FUNCTIONS = st.sampled_from([1, 2, 3, 4, 5, 6, 15, 16, 0x11, 0x14, 0x15, 0x17, 0x2B])


@settings(max_examples=300, deadline=None)
@given(FUNCTIONS, st.binary(max_size=251), st.sampled_from([0, 17, 18]))
def test_any_pdu_gets_what_the_standard_allows(function: int, data: bytes, unit: int) -> None:
    one = server()
    request = sealed(bytes((unit, function)) + data)
    n = one.handle(request, len(request))
    answer = bytes(one.out[:n])
    if unit != 17:
        assert answer == b""
        return
    assert answer[0] == 17 and modbus_rtu.crc16(answer, n) == 0
    assert answer[1] == function or (answer[1] == function | 0x80 and n == 5 and answer[2] in (1, 2, 3))


REQUESTS = st.one_of(
    st.tuples(st.sampled_from([1, 2]), st.integers(0, 60), st.integers(1, 2000)),
    st.tuples(st.sampled_from([3, 4]), st.integers(0, 20), st.integers(1, 125)),
    st.tuples(st.just(6), st.integers(0, 149), st.integers(0, 40000)),
)


@quick
@given(REQUESTS)
def test_pymodbus_reads_every_answer(request_: tuple[int, int, int]) -> None:
    function, start, count = request_
    one = server()
    request = sealed(struct.pack(">BBHH", 17, function, start, count))
    n = one.handle(request, len(request))
    used, _, _, pdu = FramerRTU(DecodePDU(False)).decode(bytes(one.out[:n]))
    assert used == n
    answer = DecodePDU(False).decode(pdu)
    assert answer is not None and not answer.isError()
    if function in (3, 4):
        cells = BANK.holdings if function == 3 else BANK.inputs
        assert answer.registers == list(cells[start : start + count])
    elif function in (1, 2):
        assert answer.bits[:count] == [False] * count


NUMBERS = st.tuples(
    st.integers(0, 100), st.integers(-32768, 32767), st.integers(0, 65535), st.booleans(), st.integers(0, 65535)
)
OBJECTS = (bthome.BATTERY, bthome.TEMPERATURE, bthome.VOLTAGE, bthome.PROBLEM, bthome.DISTANCE_MM)


def agrees(values: dict[str, float], numbers: tuple[int, int, int, bool, int]) -> None:
    assert values["battery"] == numbers[0]
    assert values["temperature"] == pytest.approx(numbers[1] / 100)
    assert values["voltage"] == pytest.approx(numbers[2] / 1000)
    assert values["problem"] == numbers[3]
    assert values["distance"] == numbers[4]


@quick
@given(NUMBERS)
def test_bthome_ble_reads_plain_advertisements(numbers: tuple[int, int, int, bool, int]) -> None:
    agrees(heard(bthome.Advertisement(OBJECTS).encode(numbers)), numbers)


class Kept:
    def load(self) -> bytes:
        return b""

    def keep(self, number: bytearray) -> None:
        pass


@quick
@given(NUMBERS)
def test_bthome_ble_decrypts_encrypted_advertisements(numbers: tuple[int, int, int, bool, int]) -> None:
    key = "231d39c1d7cc1ab1aee224cd096db932"
    mac = bytes.fromhex("5448E68F80A5")
    advertisement = bthome.Advertisement(OBJECTS, bytes.fromhex(key), mac, bthome.Counter(Kept()))
    agrees(heard(advertisement.encode(numbers), key), numbers)


@quick
@given(st.binary(min_size=16, max_size=16), st.integers(7, 13), st.sampled_from([4, 8, 16]), st.binary(max_size=100))
def test_ccm_is_that_of_cryptography(key: bytes, nonce_length: int, tag: int, plain: bytes) -> None:
    nonce = bytes(range(nonce_length))
    buf = bytearray(plain + bytes(tag))
    ccm.Ccm(key, nonce_length, tag).encrypt(nonce, buf, 0, len(plain))
    assert bytes(buf) == AESCCM(key, tag).encrypt(nonce, plain, None)


@settings(max_examples=6, deadline=None)
@given(st.binary(max_size=50), st.integers(0, 511))
def test_p256_takes_what_cryptography_signs_and_no_changed_bit(message: bytes, bit: int) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    numbers = key.public_key().public_numbers()
    public = numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    digest = hashlib.sha256(message).digest()
    assert list(p256.verification(public, digest, signature))[-1]
    bad = bytearray(signature)
    bad[bit >> 3] ^= 1 << (bit & 7)
    assert not list(p256.verification(public, digest, bytes(bad)))[-1]


@given(st.integers(0, (1 << 30) - 1))
def test_calendar_is_that_of_cpython(now: int) -> None:
    when = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=now)
    assert civil.date(now) == (when.year, when.month, when.day)
    assert civil.minute_of_day(now) == when.hour * 60 + when.minute
    assert civil.seconds(when.year, when.month, when.day, when.hour, when.minute, when.second) == now
    cells = [0, 0]
    civil.to_unix(now, cells, 0)
    assert cells[0] << 16 | cells[1] == int(when.timestamp())
    assert civil.from_unix(*cells) == now


def read_release(data: bytes) -> release.Release:
    return release.Release(io.BytesIO(data))


@given(st.binary(max_size=400))
def test_any_bytes_as_a_file_are_refused_with_value_error(data: bytes) -> None:
    for kind in (read_release, dense.Dense, forest.Forest):
        with pytest.raises(ValueError):
            kind(data)
    for kind, head in ((dense.Dense, b"GD\x01"), (forest.Forest, b"GF\x01")):
        try:
            kind(sealed(head + data))  # an intact table may even be a model; nothing else but ValueError
        except ValueError:
            pass
    assert slots.decode(data) is None


@given(st.text("guet-relasnodhw 0123456789.\n/abcf", max_size=300))
def test_a_release_that_parses_names_only_plain_files(text: str) -> None:
    body = f"guet-release 1\nnode lamp\nhardware 1 2\nversion 7\nfile 3 {'ab' * 32} a.mpy\n{text}".encode()
    try:
        got = read_release(body + bytes(64))
    except ValueError:
        return
    for name, size, digest in got.files():
        assert "/" not in name and ".." not in name and 0 < size <= 20000 and len(digest) == 32


@quick
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1), st.booleans())
def test_dense_is_numpy_in_64_bits(n_in: int, n_out: int, seed: int, relu: bool) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.integers(-127, 128, (n_out, n_in))
    bias = rng.integers(-3000, 3000, n_out)
    worst = int((np.abs(weights).sum(1) * 128 + np.abs(bias)).max())
    pre = max(0, (worst + 1).bit_length() - 13)
    multiplier = int(rng.integers(1, 1 << 15))
    head = struct.pack("<BBBBH", n_in, n_out, pre, relu, multiplier)
    body = head + struct.pack(f"<{n_out}i", *bias) + weights.astype(np.int8).tobytes()
    model = dense.Dense(sealed(b"GD\x01\x01" + body))
    x = rng.integers(-128, 128, n_in)
    for i in range(n_in):
        model.inputs[i] = int(x[i])
    model.run()
    acc = weights.astype(np.int64) @ x + bias
    expected = np.clip(((acc >> pre) * multiplier + (1 << 14)) >> 15, 0 if relu else -128, 127)
    assert list(model.outputs) == expected.tolist()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=30), st.integers(0, 2**32 - 1))
def test_journal_keeps_order_and_values_over_restarts(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], seed: int
) -> None:
    folder = str(tmp_path_factory.mktemp("journal"))
    rng = Random(seed)
    kept: list[int] = []
    one = journal.Journal(folder, 1, page=4, per_segment=16, max_segments=1000)
    for step in steps:
        for _ in range(step):
            one.append(1, 0, len(kept) & 0xFFFF, len(kept))
            kept.append(len(kept) & 0xFFFF)
        if rng.random() < 0.4:
            one.flush()
            one = journal.Journal(folder, 1, page=4, per_segment=16, max_segments=1000)
    one.flush()
    got: list[int] = []
    buf = bytearray(12 * 7)
    while n := one.read(len(got), buf):
        got += [struct.unpack_from("<H", buf, 12 * i + 2)[0] for i in range(n)]
    assert got == kept and one.next == len(kept)
