"""On which line of a site file a fault is: faults name keys, and people look for lines. Pure.

TOML readers tell no places, so the text is gone through once more: which table or key begins on which line, whatever stands
in strings, comments and values over several lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.fault_words import in_french

Path = tuple[str | int, ...]

_TOKEN = re.compile(r'"""|\'\'\'|"(?:\\.|[^"\\])*"|\'[^\']*\'|#.*|[\[\]{}]')
_PART = r'(?:[A-Za-z0-9_-]+|"(?:\\.|[^"\\])*"|\'[^\']*\')'
_NAME = rf"\s*({_PART}(?:\s*\.\s*{_PART})*)\s*"
_TABLE = re.compile(rf"^\s*(\[\[?){_NAME}\]")
_KEY = re.compile(rf"^{_NAME}=")
_NAMED = re.compile(r'^\s*["\']?(?:name|point)["\']?\s*=\s*(?:"([^"\\]*)"|\'([^\']*)\')')
_FAULT = re.compile(r"^(?:[^\s:]+: )?([a-z_]+)(?:\[(\d+)\]| '([^']*)')?((?:\.[A-Za-z0-9_-]+|\[\d+\])*)")
_SYNTAX = re.compile(r"\(at line (\d+), column \d+\)$|(at end of document)\)$")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and on which line, counted from 1; None where it is of no line, as a table that is missing. french: the
    same in French, empty where nobody has said it so yet."""

    line: int | None
    said: str
    french: str = ""


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything begins. lines: by path, the line from 1; named: by kind and name, which one of its kind it is."""

    lines: dict[Path, int]
    named: dict[tuple[str, str], int]


def located(faults: Iterable[str], text: str) -> list[Fault]:
    """The faults of a text with their lines, in order of the lines; those of none first."""
    found = places(text)
    told = (Fault(_line(said, found, text), said, in_french(said)) for said in faults)
    return sorted(told, key=lambda fault: fault.line or 0)


def places(text: str) -> Places:
    """Where the tables and keys of a text begin. Of what is no TOML, what can be told."""
    lines: dict[Path, int] = {}
    named: dict[tuple[str, str], int] = {}
    counts: dict[Path, int] = {}
    here: Path = ()
    depth, closing = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        if not depth and not closing:
            if table := _TABLE.match(line):
                here = _place(_parts(table[2]), counts)
                if table[1] == "[[":
                    counts[here] = counts.get(here, -1) + 1
                    here = (*here, counts[here])
                lines.setdefault(here, number)
                continue
            if key := _KEY.match(line):
                for end in range(1, len(parts := _parts(key[1])) + 1):
                    lines.setdefault((*here, *parts[:end]), number)
                if (name := _NAMED.match(line)) and len(here) == 2:
                    named.setdefault((str(here[0]), name[1] or name[2] or ""), int(here[1]))
        depth, closing = _opened(line, depth, closing)
    return Places(lines, named)


def _parts(dotted: str) -> Path:
    return tuple(part.strip("\"'") for part in re.findall(_PART, dotted))


def _place(parts: Path, counts: dict[Path, int]) -> Path:
    """The path that a header means: below the last entry of each list of tables on the way."""
    here: Path = ()
    for part in parts[:-1]:
        here = (*here, part)
        if here in counts:
            here = (*here, counts[here])
    return (*here, *parts[-1:])


def _opened(line: str, depth: int, closing: str) -> tuple[int, str]:
    """How many brackets, and which long string, are open after a line."""
    at = 0
    while True:
        if closing:
            end = line.find(closing, at)
            if end < 0:
                return depth, closing
            at, closing = end + 3, ""
        token = _TOKEN.search(line, at)
        if token is None:
            return max(0, depth), ""
        at = token.end()
        match token[0]:
            case "[" | "{":
                depth += 1
            case "]" | "}":
                depth -= 1
            case '"""' | "'''":
                closing = token[0]


def _line(said: str, found: Places, text: str) -> int | None:
    if syntax := _SYNTAX.search(said):
        return int(syntax[1]) if syntax[1] else max(1, len(text.splitlines()))
    fault = _FAULT.match(said)
    if fault is None:
        return None
    kind, at, name, rest = fault.groups()
    path: list[str | int] = [kind]
    if at is not None:
        path.append(int(at))
    elif name is not None:
        if (kind, name) not in found.named:
            return None
        path.append(found.named[kind, name])
    path += [int(step[1:-1]) if step[0] == "[" else step[1:] for step in re.findall(r"\.[A-Za-z0-9_-]+|\[\d+\]", rest)]
    while path:
        if (line := found.lines.get(tuple(path))) is not None:
            return line
        path.pop()
    return None
