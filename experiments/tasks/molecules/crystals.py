"""Periodic structures as examples: with their neighbours, and as what a potential takes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.data.cache import Arrays
from experiments.errors import UsageError
from experiments.tasks.molecules.config import MoleculesModelConfig
from experiments.tasks.molecules.data.neighbour_tables import neighbour_tables
from experiments.tasks.molecules.networks.neighbour_table import Surroundings


def with_neighbours(
    splits: Mapping[str, Arrays], config: MoleculesModelConfig
) -> dict[str, Arrays]:
    """Sets of periodic structures with the neighbours of each atom.

    Args:
      splits: the sets, with `cell` and `pbc`.
      config: the model section of a configuration, which says what an atom sees.

    Returns:
      The sets with `senders` and `images`, in as many slots in each of them, in place of `pbc`.

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
            *(arrays[name] for name in ("positions", "species", "cell", "pbc")), config.cutoff
        )
        for split, arrays in splits.items()
    }
    slots = max(table["senders"].shape[2] for table in tables.values())
    found = {}
    for split, arrays in splits.items():
        table = tables[split]
        count, atoms, filled = table["senders"].shape
        own = np.arange(atoms, dtype=np.int32)[None, :, None]
        rest = np.broadcast_to(own, (count, atoms, slots - filled))
        wide = ((0, 0), (0, 0), (0, slots - filled), (0, 0))
        found[split] = {name: array for name, array in arrays.items() if name != "pbc"} | {
            "senders": np.concatenate([table["senders"], rest], axis=2),
            "images": np.pad(table["images"], wide),
        }
    return found


def inputs_of(batch: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a potential takes: positions, species and, of crystals, their surroundings."""
    molecules = batch["positions"], batch["species"]
    if "senders" not in batch:
        return molecules
    return *molecules, Surroundings(batch["senders"], batch["images"], batch["cell"])
