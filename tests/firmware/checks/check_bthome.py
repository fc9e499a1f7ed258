"""BTHome advertisements and AES-CCM against the format's own examples."""

import bthome
from bthome import Advertisement, Counter
from ccm import Ccm
from heap import no_heap

KEY = bytes.fromhex("231d39c1d7cc1ab1aee224cd096db932")
MAC = bytes.fromhex("5448E68F80A5")


class Kept:
    def __init__(self, number=b""):
        self.number = number
        self.writes = 0

    def load(self):
        return self.number

    def keep(self, number):
        self.number = bytes(number)
        self.writes += 1


def test_ccm_encrypts_in_place_without_heap():
    ccm = Ccm(KEY)
    for n in (0, 1, 15, 16, 17, 40):  # the bytes are compared with another implementation's in test_properties
        buf = bytearray(bytes(range(n)) + bytes(4))
        no_heap(ccm.encrypt, bytes(13), buf, 0, n)
        assert n < 8 or bytes(buf[:n]) != bytes(range(n))


def test_the_encryption_example_of_bthome():
    # bthome.io/encryption: temperature 25.06, humidity 50.55, counter 0x33221100
    nonce = MAC + b"\xd2\xfc\x41" + bytes.fromhex("00112233")
    buf = bytearray(bytes.fromhex("02CA0903BF13") + bytes(4))
    Ccm(KEY).encrypt(nonce, buf, 0, 6)
    assert bytes(buf).hex() == "a47266c95f7378237214"


def test_plain_advertisement():
    advertisement = Advertisement((bthome.BATTERY, bthome.TEMPERATURE))
    assert bytes(advertisement.encode((97, 2506))).hex() == "020106" + "0916d2fc40" + "0161" + "02ca09"


def test_values_out_of_range_are_held():
    advertisement = Advertisement((bthome.BATTERY, bthome.TEMPERATURE, bthome.DISTANCE_MM))
    assert bytes(advertisement.encode((300, -40000, -5))[8:]).hex() == "01ff" + "020080" + "400000"


def test_encrypted_advertisement_costs_no_heap():
    advertisement = Advertisement((bthome.BATTERY, bthome.DISTANCE_MM), KEY, MAC, Counter(Kept()))
    advertisement.encode((1, 2))  # the counter's block is reserved: a flash write, once in 1,024
    numbers = [50, 1234]
    buf = no_heap(advertisement.encode, numbers)
    assert buf[7] == 0x41 and len(buf) == 8 + 5 + 8 and buf[3] == len(buf) - 4
    plain = Advertisement((bthome.BATTERY, bthome.DISTANCE_MM))
    no_heap(plain.encode, numbers)


def test_too_much_or_unordered_is_refused():
    for objects, key in (((bthome.DISTANCE_MM,) * 8, b""), ((bthome.DISTANCE_MM,) * 6, KEY), ((2, 1), b"")):
        try:
            Advertisement(objects, key, MAC, Counter(Kept()))
        except ValueError:
            continue
        raise AssertionError("accepted")


def test_no_number_comes_twice_over_reboots():
    kept = Kept()
    given = []
    for boot in range(6):
        counter = Counter(kept, block=256)
        for _ in range((3, 256, 257, 0, 1, 600)[boot]):
            given.append(int.from_bytes(counter.next(), "little"))
    assert sorted(set(given)) == given
    assert kept.writes == 1 + 1 + 2 + 0 + 1 + 3


def test_the_counter_ends_rather_than_wraps():
    counter = Counter(Kept(b"\xff\xff\xff\xff"), block=256)
    try:
        counter.next()
    except OverflowError:
        return
    raise AssertionError("wrapped")
