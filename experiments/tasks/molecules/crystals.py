"""Periodic structures as examples: with their neighbours, and as what a potential takes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from experiments.data.cache import Arrays
from experiments.errors import UsageError
from experiments.tasks.molecules.config import MoleculesModelConfig
from experiments.tasks.molecules.data.mapped_tables import mapped_tables
from experiments.tasks.molecules.data.neighbour_table import neighbour_tables, with_slots
from experiments.tasks.molecules.networks.neighbour_table import Surroundings
from experiments.training.feed import is_read_meanwhile

_OF_ATOMS = ("positions", "species", "forces", "senders", "images")
_AT_A_TIME = 1024
"""Examples that are looked at together: they may lie in a file."""
_MOST_BATCHES = 0.9
"""Of the batches, this part has a program without much padding."""
_MUCH_LESS = 0.8


def with_neighbours(
    splits: Mapping[str, Arrays], config: MoleculesModelConfig
) -> dict[str, Arrays]:
    """Sets of periodic structures with the neighbours of each atom.

    Args:
      splits: the sets, with `cell` and `pbc`.
      config: the model section of a configuration, which says what an atom sees.

    Returns:
      The sets with `senders` and `images`, in as many slots in each of them, in place of `pbc`; of a
      training set in files they are in files beside it.

    Raises:
      UsageError: the model needs a whole molecule.
      DataError: a structure has no list of neighbours, by `neighbour_tables`.
    """
    if config.frame not in ("local", "none"):
        raise UsageError(
            "model.frame must be 'local', or 'none', with periodic structures, which have no frame "
            f"in all, got {config.frame!r}"
        )
    if config.backbone == "point_sum":
        raise UsageError(
            "model.backbone must be one with a cutoff with periodic structures, got 'point_sum'"
        )
    tables = {
        split: neighbour_tables(
            arrays["positions"], arrays["species"], arrays["cell"], arrays["pbc"], config.cutoff
        )
        for split, arrays in splits.items()
        if not is_read_meanwhile(arrays)
    }
    slots = max(map(_slots, tables.values()))
    if "train" not in tables:
        tables["train"] = mapped_tables(splits["train"], config.cutoff, slots)
        slots = _slots(tables["train"])
    found = {}
    for split, arrays in splits.items():
        table = tables[split]
        if _slots(table) < slots:
            senders, images = with_slots(**table, slots=slots)
            table = {"senders": senders, "images": images}
        found[split] = {name: array for name, array in arrays.items() if name != "pbc"} | table
    return found


def _slots(table: Mapping[str, np.ndarray]) -> int:
    return table["senders"].shape[2]


def inputs_of(batch: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a potential takes: positions, species and, of crystals, their surroundings."""
    molecules = batch["positions"], batch["species"]
    if "senders" not in batch:
        return molecules
    return *molecules, Surroundings(batch["senders"], batch["images"], batch["cell"])


def program_sizes(species: Int[np.ndarray, "examples atoms"], batch_size: int) -> tuple[int, ...]:
    """Numbers of atoms to have programs for: what most batches need, and what all need.

    Args:
      species: 0 for padding.
      batch_size: examples in a batch, of which the largest counts.
    """
    starts = range(0, len(species), _AT_A_TIME)
    counts = np.concatenate([np.sum(species[n : n + _AT_A_TIME] > 0, axis=1) for n in starts])
    usual = int(np.quantile(counts, _MOST_BATCHES ** (1 / batch_size), method="higher"))
    whole = species.shape[1]
    return (usual, whole) if usual < _MUCH_LESS * whole else (whole,)


def first_atoms(batch: Mapping[str, Any], size: int) -> dict[str, Any]:
    """A batch without its rows for atoms from the number `size` on, which are padding."""
    return {name: array[:, :size] if name in _OF_ATOMS else array for name, array in batch.items()}
