"""Molecules in `.npz` files: the layouts of MD17, revised MD17, padded and packed collections."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Int

from experiments.data.npz import UNREAD, DataError
from experiments.tasks.molecules.data.cells import cells_of_snapshots
from experiments.tasks.molecules.data.concatenated import atom_counts, unpacked
from experiments.tasks.molecules.data.stresses import as_matrices, warn_of_unread
from experiments.tasks.molecules.data.units import Units, check_declared

# Names that files have for the same arrays, in any letter case.
_NAMES = {
    "species": ("z", "nuclear_charges", "atomic_numbers", "species", "numbers"),
    "positions": ("r", "coords", "coordinates", "positions"),
    "energies": ("e", "energy", "energies"),
    "forces": ("f", "force", "forces"),
    "num_atoms": ("num_atoms", "n_atoms", "natoms"),
    "cells": ("cell", "cells", "lattice", "lattices"),
    "pbc": ("pbc",),
}
_OPTIONAL = ("num_atoms", "cells", "pbc")
_DEFAULTS = {"energies": "energy", "forces": "forces"}


def read_arrays(
    path: str | os.PathLike[str],
    stored: Mapping[str, np.ndarray],
    keys: Mapping[str, str | None],
    need: Collection[str],
    split: str | None,
    units: Units,
    species_key: str | None = None,
    places: Sequence[tuple[int, int]] = (),
    rows: int | None = None,
) -> Iterator[tuple[dict[str, np.ndarray], dict[int, DataError]]]:
    """Molecules of a `.npz` file, in the units of the file, some at a time.

    Args:
      path: the file.
      stored: its arrays, which may be mapped into memory.
      keys: what the quantities of `Molecules` are called; `None` for nothing. The keys
        `energy` and `forces` stand for all names that are usual.
      need: those that must be there.
      split: the end of the names of arrays after an underscore, as in `R_train`; the elements may
        lack it.
      units: what the caller states, to be checked against what the file declares.
      species_key: what the atomic numbers are called; `None` for a usual name.
      places: of six components of a stress in its matrix.
      rows: how many snapshots there are at a time; `None` for all.

    Yields:
      `species`, `positions`, `cells` and `pbc` where there are cells, and those of `keys` that are
      there; and the errors of snapshots whose atomic numbers are none, by their index among those
      of this time. Their species are zeros. Warns of stresses that are not read.

    Raises:
      DataError: an array is missing or ambiguous, or has a wrong type or shape.
    """
    keys = keys if species_key is None else {"species": species_key, **keys}
    end = f"_{split}" if split else ""
    names: dict[str, str] = {}
    for name in dict.fromkeys(("species", "positions", *_OPTIONAL, *keys)):
        key = keys.get(name)
        usual = name not in keys or (key is not None and key == _DEFAULTS.get(name))
        words = _NAMES[name] if usual else () if key is None else (key,)
        matches = _among(stored, words, end, usual)
        if name in ("species", *_OPTIONAL) and not matches:
            matches = _among(stored, words, "", usual)
        if len(matches) > 1 and f"{key}{end}" in matches:
            matches = [f"{key}{end}"]
        needed = name in need or name in ("species", "positions")
        if len(matches) > 1 or (not matches and needed):
            allowed = ", ".join(word + end for word in words)
            raise DataError(
                f"{path}: {name} must be one array, called {allowed}{' in any case' * usual}, got "
                f"{' and '.join(matches) or 'none'} among {', '.join(stored) or 'no arrays'}"
                f"{_splits(stored, words)}{_charges(stored, name)}"
            )
        if matches:
            names[name] = matches[0]
    if names.get("pbc") in stored and stored[names["pbc"]].dtype == bool:
        stored = {**stored, names["pbc"]: stored[names["pbc"]].astype(np.int8)}
    arrays = {name: _numeric(path, array, stored[array]) for name, array in names.items()}
    declared = {name.removesuffix(end): value for name, value in stored.items()}
    read = [name for name in names if name not in _OPTIONAL]
    check_declared(str(path), declared, units, read, names)
    # Data sets of sGDML have lattice vectors in columns.
    if names.get("cells") == "lattice" and {"md5", "type"} <= stored.keys():
        arrays["cells"] = np.swapaxes(arrays["cells"], -1, -2)
    packed = arrays["positions"].ndim == 2 and "num_atoms" in arrays
    counts = atom_counts(path, arrays) if packed else None
    if counts is None:
        arrays.pop("num_atoms", None)
    snapshots = _checked_shapes(path, arrays, counts)
    if "cells" in arrays or "pbc" in arrays:
        arrays |= cells_of_snapshots(path, arrays.get("cells"), arrays.get("pbc"), snapshots)
    periodic = "pbc" in arrays and bool(arrays["pbc"].any())
    own = [name.removesuffix(end) for name in stored if name.endswith(end)]
    warn_of_unread(path, own, keys, periodic)
    for start in range(0, snapshots, rows or snapshots):
        chosen = slice(start, start + (rows or snapshots))
        part = _rows(arrays, chosen) if counts is None else unpacked(arrays, counts, chosen)
        yield _filled(path, part, start, names, places)


def _among(names: Collection[str], words: Collection[str], end: str, any_case: bool) -> list[str]:
    if any_case:
        lower = [word + end.lower() for word in words]
        return [name for name in names if name.lower() in lower]
    return [name for name in names if name in [word + end for word in words]]


def _splits(names: Collection[str], words: Collection[str]) -> str:
    ends = [name.partition("_")[2] for name in names if name.lower().partition("_")[0] in words]
    return f" (or a split must be named, one of {', '.join(ends)})" if any(ends) else ""


def _charges(names: Collection[str], wanted: str) -> str:
    """A hint for files as of QM9, whose charges are those of the nuclei."""
    charges = [name for name in names if wanted == "species" and name.lower() == "charges"]
    return f" (are {charges[0]} atomic numbers? then species_key={charges[0]})" if charges else ""


def _numeric(path: str | os.PathLike[str], name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "iuf":
        received = "pickled objects, which are not read" if array is UNREAD else array.dtype
        raise DataError(f"{path}: array {name} must be numbers, got {received}")
    return array


def _checked_shapes(
    path: str | os.PathLike[str],
    arrays: Mapping[str, np.ndarray],
    counts: Int[np.ndarray, " snapshots"] | None,
) -> int:
    """The number of snapshots, of arrays whose shapes fit each other; `counts` if they are packed."""
    received = {name: array.shape for name, array in arrays.items()}
    if counts is not None:
        padded = len(counts), int(counts.max())
        received |= {name: (*padded, 3) for name in ("positions", "forces") if name in arrays}
        received["species"] = padded
    positions, species = received["positions"], received["species"]
    if len(positions) != 3 or 0 in positions or positions[2] != 3:
        raise DataError(
            f"{path}: positions must have shape (snapshots, atoms, 3), with at least one snapshot "
            f"and one atom, got {positions}"
        )
    snapshots, atoms, _ = positions
    if species not in ((atoms,), (snapshots, atoms)):
        raise DataError(
            f"{path}: species must have shape ({atoms},) or ({snapshots}, {atoms}), as positions "
            f"are {snapshots} snapshots of {atoms} atoms, got {species}"
        )
    matrices = ((snapshots, 6), (snapshots, 9), (snapshots, 3, 3))
    allowed: dict[str, tuple[tuple[int, ...], ...]] = {
        "energies": ((snapshots, 1), (snapshots,)),
        "forces": (positions,),
        "dipoles": ((snapshots, 3),),
        "polarizabilities": ((snapshots, 3, 3),),
        "stresses": matrices,
        "virials": matrices,
    }
    for name, shapes in allowed.items():
        shape = received.get(name, shapes[0])
        # What rows of matrices must be is said by `as_matrices`.
        if shape in shapes or (shapes is matrices and shape[1:] not in [one[1:] for one in shapes]):
            continue
        raise DataError(
            f"{path}: {name} must have shape {shapes[-1]}, as positions are {snapshots} snapshots "
            f"of {atoms} atoms, got {shape}"
        )
    return snapshots


_OF_ALL = {"species": 1, "cells": 2, "pbc": 1}
"""The numbers of axes of arrays that are of all snapshots together."""


def _rows(arrays: Mapping[str, np.ndarray], chosen: slice) -> dict[str, np.ndarray]:
    return {
        name: array if array.ndim <= _OF_ALL.get(name, 0) else array[chosen]
        for name, array in arrays.items()
    }


def _filled(
    path: str | os.PathLike[str],
    arrays: dict[str, np.ndarray],
    first: int,
    names: Mapping[str, str],
    places: Sequence[tuple[int, int]],
) -> tuple[dict[str, np.ndarray], dict[int, DataError]]:
    """Snapshots from number `first` on, whose shapes fit, with zeros in their padding."""
    snapshots, atoms, _ = arrays["positions"].shape
    species = np.broadcast_to(arrays["species"], (snapshots, atoms))
    species, defects = _checked_species(path, species, first)
    for name in {"stresses", "virials"} & arrays.keys():
        arrays[name] = as_matrices(f"{path}: {name} (key {names[name]!r})", arrays[name], places)
    if "energies" in arrays:
        arrays["energies"] = arrays["energies"].reshape(snapshots)
    # What a file has in its padding, even nan, is of no meaning.
    padded = {
        name: np.where(species[..., None] > 0, arrays[name], 0.0)
        for name in ("positions", "forces")
        if name in arrays
    }
    return arrays | padded | {"species": species}, defects


def _checked_species(
    path: str | os.PathLike[str], species: np.ndarray, first: int
) -> tuple[np.ndarray, dict[int, DataError]]:
    strange = ~((species >= 0) & (species <= 118) & (species % 1 == 0))
    species = np.where(strange, -1, species.astype(np.float64)).astype(np.int32)
    empty = (species[:, :1] == 0).any(1) | (np.diff((species > 0).astype(int)) > 0).any(1)
    defects = {}
    for snapshot in np.flatnonzero(strange.any(1) | empty).tolist():
        defects[snapshot] = DataError(
            f"{path}: snapshot {first + snapshot + 1}: species must be at least one atomic number, 1 to "
            f"118, and zeros only after the last, got {species[snapshot].tolist()}"
            f"{', where -1 stands for no element' if strange[snapshot].any() else ''}"
        )
    species[list(defects)] = 0
    return species, defects
