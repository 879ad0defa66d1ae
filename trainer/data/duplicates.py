"""Owns which texts are nearly the same: MinHash (Broder 1997) sketches on disk, banded, compared where a band agrees.

Memory does not grow with the texts, only with a few numbers for each. Knows nothing of what the texts say.
"""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import regex
from datasketch import MinHash
from numpy.typing import NDArray

PERMUTATIONS = 64
BANDS = 16
"""Bands of four: texts that share half of their shingles meet with a chance of 0.64, four fifths 0.9998."""
WORDS = 3
SAME = 0.9
"""Estimated Jaccard similarity of word triples from which on two texts with the same label are one."""
NEAR = 0.8
"""... from which on they must stay on one side of a split."""
BATCH = 2_000

_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Groups:
    """For each text the position of the first text that it is the same as, and of the first in its cluster."""

    same: Ints
    cluster: Ints


class Sketches:
    """Texts as sketches in files of `folder`, by their place: the first that was added is 0. More may be added after a look."""

    def __init__(self, folder: Path) -> None:
        self._signatures, self._labels = folder / "signatures.bin", folder / "labels.bin"
        self._keys = [folder / f"band-{band}.bin" for band in range(BANDS)]
        self.count = 0

    def add(self, texts: Iterable[tuple[str, str]]) -> None:
        """Each as (label, text): only texts with equal labels can be the same; clusters know no labels."""
        self.count += _sketch(texts, self._signatures, self._keys, self._labels)

    def groups(self) -> Groups:
        same, cluster = np.arange(self.count), np.arange(self.count)
        if self.count:
            kinds = np.fromfile(self._labels, np.uint32)
            for path in self._keys:
                for first, second in _pairs(np.fromfile(path, np.uint64)):
                    sketches = np.memmap(self._signatures, np.uint32, "r", shape=(self.count, PERMUTATIONS))
                    likeness = np.mean(sketches[first] == sketches[second], axis=1)
                    del sketches
                    _join(cluster, first[likeness >= NEAR], second[likeness >= NEAR])
                    alike = (likeness >= SAME) & (kinds[first] == kinds[second])
                    _join(same, first[alike], second[alike])
        return Groups(_roots(same), _roots(cluster))

    def remove(self) -> None:
        for path in (self._signatures, self._labels, *self._keys):
            path.unlink(missing_ok=True)


def find_near(texts: Iterable[tuple[str, str]], folder: Path) -> Groups:
    """Group texts, given as `Sketches` takes them. Works in `folder`, whose files are removed again."""
    sketches = Sketches(folder)
    try:
        sketches.add(texts)
        return sketches.groups()
    finally:
        sketches.remove()


def held_together(cluster: Ints, kin: NDArray[np.uint64]) -> Ints:
    """Clusters that also hold texts of equal numbers in `kin` together."""
    _, first, which = np.unique(kin, return_index=True, return_inverse=True)
    joined = cluster.copy()
    _join(joined, first[which], np.arange(len(kin)))
    return _roots(joined)


def shingles(text: str) -> set[bytes]:
    """The text's word triples; a text of fewer words is one shingle."""
    words = _WORD.findall(text.casefold())
    return {" ".join(words[i : i + WORDS]).encode() for i in range(max(1, len(words) - WORDS + 1))}


def _sketch(texts: Iterable[tuple[str, str]], signatures: Path, keys: list[Path], labels: Path) -> int:
    """Append each text's sketch, its key in each band, and its label. Returns how many there are."""
    count, rows = 0, PERMUTATIONS // BANDS
    mix = np.random.default_rng(1).integers(1, 2**63, rows, dtype=np.uint64) | np.uint64(1)
    blank = MinHash(PERMUTATIONS, seed=1, hashfunc=zlib.crc32)
    files = [path.open("ab") for path in keys]
    with signatures.open("ab") as sketches, labels.open("ab") as kinds:
        source = iter(texts)
        while batch := list(islice(source, BATCH)):
            values = np.stack([_sketched(blank, text) for _, text in batch])
            sketches.write(values.astype(np.uint32).tobytes())
            kinds.write(np.array([zlib.crc32(label.encode()) for label, _ in batch], np.uint32).tobytes())
            for band, file in enumerate(files):
                file.write((values[:, band * rows : (band + 1) * rows] * mix).sum(axis=1, dtype=np.uint64).tobytes())
            count += len(batch)
    for file in files:
        file.close()
    return count


def _sketched(blank: MinHash, text: str) -> NDArray[np.uint64]:
    sketch = blank.copy()
    sketch.update_batch(sorted(shingles(text)))
    values: NDArray[np.uint64] = sketch.hashvalues.astype(np.uint64)
    return values


def _pairs(keys: NDArray[np.uint64]) -> Iterator[tuple[Ints, Ints]]:
    """Texts whose key in a band is equal, in batches: each with the first of its bucket, and with the one before it."""
    order = np.argsort(keys, kind="stable")
    ranked = keys[order]
    new = np.concatenate(([True], ranked[1:] != ranked[:-1]))
    leader = order[np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))]
    (at,) = np.nonzero(~new)
    for start in range(0, len(at), BATCH):
        some = at[start : start + BATCH]
        yield leader[some], order[some]
        further = some[order[some - 1] != leader[some]]
        yield order[further - 1], order[further]


def _join(parents: Ints, first: Ints, second: Ints) -> None:
    """Put both of each pair into one group, named by its first member."""
    apart = parents[first] != parents[second]
    for one, other in zip(first[apart].tolist(), second[apart].tolist(), strict=True):
        a, b = _root(parents, one), _root(parents, other)
        parents[max(a, b)] = min(a, b)


def _root(parents: Ints, at: int) -> int:
    while parents[at] != at:
        parents[at] = at = int(parents[parents[at]])
    return at


def _roots(parents: Ints) -> Ints:
    while not np.array_equal(parents, above := parents[parents]):
        parents = above
    return parents
