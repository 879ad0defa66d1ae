"""Owns which rows are nearly the same when new ones come to those that there are: which are superfluous, and every row's cluster.

The rule of likeness is that of cleaning. Memory: some 100 bytes a row, and two ids for each that shares a cluster; the sketches
lie in a folder until it is closed.
"""

from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from trainer.data.clean import likeness
from trainer.data.duplicates import Ints, Sketches, held_together
from trainer.data.row import Row


class Neighbours:
    def __init__(self, folder: Path) -> None:
        self._sketches = Sketches(folder)
        self._sketches.remove()
        self._ids = bytearray()
        self._kin = array("Q")

    def __enter__(self) -> "Neighbours":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._sketches.remove()

    def have(self, rows: Iterable[Row]) -> None:
        """Rows that are there already: they stay as they are, whatever they are like."""
        self._sketches.add(likeness(self._noted(row)) for row in rows)

    def add(self, rows: Sequence[Row]) -> list[bool]:
        """For each new row whether it is unlike all before it."""
        start = self._sketches.count
        self._sketches.add(likeness(self._noted(row)) for row in rows)
        same = self._sketches.groups().same
        return [bool(same[place] == place) for place in range(start, start + len(rows))]

    def clusters(self) -> dict[str, str]:
        """For each row that shares its cluster with one before it: the id of the cluster's first row."""
        cluster: Ints = held_together(self._sketches.groups().cluster, np.array(self._kin, np.uint64))
        return {self._id(place): self._id(int(first)) for place, first in enumerate(cluster) if first != place}

    def _noted(self, row: Row) -> Row:
        self._ids += bytes.fromhex(row.id)
        self._kin.append(int((row.cluster or row.id)[:16], 16))
        return row

    def _id(self, place: int) -> str:
        return self._ids[32 * place : 32 * place + 32].hex()
