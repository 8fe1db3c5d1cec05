"""Files that ASE reads: frames of any size, as arrays that are padded with zeros."""

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from experiments.data.npz import DataError
from experiments.tasks.molecules.data.stream import stream_frames
from experiments.tasks.molecules.data.units import Units, check_declared


def read_frames(path: str | os.PathLike[str]) -> tuple[list[Atoms], list[str]]:
    """All frames of a file as `stream_frames` reads it, and the place where each of them is.

    Raises:
      DataError: the file cannot be read, or the first defect in it.
    """
    images, places = [], []
    for place, found in stream_frames(path):
        if isinstance(found, DataError):
            raise found
        images.append(found)
        places.append(place)
    return images, places


def stack_frames(
    images: Sequence[Atoms],
    places: Sequence[str],
    keys: Mapping[str, str | None],
    need: Collection[str],
    units: Units,
) -> dict[str, np.ndarray]:
    """Frames as arrays, in the units of the file.

    Args:
      images: at least one.
      places: where they are, for errors.
      keys: what the quantities of `Molecules` are called in the frames; `None` for nothing.
      need: those that must be there; the others are read if the first frame has them.
      units: what the caller states, to be checked against what the frames declare.

    Returns:
      `species`, `positions`, and those of `keys` that are there.

    Raises:
      DataError: a frame lacks what it must have, or has something else than numbers.
    """
    count, atoms = len(images), max(map(len, images))
    first = _found(images[0])
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
    }
    arrays = {name: np.zeros((count, *shapes[name])) for name in wanted}
    species, positions = np.zeros((count, atoms), np.int32), np.zeros((count, atoms, 3))
    for index, (image, place) in enumerate(zip(images, places, strict=True)):
        found = _found(image)
        check_declared(place, found, units, ["positions", *wanted])
        if len(image) == 0 or np.any(image.numbers < 1):
            raise DataError(f"{place}: has no atoms or a dummy atom; allowed: atoms of elements")
        species[index, : len(image)] = image.numbers
        positions[index, : len(image)] = image.positions
        for name, key in wanted.items():
            if key not in found:
                raise DataError(
                    f"{place}: has no {name} (key {key!r}); received: {_listed(found)}; "
                    f"allowed: in every frame, another key, or to need no {name}"
                )
            where = f"{place}: {name} (key {key!r})"
            if name == "forces":
                arrays[name][index, : len(image)] = _numbers(where, found[key], (len(image), 3))
            else:
                arrays[name][index] = _numbers(where, found[key], shapes[name])
    return {"species": species, "positions": positions, **arrays}


def _found(image: Atoms) -> dict[str, Any]:
    results = image.calc.results if image.calc is not None else {}
    # Of databases; elsewhere anything may be called so.
    holders = [image.info.get(key) for key in ("data", "key_value_pairs")]
    return {
        key: value
        for holder in (*holders, image.info, image.arrays, results)
        if isinstance(holder, Mapping)
        for key, value in holder.items()
        # In a plain comment line a word of its own is a key whose value is true.
        if not isinstance(value, bool | np.bool_)
    }


def _listed(found: Mapping[str, Any]) -> str:
    own = ("numbers", "positions", "data", "key_value_pairs", "unique_id")
    return ", ".join(sorted(key for key in found if key not in own)) or "nothing"


def _numbers(where: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.empty(0, object)
    if array.dtype.kind not in "iuf":
        raise DataError(f"{where} is {value!r}; allowed: numbers")
    # Matrices are often written as a row.
    flat = (9,) if shape == (3, 3) else shape
    if array.shape not in (shape, flat) and not (shape == () and array.size == 1):
        raise DataError(f"{where} has shape {array.shape}; allowed: {shape}")
    return array.reshape(shape)
