"""Files that ASE reads: snapshots of any size, as arrays that are padded with zeros."""

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

from experiments.data.npz import DataError
from experiments.tasks.molecules.data.stream import open_snapshots
from experiments.tasks.molecules.data.stresses import as_matrices, warn_of_unread
from experiments.tasks.molecules.data.units import Units, check_declared


class Read(NamedTuple):
    """The snapshots of a file.

    Attributes:
      images: the snapshots.
      locations: of each, for errors.
      metadata: what the file says of all of them.
    """

    images: list[Atoms]
    locations: list[str]
    metadata: Mapping[str, object]


def read_snapshots(path: str | os.PathLike[str]) -> Read:
    """All snapshots of a file as `stream_snapshots` reads it.

    Raises:
      DataError: the file cannot be read, or the first defect in it.
    """
    images, locations = [], []
    metadata, snapshots = open_snapshots(path)
    # Closed here: an error would keep the file open as long as it is known.
    with closing(snapshots):
        for location, outcome in snapshots:
            if isinstance(outcome, DataError):
                raise outcome
            images.append(outcome)
            locations.append(location)
    return Read(images, locations, metadata)


def stack_snapshots(
    path: str | os.PathLike[str],
    read: Read,
    keys: Mapping[str, str | None],
    need: Collection[str],
    units: Units,
    places: Sequence[tuple[int, int]],
) -> dict[str, np.ndarray]:
    """Snapshots as arrays, in the units of the file.

    Args:
      path: the name of the file, for errors.
      read: its snapshots, at least one.
      keys: what the quantities of `Molecules` are called in the snapshots; `None` for nothing.
      need: those that must be there, stresses where a snapshot repeats in all three directions.
        The others are read if the first snapshot has them.
      units: what the caller states, to be checked against what the file declares.
      places: of six components of a stress in its matrix.

    Returns:
      `species`, `positions`, `cells`, `pbc`, and those of `keys` that are there, with zeros for
      stresses that are not. Warns of stresses that are not among them.

    Raises:
      DataError: a snapshot lacks what it must have, or has something else than numbers.
    """
    images, locations, metadata = read
    count, atoms = len(images), max(map(len, images))
    first = _values(images[0])
    wanted = {
        name: key
        for name, key in keys.items()
        if key is not None and (name in need or key in first)
    }
    shapes: dict[str, tuple[int, ...]] = {
        "energies": (),
        "forces": (atoms, 3),
        "dipoles": (3,),
        "polarizabilities": (3, 3),
        "stresses": (3, 3),
        "virials": (3, 3),
    }
    pbc = np.array([image.pbc for image in images])
    of_cells = set(wanted) & {"stresses", "virials"}
    warn_of_unread(path, first, keys, bool(pbc.any()))
    check_declared(str(path), metadata, units, ["positions", *wanted], wanted)
    arrays = {name: np.zeros((count, *shapes[name])) for name in wanted}
    species, positions = np.zeros((count, atoms), np.int32), np.zeros((count, atoms, 3))
    for index, (image, location) in enumerate(zip(images, locations, strict=True)):
        values = _values(image)
        check_declared(location, image.info | values, units, ["positions", *wanted], wanted)
        if len(image) == 0 or np.any((image.numbers < 1) | (image.numbers > 118)):
            received = "none" if len(image) == 0 else f"the atomic numbers {image.numbers.tolist()}"
            raise DataError(f"{location}: atoms must be one or more, of elements, got {received}")
        species[index, : len(image)] = image.numbers
        positions[index, : len(image)] = image.positions
        for name, key in wanted.items():
            if name in of_cells and key not in values and not image.pbc.all():
                continue
            if key not in values:
                crystal = " that repeats in all three directions" if name in of_cells else ""
                raise DataError(
                    f"{location}: {name} must be in every snapshot{crystal} as {key!r}, got the "
                    f"keys: {_listed(values)}"
                )
            where = f"{location}: {name} (key {key!r})"
            if name == "forces":
                arrays[name][index, : len(image)] = _numbers(where, values[key], (len(image), 3))
            elif name in ("stresses", "virials"):
                [arrays[name][index]] = as_matrices(where, _array(where, values[key])[None], places)
            else:
                arrays[name][index] = _numbers(where, values[key], shapes[name])
    cells = np.array([image.cell.array for image in images])
    return {"species": species, "positions": positions, "cells": cells, "pbc": pbc, **arrays}


def _values(image: Atoms) -> dict[str, Any]:
    results = image.calc.results if image.calc is not None else {}
    # Of databases; elsewhere anything may be called so.
    holders = [image.info.get(key) for key in ("data", "key_value_pairs")]
    values = {
        key: value
        for holder in (*holders, image.info, image.arrays, results)
        if isinstance(holder, Mapping)
        for key, value in holder.items()
        # In a plain comment line a word of its own is a key whose value is true.
        if not isinstance(value, bool | np.bool_)
    }
    if np.shape(results.get("stress", 0)) == (6,):
        # In the order of ASE, whatever that of the file is. Of XYZ the matrix itself is kept.
        read = image.info.get("stress")
        values["stress"] = voigt_6_to_full_3x3_stress(results["stress"]) if read is None else read
    return values


def _listed(values: Mapping[str, Any]) -> str:
    own = ("numbers", "positions", "data", "key_value_pairs", "unique_id")
    return ", ".join(sorted(key for key in values if key not in own)) or "none"


def _numbers(where: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = _array(where, value)
    # Matrices are often written as a row.
    flat = (9,) if shape == (3, 3) else shape
    if array.shape not in (shape, flat) and not (shape == () and array.size == 1):
        raise DataError(f"{where} must have shape {shape}, got {array.shape}")
    return array.reshape(shape)


def _array(where: str, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.empty(0, object)
    if array.dtype.kind not in "iuf":
        raise DataError(f"{where} must be numbers, got {value!r}")
    return array
