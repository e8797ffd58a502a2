# SPDX-License-Identifier: GPL-3.0-or-later
"""The two base graphs of 5G NR's LDPC codes and their lifting sizes, as 3GPP TS 38.212 section 5.3.2 has them."""

import csv
import functools
from dataclasses import dataclass
from importlib import resources

# table 5.3.2-1: set index i holds a 2^j for its a and all j with the product up to 384
_SET_BASES = (2, 3, 5, 7, 9, 11, 13, 15)
_MAX_LIFTING = 384
LIFTINGS = {
    base << power: index
    for index, base in enumerate(_SET_BASES)
    for power in range(8)
    if base << power <= _MAX_LIFTING
}
INFO_COLUMNS = {1: 22, 2: 10}  # columns of information bits in each graph
MAX_INFO_BITS = {1: 22 * _MAX_LIFTING, 2: 10 * _MAX_LIFTING}


@dataclass(frozen=True)
class LiftedGraph:
    """A base graph with its shifts for one lifting size.

    rows: for each check row the columns and their shifts; entry (c, s) is the identity of size ``lifting``
    whose columns are rotated right by s. info_columns: columns of information; the check columns follow.
    """

    graph: int
    lifting: int
    info_columns: int
    rows: tuple[tuple[tuple[int, int], ...], ...]

    @property
    def columns(self) -> int:
        return self.info_columns + len(self.rows)


@functools.cache
def lifted_graph(graph: int, lifting: int) -> LiftedGraph:
    """Base graph 1 or 2 for a lifting size of ``LIFTINGS``."""
    rows: dict[int, list[tuple[int, int]]] = {}
    for row, column, shifts in _table()[graph]:
        rows.setdefault(row, []).append((column, shifts[LIFTINGS[lifting]] % lifting))
    ordered = tuple(tuple(sorted(rows[row])) for row in sorted(rows))
    return LiftedGraph(graph, lifting, INFO_COLUMNS[graph], ordered)


def choose_graph(info_bits: int, coded_bits: int) -> tuple[int, int, int]:
    """Base graph, lifting size and filled information columns for a code (sections 6.2.2 and 5.2.2).

    Returns:
        (graph, lifting size, information columns that are not all filler).
    """
    rate = info_bits / coded_bits
    small = info_bits <= 292 or (info_bits <= 3824 and rate <= 0.67) or rate <= 0.25
    graph, filled = 1, 22
    if small:
        graph = 2
        filled = 10 if info_bits > 640 else 9 if info_bits > 560 else 8 if info_bits > 192 else 6
    return graph, min(size for size in LIFTINGS if filled * size >= info_bits), filled


@functools.cache
def _table() -> dict[int, list[tuple[int, int, tuple[int, ...]]]]:
    text = (resources.files("semcom.payload.coded") / "base_graphs.csv").read_text()
    entries: dict[int, list] = {1: [], 2: []}
    for line in csv.DictReader(line for line in text.splitlines() if not line.startswith("#")):
        shifts = tuple(int(line[f"set{index}"]) for index in range(8))
        entries[int(line["graph"])].append((int(line["row"]), int(line["column"]), shifts))
    return entries
