"""ECDSA P-256 verification (FIPS 186-5, 6.4.2), in steps, for a board whose MicroPython has no public-key code.

Only public data is handled, so nothing here needs to take constant time. A verification is some 256 doublings with big
integers: seconds on a small board, longer than its watchdog allows. So it is a generator that yields after every bit of
the scalars; whoever runs it feeds the watchdog, or lets other tasks run, between the steps.

Points are Jacobian triples (X, Y, Z); Z = 0 is the point at infinity.
"""

_P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
    1,
)
_INFINITY = (0, 1, 0)


def _double(p: tuple) -> tuple:
    x, y, z = p
    if z == 0:
        return p
    zz = z * z % _P
    yy = y * y % _P
    s = 4 * x * yy % _P
    m = 3 * (x - zz) * (x + zz) % _P
    x3 = (m * m - 2 * s) % _P
    return x3, (m * (s - x3) - 8 * yy * yy) % _P, 2 * y * z % _P


def _add(p: tuple, q: tuple) -> tuple:
    if p[2] == 0:
        return q
    if q[2] == 0:
        return p
    x1, y1, z1 = p
    x2, y2, z2 = q
    zz1 = z1 * z1 % _P
    zz2 = z2 * z2 % _P
    u1 = x1 * zz2 % _P
    s1 = y1 * zz2 * z2 % _P
    h = (x2 * zz1 - u1) % _P
    r = (y2 * zz1 * z1 - s1) % _P
    if h == 0:
        return _double(p) if r == 0 else _INFINITY
    hh = h * h % _P
    hhh = h * hh % _P
    v = u1 * hh % _P
    x3 = (r * r - hhh - 2 * v) % _P
    return x3, (r * (v - x3) - s1 * hhh) % _P, h * z1 * z2 % _P


def verification(key: bytes, digest: bytes, signature: bytes):
    """Generator: yields None while at work, and at last True or False: is `signature` (r then s, 32 bytes each) of
    `digest` (SHA-256) by `key` (x then y, 32 bytes each)? Anything malformed is False."""
    if len(key) != 64 or len(digest) != 32 or len(signature) != 64:
        yield False
        return
    x = int.from_bytes(key[:32], "big")
    y = int.from_bytes(key[32:], "big")
    r = int.from_bytes(signature[:32], "big")
    s = int.from_bytes(signature[32:], "big")
    on_curve = x < _P and y < _P and (y * y - (x * x - 3) * x - _B) % _P == 0
    if not (0 < r < _N and 0 < s < _N and on_curve):
        yield False
        return
    w = pow(s, _N - 2, _N)
    yield None
    u1 = int.from_bytes(digest, "big") * w % _N
    u2 = r * w % _N
    q = (x, y, 1)
    choices = (_INFINITY, _G, q, _add(_G, q))
    total = _INFINITY
    for i in range(255, -1, -1):  # both scalars at once (Shamir)
        total = _add(_double(total), choices[(u1 >> i & 1) | (u2 >> i & 1) << 1])
        yield None
    if total[2] == 0:
        yield False
        return
    inverse = pow(total[2], _P - 2, _P)
    yield total[0] * inverse * inverse % _P % _N == r
