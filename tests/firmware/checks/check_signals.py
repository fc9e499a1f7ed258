"""Transmitter, door, window and models: integers in, integers out, without heap."""

import json
import os
from array import array

from burst import N_FEATURES, PressureWindow
from dense import Dense
from door import CLOSING, DWELL, OPENING, REOPENINGS, STALLED, DoorCycles
from forest import Forest
from heap import no_heap
from loop_current import BROKEN_WIRE, GOOD, NO_VALUE, OUT_OF_RANGE, SHORT_CIRCUIT, Transmitter
from modbus_rtu import crc16

folder = os.getenv("GUET_MODELS") if hasattr(os, "getenv") else "/models"


def counts(current_ua, full_scale_ua=24000):
    return current_ua * 65535 // full_scale_ua


def test_limits_of_namur_ne_43():
    transmitter = Transmitter(24000, 10000)
    for current, state, has_value in (
        (3500, BROKEN_WIRE, False),
        (3700, OUT_OF_RANGE, True),
        (4000, GOOD, True),
        (20000, GOOD, True),
        (20700, OUT_OF_RANGE, True),
        (21100, SHORT_CIRCUIT, False),
        (0, BROKEN_WIRE, False),
    ):
        no_heap(transmitter.read, counts(current))
        assert transmitter.state == state and (transmitter.value != NO_VALUE) == has_value, current


def test_current_to_pressure():
    transmitter = Transmitter(24000, 10000)
    for current, value in ((4000, 0), (12000, 5000), (20000, 10000)):
        transmitter.read(counts(current))
        assert abs(transmitter.value - value) <= 1
    widest = Transmitter(30000, 30000)
    no_heap(widest.read, counts(20900, 30000))
    assert abs(widest.value - 31687) <= 3


def door(phases):
    watch = DoorCycles()
    watch.step(5, True, False)
    done = 0
    for duration, closed, opened in phases:
        for _ in range(duration // 5):
            done += no_heap(watch.step, 5, closed, opened)
    return watch.features, done


def test_one_plain_door_cycle():
    features, done = door(((300, False, False), (500, False, True), (250, False, False), (5, True, False)))
    assert done == 1
    assert list(features) == [300, 500, 250, 0, 300]


def test_a_door_that_reopens():
    features, done = door(
        (
            (300, False, False),
            (500, False, True),
            (100, False, False),
            (200, False, True),
            (250, False, False),
            (5, True, False),
        )
    )
    assert done == 1 and features[REOPENINGS] == 1 and features[DWELL] == 200 and features[CLOSING] == 250


def test_a_door_that_never_opened():
    features, done = door(((400, False, False), (5, True, False)))
    assert done == 1 and features[OPENING] == 0 and features[STALLED] == 400


def test_impossible_contacts_end_no_cycle():
    _, done = door(((100, False, False), (100, True, True), (100, False, False)))
    assert done == 0


def test_a_fall_that_stays_shows_in_the_window():
    window = PressureWindow()
    out = array("b", bytes(N_FEATURES))
    for second in range(80):
        no_heap(window.push, 4000 if second < 74 else 3000)
    assert window.ready
    no_heap(window.features, out)
    assert out[0] >= 40 and out[2] == 62 and out[3] == 62
    window.reset()
    assert not window.ready


def sealed(body):
    return body + crc16(body, len(body)).to_bytes(2, "little")


def golden(name):
    with open("%s/%s.bin" % (folder, name), "rb") as file:
        table = file.read()
    with open("%s/%s.json" % (folder, name)) as file:
        return table, json.load(file)["vectors"]


def test_dense_gives_the_golden_bytes_without_heap():
    table, vectors = golden("burst")
    model = Dense(table)
    assert len(vectors) >= 40
    for features, expected in vectors:
        for i in range(len(features)):
            model.inputs[i] = features[i]
        no_heap(model.run)
        assert list(model.outputs) == expected


def test_dense_refuses_what_it_could_not_compute():
    table, _ = golden("burst")
    for at in range(len(table)):
        bad = bytearray(table)
        bad[at] ^= 4
        refused(Dense, bytes(bad))
    for n in range(len(table)):
        refused(Dense, table[:n])
    layer = bytes((1, 1, 0, 0, 1, 0)) + (0x7FFFFFFF).to_bytes(4, "little") + b"\x01"
    refused(Dense, sealed(b"GD\x01\x01" + layer))  # its bias alone would leave the small integers


def test_forest_gives_the_golden_score_without_heap():
    table, vectors = golden("door")
    model = Forest(table)
    assert len(vectors) >= 40
    for features, expected in vectors:
        assert no_heap(model.score, features) == expected[0]


def test_forest_refuses_a_walk_without_end():
    rows = b"".join(v.to_bytes(2, "little") for v in (0, 10, 0, 0))
    refused(Forest, sealed(b"GF\x01\x01\x01\x00\x01\x00\x00\x00" + rows))
    table, _ = golden("door")
    for n in range(0, len(table), 7):
        refused(Forest, table[:n])


def refused(kind, table):
    try:
        kind(table)
    except ValueError:
        return
    raise AssertionError("accepted")
