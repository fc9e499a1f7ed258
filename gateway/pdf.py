"""Plain A4 pages as PDF: headings, wrapped text, tables, QR codes. The same calls give the same bytes.

Text is in Helvetica, which every reader has, in Windows Latin 1: French, and the units; another character becomes a dot.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pydyf

WIDTH, HEIGHT, MARGIN = 595.28, 841.89, 42.0
_LEFT, _RIGHT, _TOP = MARGIN, WIDTH - MARGIN, HEIGHT - MARGIN
_ADVANCE = (
    "278 278 355 556 556 889 667 191 333 333 389 584 278 333 278 278 556 556 556 556 556 556 556 556 556 556 278 278 584 "
    "584 584 556 1015 667 667 722 722 667 611 778 722 278 500 667 556 833 722 778 667 778 722 667 611 722 667 944 667 667 "
    "611 278 278 278 469 556 333 556 556 500 556 556 278 556 556 222 222 500 222 833 556 556 556 556 333 500 278 556 500 "
    "722 500 500 500 334 260 334 584"
)
"""Widths of Helvetica's ASCII, in thousandths of the size (Adobe Font Metrics)."""
_WIDTHS = {chr(code): int(width) for code, width in enumerate(_ADVANCE.split(), 32)}
_OTHERWISE = str.maketrans({"−": "-", "→": "->", "✔": "x", " ": " ", "\u202f": " ", "σ": "s", "≥": ">=", "≤": "<="})
_OTHER_WIDTH = 556
"""Of letters with accents and signs: about that of a letter, never narrower than it by much."""


