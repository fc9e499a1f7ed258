"""Small int8 neural networks, the same byte for byte on every node, in the trainer and in the gateway, without heap.

TFLite's own requantisation multiplies 32 by 31 bits, which on a 32-bit MicroPython is a big integer for every neuron.
This one is narrower, and everything stays below 2**30, a small integer everywhere:

    y = clamp(((acc >> pre) * multiplier + 2**14) >> 15),   multiplier < 2**15,   |acc >> pre| < 2**14

`load` proves the bound for every neuron from its weights, and refuses a table that could break it.

Table, little-endian: b"GD", version 1, number of layers; per layer: inputs u8, outputs u8, pre u8, relu u8,
multiplier u16, biases i32 each, weights i8 row by row; CRC-16 (Modbus) of all before it.
"""

from array import array

from modbus_rtu import crc16

_LAYER = 6


class Dense:
    """A network out of its table. `run` reads `inputs` and leaves `outputs`, both array("b")."""

    def __init__(self, table: bytes):
        n = len(table)
        if n < 6 or table[:3] != b"GD\x01" or crc16(table, n) != 0:
            raise ValueError("dense: not an intact table of version 1")
        layers = []
        at = 4
        width = table[at] if table[3] else 0
        self.inputs = array("b", bytes(width))
        below = self.inputs
        for _ in range(table[3]):
            if at + _LAYER > n - 2:
                raise ValueError("dense: table cut short")
            n_in, n_out, pre, relu = table[at], table[at + 1], table[at + 2], table[at + 3]
            multiplier = table[at + 4] | table[at + 5] << 8
            at += _LAYER
            end = at + 4 * n_out + n_in * n_out
            if n_in != width or n_out == 0 or end > n - 2:
                raise ValueError("dense: layers do not fit each other")
            bias = array("i", [_i32(table, at + 4 * o) for o in range(n_out)])
            weights = array("b", bytes(table[at + 4 * n_out : end]))
            _prove(bias, weights, n_in, pre, multiplier)
            above = array("b", bytes(n_out))
            layers.append((below, above, weights, bias, pre, multiplier, 0 if relu else -128))
            below = above
            width = n_out
            at = end
        if not layers or at != n - 2:
            raise ValueError("dense: table has %d bytes too many" % (n - 2 - at))
        self._layers = layers
        self.outputs = below

    def run(self) -> None:
        for below, above, weights, bias, pre, multiplier, floor in self._layers:
            n_in = len(below)
            k = 0
            for o in range(len(above)):
                acc = bias[o]
                for i in range(n_in):
                    acc += weights[k] * below[i]
                    k += 1
                acc = ((acc >> pre) * multiplier + 16384) >> 15
                above[o] = floor if acc < floor else 127 if acc > 127 else acc


def _i32(table: bytes, at: int) -> int:
    value = table[at] | table[at + 1] << 8 | table[at + 2] << 16 | table[at + 3] << 24
    return value - (1 << 32) if value & 0x80000000 else value


def _prove(bias, weights, n_in: int, pre: int, multiplier: int) -> None:
    if multiplier >= 1 << 15 or pre > 15:
        raise ValueError("dense: multiplier %d, shift %d out of range" % (multiplier, pre))
    for o in range(len(bias)):
        worst = abs(bias[o])
        for i in range(n_in):
            worst += abs(weights[o * n_in + i]) * 128
        if (worst >> pre) + 1 >= 1 << 14:
            raise ValueError("dense: neuron %d may reach %d, too much for shift %d" % (o, worst, pre))
