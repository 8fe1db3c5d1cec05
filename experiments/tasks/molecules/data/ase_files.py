"""Files that ASE reads: snapshots of any size, as arrays that are padded with zeros."""

import itertools
import os
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

from experiments.data.npz import DataError
from experiments.tasks.molecules.data.stream import open_snapshots
from experiments.tasks.molecules.data.stresses import as_matrices, warn_of_unread
from experiments.tasks.molecules.data.units import Units, check_declared
from experiments.tasks.molecules.data.xyz import Snapshots


def stacked_snapshots(
    path: str | os.PathLike[str],
    keys: Mapping[str, str | None],
    need: Collection[str],
    units: Units,
    places: Sequence[tuple[int, int]],
    rows: int | None = None,
) -> Generator[tuple[dict[str, np.ndarray], list[str]], None, None]:
    """Snapshots as arrays, in the units of the file, some at a time.

    Args:
      path: the file, as `stream_snapshots` reads it.
      keys: what the quantities of `Molecules` are called in the snapshots; `None` for nothing.
      need: those that must be there, stresses where a snapshot repeats in all three directions.
        The others are read if the first snapshot has them.
      units: what the caller states, to be checked against what the file declares.
      places: of six components of a stress in its matrix.
      rows: how many snapshots there are at a time; `None` for all.

    Yields:
      `species`, `positions`, `cells`, `pbc`, and those of `keys` that are there, with zeros for
      stresses that are not; and the locations of the snapshots, for errors. Warns of stresses
      that are not among them.

    Raises:
      DataError: the file cannot be read, or has no snapshot; a snapshot has a defect, lacks what it
        must have, or has something else than numbers.
    """
    metadata, snapshots = open_snapshots(path)
    wanted: dict[str, str] | None = None
    warned = False
    # Closed here: an error would keep the file open as long as it is known.
    with closing(snapshots):
        while read := _next(snapshots, rows):
            first = _values(read[0][1])
            periodic = any(image.pbc.any() for _, image in read)
            if periodic and not warned:
                warn_of_unread(path, first, keys, periodic)
                warned = True
            if wanted is None:
                wanted = {
                    name: key
                    for name, key in keys.items()
                    if key is not None and (name in need or key in first)
                }
                check_declared(str(path), metadata, units, ["positions", *wanted], wanted)
            arrays = _stacked(read, wanted, units, places)
            locations = [location for location, _ in read]
            # Forgotten here: the next ones are read before the names stand for them.
            del read, first
            yield arrays, locations
            if rows is None:
                break
    if wanted is None:
        raise DataError(f"{path}: must have one snapshot or more, got none")


def _next(snapshots: Snapshots, rows: int | None) -> list[tuple[str, Atoms]]:
    """The next snapshots, or the first defect among them."""
    read = []
    for location, outcome in itertools.islice(snapshots, rows):
        if isinstance(outcome, DataError):
            raise outcome
        read.append((location, outcome))
    return read


def _stacked(
    read: Sequence[tuple[str, Atoms]],
    wanted: Mapping[str, str],
    units: Units,
    places: Sequence[tuple[int, int]],
) -> dict[str, np.ndarray]:
    count, atoms = len(read), max(len(image) for _, image in read)
    shapes: dict[str, tuple[int, ...]] = {
        "energies": (),
        "forces": (atoms, 3),
        "dipoles": (3,),
        "polarizabilities": (3, 3),
        "stresses": (3, 3),
        "virials": (3, 3),
    }
    of_cells = set(wanted) & {"stresses", "virials"}
    arrays = {name: np.zeros((count, *shapes[name])) for name in wanted}
    species, positions = np.zeros((count, atoms), np.int32), np.zeros((count, atoms, 3))
    for index, (location, image) in enumerate(read):
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
    cells = np.array([image.cell.array for _, image in read])
    pbc = np.array([image.pbc for _, image in read])
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
