"""On which line a fault is: wherever a reader of TOML finds a key, the line is one where it stands."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from gateway.site_line import located, places

TEXT = '''[gateway]
id = "x"

[[bus]]   # la première
name = "a"
[[device]]
name = "p"
note = """
[[device]]
name = "z"
"""
list = [
  "]", # ]
  2 ]
[[device]]
'name' = 'q'
adress = 3
table = { a = 1, b = [1, { c = 2 }] }
[device.limits]
low = -1

[[permit]]
point = "q/setpoint"
'''


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("site.toml: gateway.zone: missing; add it", 1),
        ("site.toml: gateway.id: too long", 2),
        ("site.toml: bus 'a'.line: missing", 4),
        ("site.toml: device[1].adress: unknown key", 17),
        ("site.toml: device 'q'.limits.low: expected more", 20),
        ("site.toml: device 'p'.list[1]: expected text", 12),
        ("site.toml: device 'p'.bus: expected one", 6),
        ("site.toml: permit 'q/setpoint': there are 2", 22),
        ("watch 'w': no such model", None),
        ("site.toml: device 'z'.bus: it is only written in a note", None),
        ("site.toml: upstream.url: missing", None),
        ("site.toml: not TOML: Invalid value (at line 3, column 5)", 3),
        ("site.toml: not TOML: Unclosed array (at end of document)", 23),
        ("", None),
    ],
)
def test_a_fault_has_the_line_of_its_key(said: str, line: int | None) -> None:
    (found,) = located([said], TEXT)
    assert (found.line, found.said) == (line, said)


def test_faults_come_in_order_of_their_lines() -> None:
    faults = ["site.toml: device[1].adress: unknown key", "watch 'w': none", "site.toml: gateway.id: too long"]
    assert [fault.line for fault in located(faults, TEXT)] == [None, 2, 17]


NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True)
SCALARS = st.integers(-9, 9) | st.booleans() | st.text(st.sampled_from("ab[]{}#\"'\\\n= é"), max_size=12)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=5)
TABLES = st.dictionaries(NAMES, VALUES, min_size=1, max_size=4)
DOCUMENTS = st.dictionaries(NAMES, TABLES | st.lists(TABLES, min_size=1, max_size=3), max_size=4)


@given(DOCUMENTS)
def test_every_key_is_found_on_a_line_where_it_stands(document: dict[str, Any]) -> None:
    text = tomlkit.dumps(document)
    found, lines = places(text).lines, text.split("\n")
    for path in keys(tomllib.loads(text)):
        assert str(path[-1] if isinstance(path[-1], str) else path[-2]) in lines[found[path] - 1]


def keys(table: dict[str, Any]) -> Iterator[tuple[str | int, ...]]:
    for kind, entry in table.items():
        entries = entry if isinstance(entry, list) else [entry]
        for at, one in enumerate(entries):
            head: tuple[str | int, ...] = (kind, at) if isinstance(entry, list) else (kind,)
            yield head
            yield from ((*head, key) for key in one)


@given(st.text() | st.text(st.sampled_from("[]\"'#=\n\\ab.{}")), st.lists(st.text()))
def test_of_what_is_no_toml_it_tells_what_it_can(text: str, faults: list[str]) -> None:
    count = len(text.splitlines()) or 1
    assert all(
        fault.line is None or "(at line" in fault.said or 1 <= fault.line <= count for fault in located(faults, text)
    )
