"""Snapshots that lie in files until examples are made of them, in any order of theirs."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from experiments.tasks.molecules.data.molecules import Molecules, marks_of
from experiments.tasks.molecules.data.read import warn_of_duplicates

_SHAPES: dict[str, tuple[int, ...]] = {
    "species": (),
    "positions": (3,),
    "energies": (),
    "forces": (3,),
    "dipoles": (3,),
    "polarizabilities": (3, 3),
    "stresses": (3, 3),
    "cells": (3, 3),
    "pbc": (3,),
}
"""Of an atom, or of a snapshot."""
_DTYPES: dict[str, type] = {"species": np.int32, "pbc": np.bool_}
_OF_ATOMS = ("species", "positions", "forces")


class Staged(NamedTuple):
    """Snapshots in files, without padding.

    Attributes:
      arrays: by the names of `Molecules`, a row an atom or a snapshot, mapped into memory.
      offsets: where the atoms of each snapshot begin, and at the end their number.
    """

    arrays: dict[str, np.ndarray]
    offsets: Int[np.ndarray, " snapshots_and_one"]

    def at(self, numbers: Int[np.ndarray, " chosen"]) -> Molecules:
        """Some of the snapshots, in the order of their numbers, padded to the largest of them."""
        first, counts = self.offsets[numbers], self.offsets[numbers + 1] - self.offsets[numbers]
        places = np.arange(counts.max())
        real = places < counts[:, None]
        atoms = (first[:, None] + places)[real]
        found: dict[str, Any] = dict.fromkeys(("energies", "forces", "dipoles"))
        for name, array in self.arrays.items():
            if name in _OF_ATOMS:
                found[name] = np.zeros((*real.shape, *array.shape[1:]), array.dtype)
                found[name][real] = array[atoms]
            else:
                found[name] = np.array(array[numbers])
        return Molecules(**found)


def stage(path: str, windows: Iterable[Molecules], need: Collection[str], folder: Path) -> Staged:
    """Puts snapshots into files, which are never in memory at once.

    Warns of snapshots that come twice.

    Args:
      path: where they come from, for errors.
      windows: the snapshots, some at a time.
      need: the quantities that are kept, beside atoms and positions.
      folder: gets the files; it must be there.

    Raises:
      OSError: a file cannot be written.
    """
    kept = ("species", "positions", "cells", "pbc", *need)
    names = [name for name in _SHAPES if name in kept]
    counts, marks, periodic = [], [], False
    files = {name: (folder / name).open("wb") for name in names}
    try:
        for molecules in windows:
            real = molecules.species > 0
            counts.append(np.sum(real, axis=1))
            marks.append(marks_of(molecules))
            periodic |= molecules.pbc is not None
            for name, file in files.items():
                array = getattr(molecules, name)
                if array is None:  # Cells of this time, where none is periodic.
                    array = np.zeros((len(real), *_SHAPES[name]), _dtype(name))
                (array[real] if name in _OF_ATOMS else array).tofile(file)
    finally:
        for file in files.values():
            file.close()
    warn_of_duplicates(np.concatenate(marks), lambda index: f"{path}: snapshot {index + 1}")
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    arrays: dict[str, np.ndarray] = {}
    for name in names:
        if periodic or name not in ("cells", "pbc"):
            rows = int(offsets[-1]) if name in _OF_ATOMS else len(offsets) - 1
            shape = (rows, *_SHAPES[name])
            arrays[name] = np.memmap(folder / name, _dtype(name), "r", shape=shape)
    return Staged(arrays, offsets)


def _dtype(name: str) -> type:
    return _DTYPES.get(name, np.float64)
