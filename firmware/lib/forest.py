"""Decision forests over integer features: comparisons and one sum, so exact everywhere, and without heap.

Table, little-endian: b"GF", version 1, number of features u8, number of trees u16, number of rows u16; each tree's first
row u16; rows of four i16: feature (-1: a leaf), threshold (or the leaf's value), left, right. A value at most the
threshold goes left. Children stand behind their parent, so every walk ends; `Forest` refuses a table where they do not.
CRC-16 (Modbus) of all before it. The score is the sum of the leaves reached; higher means more anomalous.
"""

from array import array

from modbus_rtu import crc16


class Forest:
    def __init__(self, table: bytes):
        n = len(table)
        if n < 10 or table[:3] != b"GF\x01" or crc16(table, n) != 0:
            raise ValueError("forest: not an intact table of version 1")
        self.n_features = table[3]
        trees = table[4] | table[5] << 8
        rows = table[6] | table[7] << 8
        if n != 10 + 2 * trees + 8 * rows:
            raise ValueError("forest: expected %d bytes, got %d" % (10 + 2 * trees + 8 * rows, n))
        self._roots = array("H", bytes(table[8 : 8 + 2 * trees]))
        self._rows = array("h", bytes(table[8 + 2 * trees : n - 2]))
        for root in self._roots:
            if root >= rows:
                raise ValueError("forest: a tree starts outside the table")
        reach = 0
        cells = self._rows
        for row in range(rows):
            if cells[4 * row] < 0:
                reach = max(reach, abs(cells[4 * row + 1]))
            elif cells[4 * row] >= self.n_features or not (
                row < cells[4 * row + 2] < rows and row < cells[4 * row + 3] < rows
            ):
                raise ValueError("forest: row %d leads nowhere" % row)
        if reach * trees >= 1 << 30:
            raise ValueError("forest: the sum of leaves could leave the small integers")

    def score(self, features) -> int:
        """features: integers within -32768 to 32767, as many as the forest was trained on."""
        cells = self._rows
        total = 0
        for root in self._roots:
            k = root << 2
            feature = cells[k]
            while feature >= 0:
                k = cells[k + 2 if features[feature] <= cells[k + 1] else k + 3] << 2
                feature = cells[k]
            total += cells[k + 1]
        return total
