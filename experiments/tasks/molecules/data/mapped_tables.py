"""Neighbours of structures that lie in files: tables that are made once, some at a time."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from rich.console import Console

from experiments.data.cache import Arrays
from experiments.data.kept import kept_digest, kept_files
from experiments.data.mapped import mapped_arrays, write_rows
from experiments.data.npz import DataError
from experiments.tasks.molecules.data.neighbour_table import neighbour_tables, with_slots

_FORMAT = 1  # To be raised when the meaning or the values of the files change.
_ROWS = 64
"""Structures that are in memory at a time."""


def mapped_tables(arrays: Mapping[str, np.ndarray], cutoff: float, slots: int) -> Arrays:
    """The tables of neighbours of structures in files, mapped from files that are made once.

    They are verified by their digest each time, and made again if the structures have changed.

    Args:
      arrays: `positions`, `species`, `cell` and `pbc`, mapped by `mapped_arrays` from one folder.
      cutoff: in Angstrom.
      slots: how many each atom has at least.

    Returns:
      `senders` and `images`, as of `neighbour_tables`.

    Raises:
      UsageError: as of `neighbour_tables`.
      DataError: as of `neighbour_tables`, or a folder that cannot be written.
    """
    positions = arrays["positions"]
    assert isinstance(positions, np.memmap) and positions.filename is not None
    # In files of `kept_files`, in a folder of the set.
    files = Path(positions.filename).parent.parent
    made = files.parent
    settings = {"format": _FORMAT, "cutoff": cutoff, "slots": slots}
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    folder = made.with_name(f"{made.name}-neighbours-{key}")
    source = settings | {"structures": kept_digest(files)}

    def make(tables: Path, scratch: Path) -> None:
        text = f"Neighbours within {cutoff} Angstrom are looked up into {folder}, once"
        Console(stderr=True).print(text, soft_wrap=True, markup=False, highlight=False)
        most = slots
        starts = range(0, len(positions), _ROWS)
        for start in starts:
            table = _tables(arrays, cutoff, start)
            most = max(most, table["senders"].shape[2])
            np.savez(scratch / f"{start}.npz", **table)  # type: ignore[arg-type]

        def windows() -> Iterator[Arrays]:
            for start in starts:
                with np.load(scratch / f"{start}.npz") as table:
                    senders, images = with_slots(table["senders"], table["images"], most)
                yield {"senders": senders, "images": images}

        write_rows(tables, len(positions), windows())

    try:
        with kept_files(folder, source, make) as tables:
            return mapped_arrays(tables)
    except OSError as error:
        raise DataError(
            f"{folder}: data.cache must be a folder that can be written, with room for the "
            f"neighbours of the training set, got {error}"
        ) from error


def _tables(arrays: Mapping[str, np.ndarray], cutoff: float, start: int) -> Arrays:
    rows = slice(start, start + _ROWS)
    positions, species = arrays["positions"][rows], arrays["species"][rows]
    labels = [f"snapshot {start + index + 1}" for index in range(len(species))]
    return neighbour_tables(
        positions, species, arrays["cell"][rows], arrays["pbc"][rows], cutoff, labels=labels
    )