class Sheet:
    """Pages that grow downwards. Sizes in points."""

    def __init__(self, title: str, foot: str) -> None:
        """foot: at the bottom of every page, before its number."""
        import pydyf

        self._pdf = pydyf.PDF()
        self._pdf.info["Title"] = pydyf.String(title)
        self._pdf.info["Producer"] = pydyf.String("Guet")
        self._foot = foot
        self._fonts = {
            name: self._added(pydyf.Dictionary({"Type": "/Font", "Subtype": "/Type1", "BaseFont": f"/{base}",
                                                "Encoding": "/WinAnsiEncoding"}))
            for name, base in (("F1", "Helvetica"), ("F2", "Helvetica-Bold"))
        }  # fmt: skip
        self._pages: list[pydyf.Stream] = []
        self._y = 0.0
        self._page()

    def heading(self, text: str, size: float = 12.0) -> None:
        """A bold line with room above."""
        self._need(6 * size)
        self._y -= 0.6 * size
        for line in wrapped(text, _RIGHT - _LEFT, 1.08 * size):
            self._down(1.3 * size)
            self._text(_LEFT, self._y, line, size, bold=True)
        self._y -= 0.3 * size

    def paragraph(self, text: str, size: float = 9.0) -> None:
        """Text, broken into lines."""
        for line in wrapped(text, _RIGHT - _LEFT, size):
            self._down(1.35 * size)
            self._text(_LEFT, self._y, line, size)

    def row(self, cells: Sequence[str], shares: Sequence[float], size: float = 8.0, *, bold: bool = False) -> None:
        """A row of a table; shares of the width by column. A row is not broken over two pages."""
        whole, gap = _RIGHT - _LEFT, 6.0
        widths = [whole * share / sum(shares) for share in shares]
        measured = 1.08 * size if bold else size
        broken = [wrapped(cell, width - gap, measured) for cell, width in zip(cells, widths, strict=True)]
        lines = max(len(one) for one in broken)
        self._need(1.3 * size * lines + 4)
        top = self._y
        for index in range(lines):
            x = _LEFT
            for one, width in zip(broken, widths, strict=True):
                if index < len(one):
                    self._text(x, top - 1.3 * size * (index + 1), one[index], size, bold=bold)
                x += width
        self._y = top - 1.3 * size * lines - 4
        page = self._pages[-1]
        page.set_line_width(0.3)
        page.move_to(_LEFT, self._y + 1)
        page.line_to(_RIGHT, self._y + 1)
        page.stroke()

    def squares(self, matrix: Sequence[Sequence[int]], x: float, size: float) -> None:
        """A QR code with its quiet zone, from its modules, below what is there; the place stays beside it."""
        self._need(size + 6)
        page, module = self._pages[-1], size / (len(matrix) + 8)
        for down, cells in enumerate(matrix):
            for right, dark in enumerate(cells):
                if dark:
                    page.rectangle(x + (right + 4) * module, self._y - (down + 5) * module, module, module)
        page.fill()

    def skip(self, points: float) -> None:
        """Leaves room."""
        self._down(points)

    def attach(self, name: str, content: bytes) -> None:
        """A file inside the PDF, as it is."""
        import pydyf

        file = pydyf.Stream([content], {"Type": "/EmbeddedFile", "Subtype": "/application#2Fjson"})
        self._pdf.add_object(file)
        spec = self._added(pydyf.Dictionary({
            "Type": "/Filespec", "F": pydyf.String(name), "UF": pydyf.String(name),
            "EF": pydyf.Dictionary({"F": file.reference}), "AFRelationship": "/Source",
        }))  # fmt: skip
        names = pydyf.Array([pydyf.String(name), spec])
        self._pdf.catalog["Names"] = pydyf.Dictionary({"EmbeddedFiles": pydyf.Dictionary({"Names": names})})

    def finished(self) -> bytes:
        """The finished document."""
        import pydyf

        resources = pydyf.Dictionary({"Font": pydyf.Dictionary(dict(self._fonts))})
        for number, page in enumerate(self._pages, 1):
            self._write(page, _LEFT, MARGIN / 2, f"{self._foot} · {number}/{len(self._pages)}", 7.0, "F1")
            self._pdf.add_object(page)
            self._pdf.add_page(pydyf.Dictionary({
                "Type": "/Page", "Parent": self._pdf.pages.reference, "Resources": resources,
                "MediaBox": pydyf.Array([0, 0, WIDTH, HEIGHT]), "Contents": page.reference,
            }))  # fmt: skip
        out = io.BytesIO()
        self._pdf.write(out)
        return out.getvalue()

    def _added(self, thing: pydyf.Object) -> bytes:
        self._pdf.add_object(thing)
        reference: bytes = thing.reference
        return reference

    def _page(self) -> None:
        import pydyf

        self._pages.append(pydyf.Stream())
        self._y = _TOP

    def _need(self, points: float) -> None:
        if self._y - points < MARGIN + 6:
            self._page()

    def _down(self, points: float) -> None:
        self._need(points)
        self._y -= points

    def _text(self, x: float, y: float, text: str, size: float, *, bold: bool = False) -> None:
        self._write(self._pages[-1], x, y, text, size, "F2" if bold else "F1")

    @staticmethod
    def _write(page: pydyf.Stream, x: float, y: float, text: str, size: float, font: str) -> None:
        raw = latin(text).encode("cp1252", "replace")
        page.begin_text()
        page.set_font_size(font, size)
        page.set_text_matrix(1, 0, 0, 1, round(x, 2), round(y, 2))
        page.stream.append(b"<" + raw.hex().encode("ascii") + b"> Tj")
        page.end_text()


def latin(text: str) -> str:
    """The text in characters that the font has."""
    swapped = text.translate(_OTHERWISE)
    return "".join(char if char.isprintable() and _fits(char) else "·" for char in swapped)


def _fits(char: str) -> bool:
    try:
        char.encode("cp1252")
    except UnicodeEncodeError:
        return False
    return True


def width_of(text: str, size: float) -> float:
    """Width of a text in points."""
    return sum(_WIDTHS.get(char, _OTHER_WIDTH) for char in text) * size / 1000


def wrapped(text: str, width: float, size: float) -> list[str]:
    """The lines of a text that are no wider than that; a word that is wider is broken."""
    lines, line = [], ""
    for word in latin(text).split(" "):
        while width_of(word, size) > width and len(word) > 1:
            fitting = next(at for at in range(len(word) - 1, 0, -1) if at == 1 or width_of(word[:at], size) <= width)
            lines += [*([line] if line else []), word[:fitting]]
            line, word = "", word[fitting:]  # noqa: PLW2901 - the rest of it
        joined = f"{line} {word}" if line else word
        if width_of(joined, size) > width and line:
            lines.append(line)
            line = word
        else:
            line = joined
    return [*lines, line]
