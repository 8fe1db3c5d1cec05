"""Which snapshots of files are for which of the three sets."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from experiments.data.npz import DataError
from experiments.tasks.molecules.data.examples import Part
from experiments.tasks.molecules.data.molecules import Molecules

type Place = tuple[str, str | None]
"""A file, and the end of the names of its arrays, of an `.npz` file with several sets."""


class Pool(NamedTuple):
    """The snapshots of a file: how many there are, and those of some numbers."""

    snapshots: int
    at: Callable[[Int[np.ndarray, " chosen"]], Molecules]


def drawn(
    places: Mapping[str, Place],
    read: Callable[[str, str | None], Pool],
    counts: Mapping[str, int],
    seed: int,
    rows: int | None = None,
) -> dict[str, Part]:
    """Draws the snapshots of each set; sets that are of one file share none.

    Args:
      places: where each of `"train"`, `"valid"` and `"test"` comes from.
      read: reads one of them.
      counts: how many snapshots each set has.
      seed: of the order of the snapshots of a file.
      rows: how many of the training snapshots are in memory at a time; `None` for all.

    Raises:
      DataError: a file has too few snapshots.
    """
    same: dict[tuple[Path, str | None], list[str]] = {}
    for split, (path, end) in places.items():
        # Two names of one file are one source, or snapshots to train on would be tested on.
        same.setdefault((Path(path).resolve(), end), []).append(split)
    parts = {}
    for (_, end), splits in same.items():
        path = places[splits[0]][0]
        pool = read(path, end)
        snapshots, asked = pool.snapshots, sum(counts[split] for split in splits)
        name = path if end is None else f"{path}, split {end}"
        if snapshots < asked:
            keys = " + ".join(f"num_{split}" for split in splits)
            values = " + ".join(str(counts[split]) for split in splits)
            raise DataError(
                f"{name}: {keys} must be at most {snapshots}, the snapshots there, got {values}"
            )
        order = np.random.default_rng(seed).permutation(snapshots)[:asked]
        ends = np.cumsum([counts[split] for split in splits])[:-1]
        for split, numbers in zip(splits, np.split(order, ends), strict=True):
            if split == "train" and rows is not None:
                parts[split] = Part(name, numbers, _in_windows(pool, numbers, rows))
            else:
                parts[split] = Part(name, numbers, pool.at(numbers))
    return parts


def _in_windows(
    pool: Pool, numbers: Int[np.ndarray, " chosen"], rows: int
) -> Callable[[], Iterator[Molecules]]:
    starts = range(0, len(numbers), rows)
    return lambda: (pool.at(numbers[start : start + rows]) for start in starts)
